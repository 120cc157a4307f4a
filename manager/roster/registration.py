"""What a trader's definition must satisfy before it is taken on, wherever it comes from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from exchanges.types import Symbol
from executor.baseline.styles import Style
from executor.contract import Limits
from executor.errors import ExecutorConfigError, PromptError
from executor.models.addresses import shown_url
from executor.models.profile import ModelProfile
from executor.prompts.library import PromptLibrary
from executor.registry import ExecutorSpec, ExecutorType
from executor.remote.connections import check_remote_url
from manager.config.budgets import asked_models, lacking
from manager.config.fields import parse_id
from manager.config.instruments import instruments_of_market
from manager.config.values import Config
from manager.desk.plan.values import AllocationStrategy
from manager.errors import Fault, RegistrationError, UnknownAccount
from manager.state.records import TenantId
from traders.spec import ManagedBy, TraderSpec

HUNDRED = Decimal(100)
LONGEST_INTERVAL_S = 30 * 86_400
_ANY = Decimal("Infinity")
_RANGES: Mapping[str, tuple[Decimal, Decimal]] = {
    "max_positions": (Decimal(1), Decimal(1000)),
    "max_position_size_usd": (Decimal("0.01"), _ANY),
    "max_margin_usage_pct": (Decimal("0.01"), HUNDRED),
    "major_coin_leverage": (Decimal(1), Decimal(1000)),
    "altcoin_leverage": (Decimal(1), Decimal(1000)),
    "min_risk_reward_ratio": (Decimal(0), HUNDRED),
    "min_confidence": (Decimal(0), HUNDRED),
    "max_drawdown_pct": (Decimal("0.01"), HUNDRED),
    "cooldown_after_stop_s": (Decimal(0), Decimal(LONGEST_INTERVAL_S)),
    "max_entries_per_hour": (Decimal(1), Decimal(3600)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountTerms:
    """Hold what an account demands of its traders; `symbols` is None where only the venue knows them."""

    venue: str
    symbols: frozenset[str] | None
    allocation_strategy: AllocationStrategy


Terms = Mapping[tuple[TenantId, str], AccountTerms]


def terms_of(config: Config, *, replays: bool = False) -> Terms:
    """Return the terms of every account of a config."""
    return {
        (tenant_id, name): AccountTerms(
            venue=account.type,
            symbols=None if replays else instruments_of_market(account),
            allocation_strategy=account.rules.allocation_strategy,
        )
        for tenant_id, tenant in config.tenants.items()
        for name, account in tenant.accounts.items()
    }


def registration_check(config: Config, *, check_prompts: bool = True, replays: bool = False) -> "RegistrationCheck":
    """Return the check of traders that are registered beside those of `config`."""
    models = {tenant_id: tenant.models for tenant_id, tenant in config.tenants.items()}
    budgeted = {
        tenant_id
        for tenant_id, tenant in config.tenants.items()
        if tenant.budgets.tenant_usd_per_day is not None or tenant.budgets.trader_usd_per_day is not None
    }
    return RegistrationCheck(
        terms=terms_of(config, replays=replays),
        prompts=config.prompt_library() if check_prompts else None,
        models=models,
        budgeted=frozenset(budgeted),
        replays=replays,
    )


def stored(spec: TraderSpec) -> TraderSpec:
    """Return the definition as the database may hold it: without the model's key or a reference to it."""
    return replace(spec, executor=replace(spec.executor, api_key=""))


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationCheck:
    """Check definitions against the accounts, models and prompt templates of this installation.

    In `budgeted` tenants a budget covers each trader, so that each model needs a price and a cap. Without `prompts`
    templates are not tried.
    """

    terms: Terms
    prompts: PromptLibrary | None
    models: Mapping[TenantId, Mapping[str, ModelProfile]] = field(default_factory=dict)
    budgeted: frozenset[TenantId] = frozenset()
    replays: bool = False

    def check(self, tenant: TenantId, spec: TraderSpec, others: Iterable[TraderSpec]) -> None:
        """Raise UnknownAccount or RegistrationError for the first fault; `others` are the tenant's other traders."""
        others = tuple(others)
        _check_id(spec, others)
        terms = self.terms.get((tenant, spec.account))
        if terms is None:
            known = ", ".join(sorted(name for owner, name in self.terms if owner == tenant)) or "none"
            raise UnknownAccount(f"trader {spec.id}: account is {spec.account!r}, expected one of: {known}")
        if not spec.name.strip():
            raise _wrong(spec, "name", repr(spec.name), "a text that people know it by")
        _check_symbols(spec, terms)
        if not 1 <= spec.decision_interval_s <= LONGEST_INTERVAL_S:
            expected = f"1 to {LONGEST_INTERVAL_S} seconds"
            raise _wrong(spec, "decision_interval_s", spec.decision_interval_s, expected)
        _check_limits(spec, spec.limits)
        _check_allocation(spec, terms, others)
        self._check_executor(tenant, spec, spec.executor)

    def check_budget(self, tenant: TenantId, spec: TraderSpec) -> None:
        """Raise RegistrationError if a budget covers the trader and could not hold; for one taken on before, too."""
        executor = spec.executor
        covered = executor.budget_usd_per_day is not None or tenant in self.budgeted
        if covered and executor.type is ExecutorType.LLM:
            _check_prices(spec, executor, self.models.get(tenant, {}))

    def _check_executor(self, tenant: TenantId, spec: TraderSpec, executor: ExecutorSpec) -> None:
        if executor.type is ExecutorType.RECORDED and not self.replays:
            raise _wrong(spec, "executor.type", "recorded", "baseline or llm: recorded decisions are for a replay")
        if executor.type is ExecutorType.BASELINE and executor.style not in list(Style):
            raise _wrong(spec, "executor.style", repr(executor.style), f"one of {', '.join(Style)}")
        if executor.type is ExecutorType.LLM:
            for name in ("model", "prompt_template"):
                if not getattr(executor, name):
                    raise _wrong(spec, f"executor.{name}", "empty", "a value: an executor of type llm needs one")
            known = self.models.get(tenant, {})
            _check_names(spec, asked_models(executor), known)
            self.check_budget(tenant, spec)
            if not 0 < executor.timeout_s < float("inf"):
                raise _wrong(spec, "executor.timeout_s", executor.timeout_s, "seconds above 0")
        if executor.type is ExecutorType.REMOTE:
            _check_remote(spec, executor)
        if executor.prompt_template and self.prompts is not None:
            try:
                asks = executor.type is ExecutorType.LLM
                self.prompts.check(executor.prompt_template, spec.symbols if asks else (), spec.limits)
            except PromptError as error:
                given, mend = repr(executor.prompt_template), str(error)
                fault = Fault(trader_id=spec.id, field="prompt_template", value=given, mend=mend)
                raise RegistrationError(f"trader {spec.id}: prompt_template: {error}", fault) from error


