"""Find the place in a file of traders that a later check finds wrong."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from manager.config.errors import ConfigError, Problem
from manager.config.source import Loc, dotted, read_source
from manager.errors import Fault

_WRITTEN: Final[Mapping[str, str]] = {
    "account": "exchange",
    "decision_interval_s": "decision_interval",
    "limits.cooldown_after_stop_s": "risk_params.cooldown_after_stop",
}


def placed(path: Path, fault: Fault) -> ConfigError:
    """Return the error of `fault` with the file, the line and the name under which the trader's field is written."""
    source = read_source(path)
    written = _WRITTEN.get(fault.field, fault.field.replace("limits.", "risk_params.", 1))
    own: Loc = tuple(written.split("."))
    listed = source.root.get("traders")
    if not isinstance(listed, list):
        return ConfigError([_problem(path, fault, source.line(own), own)])
    for index, given in enumerate(listed):
        if isinstance(given, dict) and given.get("id") == fault.trader_id:
            loc: Loc = ("traders", index, *own)
            return ConfigError([_problem(path, fault, source.line(loc), loc)])
    return ConfigError([_problem(path, fault, 0, own)])


def _problem(path: Path, fault: Fault, line: int, loc: Loc) -> Problem:
    return Problem(file=str(path), line=line, field=dotted(loc), value=fault.value, mend=fault.mend)
