"""The one check of a trader's definition, wherever it comes from: a config, a file of traders, or the API.

Types and ranges are those of `TraderSection` and `RiskSection`; here is what they cannot know: a tenant's accounts, its
models, its budgets and its other traders. A fault names the field as a config writes it; a config adds the line, the
roster refuses the trader.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from exchanges.types import ZERO
from executor.baseline.styles import Style
from executor.contract import Limits
from executor.errors import ExecutorConfigError, PromptError
from executor.models.addresses import shown_url
from executor.models.profile import ModelProfile
from executor.remote.endpoint import MAX_SYMBOLS, check_remote_url
from executor.spec import ExecutorSpec, ExecutorType
from manager.config.fields import one_of
from manager.config.models import asked_models, lacking, url_fault
from manager.config.reading import faults
from manager.config.schema import RiskSection, TraderSection
from manager.config.source import shown
from manager.config.values import AccountConfig, Budgets, TenantConfig
from manager.desk.plan.values import AllocationStrategy
from manager.errors import Fault
from traders.spec import ManagedBy, TraderId, TraderSpec

if TYPE_CHECKING:
    from executor.prompts.library import PromptLibrary

HUNDRED: Final = Decimal(100)
_BY_PERCENTAGE: Final = (AllocationStrategy.CUSTOM, AllocationStrategy.FIXED)
_ASKING: Final = (ExecutorType.LLM, ExecutorType.REMOTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Hold what the definitions of one tenant are judged against.

    The `declared` accounts and models are known, though what the config says of them may be wrong. Without `budgets` or
    `prompts` neither is tried. `replays` takes recorded decisions; `candles` are what it trades on in place of markets.
    """

    accounts: Mapping[str, AccountConfig] = field(default_factory=dict)
    models: Mapping[str, ModelProfile] = field(default_factory=dict)
    budgets: Budgets | None = None
    declared_accounts: Collection[str] = ()
    declared_models: Collection[str] = ()
    prompts: "Callable[[], PromptLibrary] | None" = None
    replays: bool = False
    candles: Path | None = None

    @staticmethod
    def of(tenant: TenantConfig, **more: Any) -> "Ground":
        """Return the ground of a tenant whose config is right."""
        return Ground(
            accounts=tenant.accounts,
            models=tenant.models,
            budgets=tenant.budgets,
            declared_accounts=tuple(tenant.accounts),
            declared_models=tuple(tenant.models),
            **more,
        )


def limits_of(risk: RiskSection) -> Limits:
    """Return the limits of a section, which bear the same names; a duration is in seconds, and its name says so."""
    values = risk.model_dump()
    return Limits(**{one.name: values[one.name.removesuffix("_s")] for one in fields(Limits)})


def written(spec: TraderSpec) -> dict[str, Any]:
    """Return the definition as a config would write it, but for its executor, which may hold what no config shows."""
    limits = asdict(spec.limits).items()
    return {
        "id": spec.id,
        "name": spec.name,
        "exchange": spec.account,
        "executor": {},
        "symbols": list(spec.symbols),
        "decision_interval": f"{spec.decision_interval_s}s",
        "allocation_pct": spec.allocation_pct,
        "budget_usd_per_day": spec.executor.budget_usd_per_day,
        "isolation": {name: _given(getattr(spec.isolation, name)) for name in spec.isolation.own},
        "description": spec.description,
        "author": spec.author,
        "risk_params": {n.removesuffix("_s"): f"{value}s" if n.endswith("_s") else value for n, value in limits},
    }


def misfit(spec: TraderSpec) -> Iterator[Fault]:
    """Yield what is wrong in the definition's own fields, as the section of a config would find it."""
    try:
        TraderSection.model_validate(written(spec))
    except ValidationError as refused:
        yield from faults(TraderSection, (), refused)


def _given(value: object) -> object:
    return Decimal(repr(value)) if isinstance(value, float) else value