def _check_remote(spec: TraderSpec, executor: ExecutorSpec) -> None:
    if spec.managed_by is ManagedBy.API:
        expected = "baseline or llm: the key of an executor elsewhere can be named by a config only"
        raise _wrong(spec, "executor.type", "remote", expected)
    try:
        check_remote_url(
            executor.base_url, allow_private=executor.allow_private, allow_unencrypted=executor.allow_unencrypted
        )
    except ExecutorConfigError as error:
        raise _wrong(spec, "executor.url", repr(shown_url(executor.base_url)), str(error)) from error
    if not 0 < executor.timeout_s < float("inf"):
        raise _wrong(spec, "executor.timeout_s", executor.timeout_s, "seconds above 0")


def _check_names(spec: TraderSpec, names: Iterable[str], known: Mapping[str, ModelProfile]) -> None:
    for name in names:
        if name not in known:
            listed = ", ".join(sorted(known)) or "none, as the config has no models"
            raise _wrong(spec, "executor.model", repr(name), f"one of {listed}")


def _check_prices(spec: TraderSpec, executor: ExecutorSpec, known: Mapping[str, ModelProfile]) -> None:
    lacks = [(name, lack[0]) for name in asked_models(executor) if name in known and (lack := lacking(known[name]))]
    if executor.base_url or lacks:
        given = "an endpoint of its own, whose prices are not known"
        if lacks:
            given = (
                f"{lacks[0][0]!r} without {'a price' if lacks[0][1] == 'price_per_mtok' else 'a cap on its replies'}"
            )
        needed = "models with price_per_mtok and max_tokens in extra_body, because a budget counts their calls"
        raise _wrong(spec, "executor.model", given, needed)


def _check_id(spec: TraderSpec, others: tuple[TraderSpec, ...]) -> None:
    try:
        parse_id(spec.id)
    except ValueError as error:
        fault = Fault(trader_id=spec.id, field="id", value=repr(spec.id), mend=str(error))
        raise RegistrationError(f"trader id {spec.id!r}: {error}", fault) from error
    same = next((other.id for other in others if other.id.lower() == spec.id.lower()), None)
    if same is not None:
        raise id_taken(spec, same)


def id_taken(spec: TraderSpec, holder: str) -> RegistrationError:
    """Return the error of a trader whose id another one has, or had, in any case of letters."""
    mend = f"is taken by {holder}; give each trader its own id"
    fault = Fault(trader_id=spec.id, field="id", value=repr(spec.id), mend=mend)
    return RegistrationError(f"trader id {spec.id!r} {mend}", fault)


def _check_symbols(spec: TraderSpec, terms: AccountTerms) -> None:
    if not spec.symbols:
        raise _wrong(spec, "symbols", "empty", "at least one symbol of its account")
    seen: set[Symbol] = set()
    for symbol in spec.symbols:
        if symbol in seen:
            raise _wrong(spec, "symbols", repr(symbol), "each symbol once; remove one of the two")
        seen.add(symbol)
        if terms.symbols is not None and symbol not in terms.symbols:
            raise _wrong(spec, "symbols", repr(symbol), f"some of {', '.join(sorted(terms.symbols))}")


def _check_limits(spec: TraderSpec, limits: Limits) -> None:
    for name, (low, high) in _RANGES.items():
        value = Decimal(getattr(limits, name))
        if not value.is_finite() or not low <= value <= high:
            expected = f"{low} or more" if high == _ANY else f"{low} to {high}"
            raise _wrong(spec, f"limits.{name}", value, expected)


def _check_allocation(spec: TraderSpec, terms: AccountTerms, others: tuple[TraderSpec, ...]) -> None:
    share = spec.allocation_pct
    if not share.is_finite() or not 0 <= share <= HUNDRED:
        raise _wrong(spec, "allocation_pct", share, "0 to 100 %")
    if terms.allocation_strategy is not AllocationStrategy.CUSTOM:
        return
    taken = sum((other.allocation_pct for other in others if other.account == spec.account), Decimal(0))
    if taken + share > HUNDRED:
        expected = f"at most {HUNDRED - taken:f}: the others of account {spec.account} have {taken:f} %"
        raise _wrong(spec, "allocation_pct", f"{share:f}", expected)


def _wrong(spec: TraderSpec, field: str, value: object, expected: str) -> RegistrationError:
    fault = Fault(trader_id=spec.id, field=field, value=str(value), mend=f"expected {expected}")
    return RegistrationError(f"trader {spec.id}: {field} is {value}, expected {expected}", fault)
