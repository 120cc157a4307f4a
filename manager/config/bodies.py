"""Read a trader's definition, and changes of one, as a request brings them: in the words of the config."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from exchanges.types import Symbol
from executor.spec import ExecutorType
from manager.config.definition import limits_of, written
from manager.config.errors import ConfigError
from manager.config.fields import Environment, one_of
from manager.config.load import traders_beside
from manager.config.reading import validated
from manager.config.schema import TraderSection
from manager.config.source import Loc, Source, shown
from manager.config.values import Config
from manager.state.records import TenantId
from traders.spec import ManagedBy, TraderSpec

CHANGEABLE: Final = (
    "name",
    "symbols",
    "prompt_template",
    "decision_interval",
    "allocation_pct",
    "risk_params",
    "description",
    "author",
)
_BODY: Final = Path("body")
_KEYED: Final = "needs a key, which only the config can name; define it there and start the desk again"


def definition_of(given: Mapping[str, Any], config: Config, tenant: TenantId) -> TraderSpec:
    """Return the trader that a request defines, managed by the API; raise ConfigError with every mistake in it.

    Nothing of the environment enters it: `${NAME}` is a text like any other, and refused.
    """
    source = _source(given)
    specs = traders_beside(source, [source.root], config, tenant, {})
    for spec in specs:
        if spec.executor.type is ExecutorType.REMOTE or spec.executor.base_url:
            source.report(("executor",), f"'{spec.executor.type}' with an endpoint of its own", _KEYED)
    source.problems = {_inside(loc): replace(one, field=_field(one.field)) for loc, one in source.problems.items()}
    source.finish()
    return replace(specs[0], managed_by=ManagedBy.API)


def changed(spec: TraderSpec, given: Mapping[str, Any]) -> TraderSpec:
    """Return a definition with what a request changes of it; limits that it leaves out stay as they are.

    Raises ConfigError with every mistake in it.
    """
    source = _source(given)
    given = source.root
    for key in given:
        if key not in CHANGEABLE:
            source.report((key,), shown((key,), given[key]), f"cannot be changed; {one_of(list(CHANGEABLE), key)}")
    before = written(spec)
    limits = {**before["risk_params"], **_mapping(given.get("risk_params"))}
    wanted = {**before, **{key: given[key] for key in given if key in CHANGEABLE}, "risk_params": limits}
    section = validated(source, (), TraderSection, wanted, Environment(variables={}, used={}))
    source.finish()
    if section is None:
        raise ConfigError(())
    template = spec.executor.prompt_template if section.prompt_template is None else section.prompt_template
    return replace(
        spec,
        name=section.name or spec.name,
        symbols=tuple(map(Symbol, section.symbols)),
        decision_interval_s=section.decision_interval,
        allocation_pct=section.allocation_pct,
        limits=limits_of(section.risk_params),
        description=section.description,
        author=section.author,
        executor=replace(spec.executor, prompt_template=template),
    )


def _source(given: Mapping[str, Any]) -> Source:
    source = Source(path=_BODY, root=_exact(given))
    source.refuse_references(frozenset())
    return source


def _exact(given: Any) -> Any:
    """Return values of JSON as a file has them: a number with a point is a decimal."""
    if isinstance(given, float):
        return Decimal(repr(given))
    if isinstance(given, Mapping):
        return {key: _exact(value) for key, value in given.items()}
    return [_exact(value) for value in given] if isinstance(given, list) else given


def _mapping(given: Any) -> Mapping[str, Any]:
    return given if isinstance(given, dict) else {}


def _inside(loc: Loc) -> Loc:
    return loc[2:] if loc[:1] == ("traders",) else loc


def _field(name: str) -> str:
    return name.removeprefix("traders[0]").lstrip(".")