class Definitions:
    """Judge the definitions of one tenant's traders, each beside those that are added already."""

    def __init__(self, ground: Ground, known: Iterable[TraderSpec] = ()) -> None:
        self._ground = ground
        self._ids: dict[str, tuple[TraderId, str]] = {}
        self._shares: dict[str, Decimal] = {}
        self._templates: dict[tuple[str, tuple[str, ...], Limits], str] = {}
        for spec in known:
            self.add(spec)

    def add(self, spec: TraderSpec, place: str = "") -> None:
        """Count a trader among those that the next ones stand beside; `place` says where it is defined."""
        if spec.id:
            self._ids.setdefault(spec.id.lower(), (spec.id, place))
        self._shares[spec.account] = self._shares.get(spec.account, ZERO) + spec.allocation_pct

    def judge(self, spec: TraderSpec) -> Iterator[Fault]:
        """Yield what does not fit the tenant or the traders before it."""
        holder = self._ids.get(spec.id.lower())
        if holder is not None:
            yield Fault(loc=("id",), value=shown((), spec.id), mend=id_taken(*holder))
        if not spec.name.strip():
            yield Fault(loc=("name",), value=shown((), spec.name), mend="expected a text that people know it by")
        yield from self._misplaced(spec)
        yield from self._overallocated(spec)
        yield from self._undecided(spec)
        yield from self.uncounted(spec)
        yield from self._unprompted(spec)

    def uncounted(self, spec: TraderSpec) -> Iterator[Fault]:
        """Yield why a budget that covers the trader could not hold: no price, no end, or no call from here."""
        executor, budgets = spec.executor, self._ground.budgets
        if budgets is None:
            return
        own = executor.budget_usd_per_day
        covered = own is not None or budgets.tenant_usd_per_day is not None or budgets.trader_usd_per_day is not None
        if executor.type not in _ASKING:
            if own is not None:
                mend = f"an executor of type {executor.type} calls no model from here; remove it"
                yield Fault(loc=("budget_usd_per_day",), value=shown((), own), mend=mend)
        elif executor.type is ExecutorType.REMOTE:
            if covered and executor.max_usd_per_decision is None:
                mend = (
                    "a budget covers this trader; say what one decision there costs at most, 0 where it costs nothing"
                )
                yield Fault(loc=("executor", "max_usd_per_decision"), value="missing", mend=mend)
        elif executor.base_url and (covered or budgets.model_usd_per_day is not None):
            has = "has an endpoint of its own, which model_usd_per_day does not reach"
            if covered:
                has = "has a budget and an endpoint of its own, whose prices are not known"
            yield Fault(loc=("executor",), value="", mend=f"{has}; define it under models")
        if covered and executor.type is ExecutorType.LLM:
            yield from self.unpriced(asked_models(executor))

    def unpriced(self, names: Iterable[str]) -> Iterator[Fault]:
        """Yield what these models lack before a budget can hold; its place is below the tenant, not the trader."""
        for name in names:
            lack = lacking(self._ground.models[name]) if name in self._ground.models else None
            if lack is not None:
                key, mend = lack
                yield Fault(loc=("models", name, key), value="missing", mend=f"a budget counts its calls; {mend}")

    def _misplaced(self, spec: TraderSpec) -> Iterator[Fault]:
        ground, name = self._ground, spec.account
        account = ground.accounts.get(name)
        if account is None and name not in ground.declared_accounts:
            mend = f"no such account under exchanges; {one_of(list(ground.declared_accounts), name)}"
            yield Fault(loc=("exchange",), value=shown((), name), mend=mend)
        elif account is not None and account.unfit:
            yield Fault(loc=("exchange",), value=shown((), name), mend=account.unfit)
        elif account is not None:
            yield from self._unquoted(spec, account)

    def _unquoted(self, spec: TraderSpec, account: AccountConfig) -> Iterator[Fault]:
        seen: set[str] = set()
        for index, symbol in enumerate(spec.symbols):
            loc, value = ("symbols", index), shown((), symbol)
            if symbol in seen:
                yield Fault(loc=loc, value=value, mend="is listed twice; remove one")
            elif account.quoted is not None and symbol not in account.quoted:
                candles = self._ground.candles or account.market.candles
                lack = f"{candles} has no {symbol}" if candles else f"account {account.name} does not quote it"
                yield Fault(loc=loc, value=value, lack=lack, mend=_nearest(account.quoted, symbol))
            seen.add(symbol)

    def _overallocated(self, spec: TraderSpec) -> Iterator[Fault]:
        account, share = self._ground.accounts.get(spec.account), spec.allocation_pct
        if account is None or account.rules.allocation_strategy not in _BY_PERCENTAGE:
            return
        total = self._shares.get(spec.account, ZERO) + share
        if total > HUNDRED:
            lack = f"the allocations of account {spec.account} add up to {total:f} %"
            yield Fault(loc=("allocation_pct",), value=f"{share:f}", mend=f"{lack}; lower them to 100 % together")

    def _undecided(self, spec: TraderSpec) -> Iterator[Fault]:
        executor = spec.executor
        match executor.type:
            case ExecutorType.RECORDED if not self._ground.replays:
                mend = "expected baseline or llm: recorded decisions are for a replay"
                yield Fault(loc=("executor", "type"), value="recorded", mend=mend)
            case ExecutorType.BASELINE if executor.style not in list(Style):
                mend = one_of(list(Style), executor.style)
                yield Fault(loc=("executor", "style"), value=shown((), executor.style), mend=mend)
            case ExecutorType.LLM:
                yield from self._unknown_models(executor)
            case ExecutorType.REMOTE:
                yield from self._unreachable(spec, executor)
        if executor.type in _ASKING and not 0 < executor.timeout_s < float("inf"):
            value, mend = str(executor.timeout_s), "expected seconds above 0"
            yield Fault(loc=("executor", "timeout"), value=value, mend=mend)

    def _unknown_models(self, executor: ExecutorSpec) -> Iterator[Fault]:
        known, model, inline = self._ground.declared_models, executor.model, bool(executor.base_url)
        if not model:
            yield Fault(loc=("executor", "model"), value="empty", mend="expected a text of 1 to 200 characters")
        elif not inline and model not in known:
            listed = one_of(sorted(known), model) if known else "there is none"
            own = "or add `api_key: ${NAME}` and base_url here"
            mend = f"no such model under models ({listed}); define it there, {own}"
            yield Fault(loc=("executor", "model"), value=shown((), model), mend=mend)
        if inline and (fault := url_fault(executor.base_url, allow_private=False)):
            url = shown((), shown_url(executor.base_url))
            yield Fault(loc=("executor", "base_url"), value=url, mend=fault)
        for index, name in enumerate(executor.fallback):
            loc = ("executor", "fallback", index)
            if name in executor.fallback[:index] or (name == model and not inline):
                yield Fault(loc=loc, value=shown((), name), mend="is asked before already; remove it here")
            elif name not in known:
                mend = f"no such model under models; {one_of(sorted(known), name)}"
                yield Fault(loc=loc, value=shown((), name), mend=mend)

    @staticmethod
    def _unreachable(spec: TraderSpec, executor: ExecutorSpec) -> Iterator[Fault]:
        if spec.managed_by is ManagedBy.API:
            mend = "expected baseline or llm: the key of a remote executor can be named by a config only"
            yield Fault(loc=("executor", "type"), value="remote", mend=mend)
        try:
            check_remote_url(
                executor.base_url, allow_private=executor.allow_private, allow_unencrypted=executor.allow_unencrypted
            )
        except ExecutorConfigError as error:
            yield Fault(loc=("executor", "url"), value=shown((), shown_url(executor.base_url)), mend=str(error))
        if len(spec.symbols) > MAX_SYMBOLS:
            mend = f"an executor of type remote takes at most {MAX_SYMBOLS} at once; spread them over several traders"
            yield Fault(loc=("symbols",), value=f"{len(spec.symbols)} symbols", mend=mend)

    def _unprompted(self, spec: TraderSpec) -> Iterator[Fault]:
        template, asks = spec.executor.prompt_template, spec.executor.type is ExecutorType.LLM
        if not template:
            if asks:
                mend = "an executor of type llm needs one; add `prompt_template: prompts/general.md`"
                yield Fault(loc=("prompt_template",), value="missing", mend=mend)
        elif fault := self._prompt_fault(template, spec.symbols if asks else (), spec.limits):
            yield Fault(loc=("prompt_template",), value=shown((), template), mend=fault)

    def _prompt_fault(self, template: str, symbols: tuple[str, ...], limits: Limits) -> str:
        key = template, symbols, limits
        if self._ground.prompts is None:
            return ""
        if key not in self._templates:
            try:
                self._ground.prompts().check(template, symbols, limits)
                self._templates[key] = ""
            except PromptError as error:
                self._templates[key] = str(error).removeprefix(f"{template}: ")
        return self._templates[key]


def id_taken(holder: TraderId, place: str = "") -> str:
    """Say whose id it is, or was, in any case of letters; `place` says where that trader is defined, if it is known."""
    if place:
        return f"a trader of this id stands on {place}; give each its own id"
    return f"is taken by {holder}; give each trader its own id"


def _nearest(quoted: Collection[str], symbol: str) -> str:
    """Guess no other coin: a symbol is meant only where the base is the same."""
    base, slash, _ = symbol.upper().partition("/")
    known = {one: one.partition("/")[0].upper() for one in sorted(quoted)}
    same = [one for one, of in known.items() if (of == base if slash else base.startswith(of))]
    guess = f"did you mean {' or '.join(same)}? " if same else ""
    return f"{guess}{one_of(list(known), '')}"
