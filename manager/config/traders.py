"""Read `traders:`, and what decides for each."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from exchanges.types import Symbol
from executor.errors import ExecutorConfigError
from executor.models.chat import Structured
from executor.remote.endpoint import check_ca_file
from executor.spec import ExecutorSpec, ExecutorType
from manager.config import schema
from manager.config.definition import Definitions, Ground, limits_of
from manager.config.fields import parse_number
from manager.config.models import read_body
from manager.config.reading import Reading
from manager.config.source import Loc, dotted, shown
from traders.spec import TraderId, TraderSpec

_OF_THE_ENDPOINT: Final = ("structured", "extra_body")


class TraderReader:
    """Read the traders of one tenant; the mistakes of all are noted, one message each."""

    def __init__(self, reading: Reading, ground: Ground, loc: Loc) -> None:
        self._reading = reading
        self._definitions = Definitions(ground)
        self._loc = loc
        self._full: set[str] = set()
        self._shared: dict[tuple[str, str, str], list[tuple[Loc, str]]] = {}

    def read(self, given: list[Any]) -> tuple[TraderSpec, ...]:
        """Return the traders that are right, in the order of the file."""
        specs = [self._trader((*self._loc, "traders", index), item) for index, item in enumerate(given)]
        for (value, lack, mend), found in self._shared.items():
            users = f" (traders {', '.join(name for _, name in found)})" if len(found) > 1 else ""
            self._reading.report(found[0][0], value, f"{lack}{users}; {mend}")
        return tuple(spec for spec in specs if spec is not None)

    def _trader(self, loc: Loc, given: Any) -> TraderSpec | None:
        trader = self._reading.validated(loc, schema.TraderSection, given)
        if not isinstance(given, dict):
            return None
        executor = self._executor((*loc, "executor"), given["executor"]) if "executor" in given else None
        template = given.get("prompt_template")
        decides = replace(executor or ExecutorSpec(), prompt_template=template if isinstance(template, str) else "")
        if trader is None:
            self._judge(loc, given, _draft(given, decides))
            return None
        if executor is not None:
            decides = replace(decides, budget_usd_per_day=trader.budget_usd_per_day)
        spec = TraderSpec(
            id=TraderId(trader.id),
            name=trader.name or trader.id,
            account=trader.exchange,
            executor=decides,
            symbols=tuple(map(Symbol, trader.symbols)),
            decision_interval_s=trader.decision_interval,
            allocation_pct=trader.allocation_pct,
            limits=limits_of(trader.risk_params),
            isolation=trader.isolation.rules,
            auto_start=trader.auto_start,
            show_desk_exposure=trader.show_desk_exposure,
            description=trader.description,
            author=trader.author,
        )
        self._judge(loc, given, spec)
        return None if executor is None else spec

    def _judge(self, loc: Loc, given: Mapping[str, Any], spec: TraderSpec) -> None:
        for fault in self._definitions.judge(spec):
            here = (*self._loc, *fault.loc) if fault.loc[0] == "models" else (*loc, *fault.loc)
            if fault.lack:
                users = self._shared.setdefault((fault.value, fault.lack, fault.mend), [])
                users.append((here, spec.id or dotted(loc)))
            elif fault.loc != ("allocation_pct",) or spec.account not in self._full:
                self._reading.report(here, fault.value, fault.mend)
                self._full |= {spec.account} if fault.loc == ("allocation_pct",) else set()
        self._definitions.add(spec, f"line {self._reading.source.line((*loc, 'id'))}")

    def _executor(self, loc: Loc, given: Any) -> ExecutorSpec | None:
        kind = self._reading.variant(loc, schema.EXECUTORS, given)
        section = self._reading.validated(loc, kind, given) if kind else None
        match section:
            case schema.BaselineSection():
                return ExecutorSpec(type=ExecutorType.BASELINE, style=section.style)
            case schema.LlmSection():
                return self._llm(loc, section)
            case schema.RemoteSection():
                return self._remote(loc, section)
        return None if section is None else ExecutorSpec(type=ExecutorType.RECORDED)

    def _llm(self, loc: Loc, section: schema.LlmSection) -> ExecutorSpec:
        """Return an executor that names models of its tenant, or its own endpoint."""
        inline = section.api_key is not None or section.base_url is not None
        if inline and section.api_key is None:
            mend = "add `api_key: ${NAME}`; an endpoint without a key is defined under models"
            self._reading.report((*loc, "api_key"), "missing", mend)
        for key in () if inline else _OF_THE_ENDPOINT:
            if key in section.model_fields_set:
                mend = f"belongs to the endpoint; write it under models.{section.model}"
                self._reading.report((*loc, key), shown((), getattr(section, key)), mend)
        return ExecutorSpec(
            type=ExecutorType.LLM,
            base_url=(section.base_url or schema.OPENAI) if inline else "",
            api_key=section.api_key or "",
            model=section.model,
            fallback=tuple(section.fallback),
            structured=section.structured or Structured.JSON_SCHEMA,
            timeout_s=float(section.timeout or self._reading.root.manager.decision_timeout),
            extra_body=read_body(self._reading, (*loc, "extra_body"), section.extra_body),
        )

    def _remote(self, loc: Loc, section: schema.RemoteSection) -> ExecutorSpec:
        """Return a remote executor; an unfit `ca_file`, which is relative to the config file, is noted."""
        ca_file = str(self._reading.source.path.parent / section.ca_file) if section.ca_file else ""
        try:
            check_ca_file(section.url, ca_file)
        except ExecutorConfigError as error:
            self._reading.report((*loc, "ca_file"), shown((), section.ca_file), str(error))
        return ExecutorSpec(
            type=ExecutorType.REMOTE,
            base_url=section.url,
            api_key=section.key,
            timeout_s=float(section.timeout or self._reading.root.manager.decision_timeout),
            allow_private=section.allow_private,
            allow_unencrypted=section.allow_unencrypted,
            ca_file=ca_file,
            max_usd_per_decision=section.max_usd_per_decision,
        )


def _draft(given: Mapping[str, Any], executor: ExecutorSpec) -> TraderSpec:
    """Return what can be judged of a trader with mistakes: what is wrong is noted already, and left empty here."""
    texts = {key: value if isinstance(value := given.get(key), str) else "" for key in ("id", "exchange")}
    symbols = given.get("symbols")
    try:
        share = parse_number(given.get("allocation_pct", 0))
    except ValueError:
        share = parse_number(0)
    return TraderSpec(
        id=TraderId(texts["id"]),
        name="unknown",
        account=texts["exchange"],
        executor=executor,
        symbols=tuple(Symbol(str(symbol)) for symbol in symbols) if isinstance(symbols, list) else (),
        decision_interval_s=1,
        allocation_pct=share,
    )
