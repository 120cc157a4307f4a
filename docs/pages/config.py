"""Write docs/config.md from the sections."""

import ast
import inspect
from collections.abc import Iterator
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from manager.config import accounts, fields, schema
from manager.config.fields import Example, Expect, Section
from manager.config.reading import field_metadata
from manager.settings import describe_settings
from pages.markdown import table

PAGE: Final = Path(__file__).parents[1] / "config.md"
_INTRO: Final = """\
# Config

Written by `make docs`; change the sections of `manager/config/schema.py` and
`manager/config/accounts.py`, not this page. Check a file with `propdesk config check FILE`: an unknown key is an error,
and each mistake is told with its line. Durations are `30s`, `3m`, `1h` or `2d`. A secret stands in a file as `${NAME}`
only and comes from the environment. A key without a default must be given; `unset` means that it may be left out.
"""
PLACES: Final[tuple[tuple[str, type[Section]], ...]] = (
    ("The file", schema.RootSection),
    ("manager", schema.ManagerSection),
    ("global_limits", schema.LimitsSection),
    ("data", schema.DataSection),
    ("monitoring", schema.MonitoringSection),
    ("exchanges.NAME, type: paper", accounts.PaperSection),
    ("exchanges.NAME.instruments.SYMBOL", accounts.InstrumentSection),
    ("exchanges.NAME, type: hyperliquid or binance", accounts.LiveSection),
    ("exchanges.NAME.market, type: synthetic", accounts.SyntheticMarketSection),
    ("exchanges.NAME.market, type: replay", accounts.ReplayMarketSection),
    ("exchanges.NAME.market, type: live", accounts.LiveMarketSection),
    ("models.NAME", schema.ModelSection),
    ("models.NAME.price_per_mtok", schema.PricesSection),
    ("budgets", schema.BudgetsSection),
    ("traders[]", schema.TraderSection),
    ("traders[].executor, type: baseline", schema.BaselineSection),
    ("traders[].executor, type: llm", schema.LlmSection),
    ("traders[].executor, type: remote", schema.RemoteSection),
    ("traders[].executor, type: recorded", schema.RecordedSection),
    ("traders[].risk_params", schema.RiskSection),
    ("executor_server", schema.ExecutorServerSection),
    ("tenants.NAME", schema.TenantSection),
)
_UNITS: Final = {"_usd": "USD", "_usd_per_day": "USD", "_usd_per_decision": "USD", "_pct": "%", "_bps": "bp"}
_HEAD: Final = ("key", "type", "default", "unit", "example", "what it is for")
_SETTINGS: Final = """\
## The environment

Read once, where a process or a command begins; an option of the command line goes before it.
"""


class Key:
    """Describe one key of a section for people."""

    def __init__(self, name: str, known: FieldInfo) -> None:
        self.name = name
        self._field = known
        self._parts = field_metadata(known)

    @property
    def type(self) -> str:
        """Return in words what it takes."""
        for part in reversed(self._parts):
            if isinstance(part, Example) and part.type:
                return part.type
            if isinstance(part, Expect):
                return part.text
        return ", ".join(self._choices) or ("true or false" if self._field.annotation is bool else "text")

    @property
    def default(self) -> str:
        """Return the default as a config writes it, `unset` for none, empty where the key must be given."""
        default = self._field.get_default(call_default_factory=True)
        if default is PydanticUndefined:
            return ""
        if default is None:
            return "unset"
        if any(getattr(part, "func", None) is fields.parse_duration for part in self._parts):
            return f"`{fields.spelled(default)}`"
        if isinstance(default, Section | dict | list):
            return "empty" if not isinstance(default, Section) else "its defaults"
        return f"`{str(default).lower() if isinstance(default, bool) else default}`"

    @property
    def unit(self) -> str:
        """Return the unit that its name ends with."""
        return next((unit for end, unit in _UNITS.items() if self.name.endswith(end)), "")

    @property
    def example(self) -> str:
        """Return one value as a config writes it: an example of its own, its default, or one of its kind."""
        given = [part.text for part in self._parts if isinstance(part, Example)]
        kinds = [part.example for part in self._parts if isinstance(part, Expect) and part.example]
        default = [self.default.strip("`")] if self.default.startswith("`") else []
        return next(iter([*given[-1:], *default, *kinds[-1:], *self._choices]))

    @property
    def _choices(self) -> tuple[str, ...]:
        """Return the words of which it takes one, none where any will do."""
        annotation = self._field.annotation
        for one in (annotation, *get_args(annotation)):
            kind = get_args(one)[0] if get_origin(one) is Annotated else one
            if isinstance(kind, type) and issubclass(kind, StrEnum):
                return tuple(kind)
        return get_args(annotation) if get_origin(annotation) is Literal else ()


def keys(section: type[Section]) -> Iterator[tuple[Key, str]]:
    """Yield the keys of a section, each with the text that stands below it in the code."""
    told = {"type": "Which kind it is."}
    for kind in reversed(section.__mro__):
        if issubclass(kind, Section) and kind is not Section:
            told |= _texts_below(kind)
    for name, known in section.model_fields.items():
        yield Key(name, known), told[name]


def render() -> str:
    """Return the page as Markdown."""
    parts = [_INTRO]
    for place, section in PLACES:
        doc = (section.__doc__ or "").partition("\n")[0].removeprefix("Hold ")
        rows = [
            (f"`{key.name}`", key.type, key.default, key.unit, f"`{key.example}`", text) for key, text in keys(section)
        ]
        parts += [f"## {place}\n", f"{doc[:1].upper()}{doc[1:]}\n", table(_HEAD, rows)]
    variables = [(f"`{one.name}`", one.type, one.default, one.description) for one in describe_settings()]
    parts += [_SETTINGS, table(("variable", "type", "default", "what it is for"), variables)]
    return "\n".join(parts)


def _texts_below(section: type[Section]) -> dict[str, str]:
    """Read the strings below the keys out of the source, which costs a start nothing."""
    [tree] = ast.parse(inspect.getsource(section)).body
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    return {
        key.target.id: text.value.value
        for key, text in pairwise(body)
        if isinstance(key, ast.AnnAssign) and isinstance(key.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }
