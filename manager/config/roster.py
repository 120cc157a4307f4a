"""Build traders from `traders:` and check them against each other, their accounts and the prompt folders."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from exchanges.errors import MarketDataError
from exchanges.types import Symbol
from executor.contract import Limits
from executor.errors import PromptError
from executor.prompts.library import PromptLibrary
from executor.registry import ExecutorSpec, ExecutorType
from manager.config.accounts import Reading
from manager.config.explain import validated, variant
from manager.config.fields import one_of, parse_number
from manager.config.models import read_llm
from manager.config.remotes import check_symbols, read_remote
from manager.config.schema import (
    EXECUTORS,
    BaselineSection,
    LlmSection,
    RemoteSection,
    RiskSection,
    Section,
    TraderSection,
)
from manager.config.source import Loc, dotted, shown
from manager.config.values import AccountConfig, MarketType
from manager.desk.plan.values import AllocationStrategy
from traders.spec import TraderId, TraderSpec

HUNDRED = Decimal(100)


class Roster:
    """Read the traders of one tenant; the mistakes of all are noted, one message each."""

    def __init__(
        self,
        reading: Reading,
        prompts: PromptLibrary | None,
        *,
        loc: Loc,
        accounts: Mapping[str, AccountConfig],
        declared: list[str],
        models: Collection[str],
    ) -> None:
        self._reading = reading
        self._source = reading.source
        self._strategy = reading.root.manager.allocation_strategy
        self._prompts = prompts
        self._loc = loc
        self._accounts = accounts
        self._declared = declared
        self._models = models
        self._quoted: dict[str, frozenset[str] | None] = {}
        self._ids: dict[str, Loc] = {}
        self._shares: dict[str, Decimal] = {}
        self._templates: dict[tuple[str, tuple[str, ...]], str] = {}
        self._unquoted: dict[tuple[str, str], list[tuple[Loc, str]]] = {}

    def read(self, given: list[Any]) -> tuple[TraderSpec, ...]:
        """Return the traders that are right, in the order of the file."""
        specs = [self._trader((*self._loc, "traders", index), item) for index, item in enumerate(given)]
        self._report_unquoted()
        return tuple(spec for spec in specs if spec is not None)

    def _trader(self, loc: Loc, given: Any) -> TraderSpec | None:
        trader = validated(self._source, loc, TraderSection, given, self._reading.environment)
        if not isinstance(given, dict):
            return None
        executor = self._executor(loc, given) if "executor" in given else None
        self._unique(loc, given.get("id"))
        self._exchange(loc, given)
        self._allocation(loc, given)
        self._prompt(loc, given, executor)
        if trader is None or executor is None:
            return None
        return TraderSpec(
            id=TraderId(trader.id),
            name=trader.name or trader.id,
            account=trader.exchange,
            executor=replace(self._spec(loc, trader, executor), budget_usd_per_day=trader.budget_usd_per_day),
            symbols=tuple(map(Symbol, trader.symbols)),
            decision_interval_s=trader.decision_interval,
            allocation_pct=trader.allocation_pct,
            limits=_limits(trader.risk_params),
            auto_start=trader.auto_start,
            show_desk_exposure=trader.show_desk_exposure,
        )

    def _unique(self, loc: Loc, trader_id: Any) -> None:
        if not isinstance(trader_id, str):
            return
        first = self._ids.setdefault(trader_id.lower(), loc)
        if first != loc:
            line = self._source.line((*first, "id"))
            mend = f"a trader of this id stands on line {line}; give each its own id"
            self._source.report((*loc, "id"), shown((), trader_id), mend)

    def _exchange(self, loc: Loc, given: Mapping[str, Any]) -> None:
        name = given.get("exchange")
        if not isinstance(name, str):
            return
        account = self._accounts.get(name)
        here = (*loc, "exchange")
        if account is None and name not in self._declared:
            mend = f"no such account under exchanges; {one_of(self._declared, name)}"
            self._source.report(here, shown((), name), mend)
        elif account is not None and account.venue is not None:
            mend = f"this version has no adapter for {account.type}; put the trader on an account of type paper"
            self._source.report(here, shown((), name), mend)
        elif account is not None and account.market.type is MarketType.LIVE:
            mend = f"account {name} has a live market, which this version cannot read; give it a synthetic one"
            self._source.report(here, shown((), name), mend)
        elif account is not None:
            self._symbols(loc, given, account)

    def _symbols(self, loc: Loc, given: Mapping[str, Any], account: AccountConfig) -> None:
        quoted, symbols = self._quotes(account), given.get("symbols")
        if not isinstance(symbols, list):
            return
        for index, symbol in enumerate(symbols):
            here = (*loc, "symbols", index)
            if symbol in symbols[:index]:
                self._source.report(here, shown((), symbol), "is listed twice; remove one")
            elif isinstance(symbol, str) and quoted is not None and symbol not in quoted:
                self._unquoted.setdefault((account.name, symbol), []).append((here, str(given.get("id", dotted(loc)))))

    def _report_unquoted(self) -> None:
        for (name, symbol), found in self._unquoted.items():
            account = self._accounts[name]
            candles = self._reading.candles or account.market.candles
            lack = f"account {name} does not quote it" if candles is None else f"{candles} has no {symbol}"
            users = [trader_id for _, trader_id in found]
            shared = f" (traders {', '.join(users)})" if len(users) > 1 else ""
            self._source.report(
                found[0][0], shown((), symbol), f"{lack}{shared}; {_nearest(self._quotes(account) or (), symbol)}"
            )

    def _quotes(self, account: AccountConfig) -> frozenset[str] | None:
        if account.name not in self._quoted:
            self._quoted[account.name] = None
            try:
                self._quoted[account.name] = self._reading.instruments_of(account)
            except MarketDataError as error:
                here = (*self._loc, "exchanges", account.name, "market", "candles")
                self._source.report(here, shown((), str(account.market.candles)), str(error))
        return self._quoted[account.name]

    def _allocation(self, loc: Loc, given: Mapping[str, Any]) -> None:
        account = given.get("exchange")
        if not isinstance(account, str) or self._strategy is not AllocationStrategy.CUSTOM:
            return
        try:
            share = parse_number(given.get("allocation_pct", 0))
        except ValueError:
            return
        before = self._shares.get(account, Decimal(0))
        total = self._shares[account] = before + share
        if before <= HUNDRED < total:
            mend = f"the allocations of account {account} add up to {total:f} %; lower them to 100 % together"
            self._source.report((*loc, "allocation_pct"), f"{share:f}", mend)

    def _prompt(self, loc: Loc, given: Mapping[str, Any], executor: Section | None) -> None:
        here, template, symbols = (*loc, "prompt_template"), given.get("prompt_template"), given.get("symbols")
        if template is None and isinstance(executor, LlmSection):
            mend = "an executor of type llm needs one; add `prompt_template: prompts/general.md`"
            self._source.report(here, "missing", mend)
        if not isinstance(template, str):
            return
        asked = symbols if isinstance(executor, LlmSection) and isinstance(symbols, list) else []
        key = template, tuple(map(str, asked))
        if key not in self._templates:
            self._templates[key] = self._fault(*key)
        if fault := self._templates[key]:
            self._source.report(here, shown((), template), fault)

    def _fault(self, template: str, symbols: tuple[str, ...]) -> str:
        if self._prompts is None:
            return ""
        try:
            self._prompts.check(template, symbols)
        except PromptError as error:
            return str(error).removeprefix(f"{template}: ")
        return ""

    def _executor(self, loc: Loc, given: Mapping[str, Any]) -> Section | None:
        here = (*loc, "executor")
        kind = variant(self._source, here, EXECUTORS, given["executor"])
        return validated(self._source, here, kind, given["executor"], self._reading.environment) if kind else None

    def _spec(self, loc: Loc, trader: TraderSection, executor: Section) -> ExecutorSpec:
        template = trader.prompt_template or ""
        match executor:
            case BaselineSection():
                return ExecutorSpec(type=ExecutorType.BASELINE, style=executor.style, prompt_template=template)
            case LlmSection():
                return replace(
                    read_llm(self._reading, (*loc, "executor"), executor, self._models), prompt_template=template
                )
            case RemoteSection():
                remote = read_remote(self._reading, (*loc, "executor"), executor)
                check_symbols(self._reading, loc, len(trader.symbols))
                return replace(remote, prompt_template=template)
        return ExecutorSpec(type=ExecutorType.RECORDED, prompt_template=template)


def _nearest(quoted: Collection[str], symbol: str) -> str:
    """Guess no other coin: a symbol is meant only where the base is the same."""
    base, slash, _ = symbol.upper().partition("/")
    known = {one: one.partition("/")[0].upper() for one in sorted(quoted)}
    same = [one for one, of in known.items() if (of == base if slash else base.startswith(of))]
    guess = f"did you mean {' or '.join(same)}? " if same else ""
    return f"{guess}{one_of(list(known), '')}"


def _limits(risk: RiskSection) -> Limits:
    values = risk.model_dump()
    values["cooldown_after_stop_s"] = values.pop("cooldown_after_stop")
    return Limits(**values)
