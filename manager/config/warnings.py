"""What is legal in a config but surely wrong: one function a warning, and one row in the registry below.

A function takes a case, a value, and returns None or what it doubts; it reads no file and no clock.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from exchanges.paper.config import PaperConfig
from exchanges.types import ZERO, Instrument, Symbol
from executor.contract import Limits, MarketView
from executor.errors import PromptError
from executor.prompts.sample import SampleView, sample_context
from executor.spec import ExecutorType
from manager.config.dealing import HUNDRED, dealt, distributable
from manager.config.fields import spelled
from manager.config.source import Loc, Source, dotted, read_source
from manager.config.unread import UNREAD
from manager.config.values import AccountConfig, Config, TenantConfig, VenueSettings
from manager.desk.plan.capital import FLOOR_USD
from manager.desk.plan.values import AllocationStrategy
from manager.state.records import DEFAULT_TENANT
from traders.spec import TraderId, TraderSpec

if TYPE_CHECKING:
    from executor.prompts.library import PromptLibrary

_MOST_COST_BPS: Final = Decimal(100)
_LEAST_REBATE_BPS: Final = Decimal(-5)
_MOST_RESERVE_PCT: Final = Decimal(90)
_MOST_CONFIDENCE: Final = Decimal(95)
_LEAST_DRAWDOWN_PCT: Final = Decimal(1)
_ASKING: Final = (ExecutorType.LLM, ExecutorType.REMOTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Hold what a function doubts: the key below its account or trader, its value, why, and the mend."""

    key: Loc
    value: str
    why: str
    mend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigWarning:
    """Hold one warning with its code, its field as a config writes it and the line; line 0 is the whole file.

    `others` are the further places that it holds for.
    """

    code: str
    field: str
    line: int
    value: str
    why: str
    mend: str
    others: int = 0

    def __str__(self) -> str:
        """Return it in one line, without the file."""
        place = f"line {self.line}: " if self.line else ""
        others = f" (and {self.others} more like it)" if self.others else ""
        return f"{place}{self.field} is {self.value}: {self.why}; {self.mend}{others}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountCase:
    """Hold one account with the traders on it; `before` are the accounts of the file before it."""

    config: Config
    account: AccountConfig
    traders: Sequence[TraderSpec]
    before: Mapping[str, AccountConfig]

    @property
    def paper(self) -> PaperConfig | None:
        """Return the settings of a paper account, None of another."""
        return self.account.settings if isinstance(self.account.settings, PaperConfig) else None

    def instrument(self, symbol: Symbol) -> Instrument:
        """Return how the account trades a symbol, as far as a config tells."""
        known = self.paper.instruments if self.paper is not None else {}
        return known.get(symbol) or Instrument(symbol=symbol)

    def price(self, symbol: Symbol) -> Decimal:
        """Return about what a symbol costs, 0 where that is not known."""
        market = self.account.market.synthetic
        levels = {one.symbol: Decimal(repr(one.level)) for one in market.symbols} if market is not None else {}
        return levels.get(symbol, ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraderCase:
    """Hold one trader with its account; its `capital` is None where it waits for its start or only the venue knows."""

    on: AccountCase
    spec: TraderSpec
    capital: Decimal | None
    prompts: "Prompts"

    @property
    def limits(self) -> Limits:
        """Return its limits."""
        return self.spec.limits


class Prompts:
    """Tell what templates leave out; traders alike are tried once."""

    def __init__(self, library: "Callable[[], PromptLibrary]") -> None:
        self._library = library
        self._known: dict[tuple[str, tuple[str, ...], Limits], tuple[str, ...]] = {}

    def missing(self, template: str, symbols: tuple[str, ...], limits: Limits) -> tuple[str, ...]:
        """Return what may change without the prompt changing with it; nothing of a template that is broken."""
        key = template, symbols, limits
        if key not in self._known:
            sample, other = sample_context(symbols, limits), Decimal("31.25")
            market: dict[str, MarketView] = {symbol: SampleView.of(symbol, other) for symbol in symbols}
            account = replace(sample.account, equity=other, available=other)
            others = {
                "prices (market)": replace(sample, market=market),
                "positions (positions)": replace(sample, positions=()),
                "money (account)": replace(sample, account=account),
                "limits (limits)": replace(sample, limits=replace(limits, max_position_size_usd=other)),
            }
            library = self._library()
            try:
                plain = library.render(template, sample).sha256
                changed = {name: library.render(template, one).sha256 for name, one in others.items()}
            except PromptError:
                changed, plain = {}, ""
            self._known[key] = tuple(name for name, digest in changed.items() if digest == plain)
        return self._known[key]


def high_fee(case: AccountCase) -> Doubt | None:
    """Doubt a fee of more than 1 % of each fill: percents or hundredths stand in a field of basis points."""
    return _cost(case, "fee_bps")


def high_slippage(case: AccountCase) -> Doubt | None:
    """Doubt a slippage of more than 1 % of each fill."""
    return _cost(case, "slippage_bps")


def _cost(case: AccountCase, key: str) -> Doubt | None:
    bps = getattr(case.paper, key) if case.paper is not None else ZERO
    if bps <= _MOST_COST_BPS:
        return None
    why = f"that is {_plain(bps / HUNDRED)} % of each fill"
    return Doubt(
        key=(key,), value=_plain(bps), why=why, mend=f"1 basis point is 0.01 %; write {_plain(bps / HUNDRED)}?"
    )


def odd_maker_fee(case: AccountCase) -> Doubt | None:
    """Doubt a rebate that no venue pays, and a resting order that costs more than one that takes."""
    paper = case.paper
    if paper is None or _LEAST_REBATE_BPS <= paper.maker_fee_bps <= max(paper.fee_bps, ZERO):
        return None
    why = "a negative fee is paid to the trader for each fill" if paper.maker_fee_bps < ZERO else "is above fee_bps"
    mend = "write what the venue charges who rests, such as 1.5"
    return Doubt(key=("maker_fee_bps",), value=_plain(paper.maker_fee_bps), why=why, mend=mend)


def high_reserve(case: AccountCase) -> Doubt | None:
    """Doubt a reserve that leaves hardly anything to the traders."""
    pct = case.account.rules.reserve_equity_pct
    if pct < _MOST_RESERVE_PCT or not case.traders:
        return None
    why = f"only {_plain(HUNDRED - pct)} % of the account is dealt to its traders"
    return Doubt(key=("manager", "reserve_equity_pct"), value=_plain(pct), why=why, mend="lower it, such as 10")


def fast_rebalance(case: AccountCase) -> Doubt | None:
    """Doubt capital that moves more often than anybody decides."""
    rules = case.account.rules
    shortest = min((one.decision_interval_s for one in case.traders), default=0)
    if rules.allocation_strategy is AllocationStrategy.FIXED or rules.rebalance_interval_s >= shortest:
        return None
    why = f"capital moves more often than any trader of {case.account.name} decides, which is every {spelled(shortest)}"
    mend = "raise it, such as 1h"
    return Doubt(key=("manager", "rebalance_interval"), value=spelled(rules.rebalance_interval_s), why=why, mend=mend)


def same_credentials(case: AccountCase) -> Doubt | None:
    """Doubt two accounts that are one at their venue: each would take the other's orders for somebody else's."""
    settings = case.account.settings
    if not isinstance(settings, VenueSettings):
        return None
    for name, other in case.before.items():
        theirs = other.settings
        if isinstance(theirs, VenueSettings) and other.type == case.account.type:
            key, known = (case.config.secrets.get(one.api_key[2:-1]) for one in (settings, theirs))
            told = len(set(case.config.secrets.values())) > 1  # a replay has one value for all
            same = settings.api_key == theirs.api_key or (told and key == known)
            if same and settings.testnet == theirs.testnet:
                why = f"exchanges.{name} has the same key: two accounts here would be one at the venue"
                mend = "give each its own sub-account, or remove one"
                return Doubt(key=("api_key",), value=settings.api_key, why=why, mend=mend)
    return None


def untraded_account(case: AccountCase) -> Doubt | None:
    """Doubt an account that this version keeps and cannot trade on."""
    if not case.account.unfit:
        return None
    mend = "use a paper account until it can"
    return Doubt(key=("type",), value=case.account.type, why="is kept but nothing trades on it yet", mend=mend)


def no_capital(case: TraderCase) -> Doubt | None:
    """Doubt a trader that gets no capital."""
    if case.capital is None or case.capital > ZERO:
        return None
    account, share = case.on.account, _plain(case.spec.allocation_pct)
    strategy, money = account.rules.allocation_strategy, distributable(account)
    key: Loc = ("allocation_pct",)
    why = f"under {strategy} it gets no capital"
    mend = "give it an allocation_pct above 0, or auto_start: false"
    if strategy is AllocationStrategy.FIXED:
        why = f"the allocation_pct of the others of {account.name} leave nothing under fixed"
    elif strategy is not AllocationStrategy.CUSTOM:
        key, share = ("manager", "total_equity_usd"), _plain(account.equity_usd)
        mend = "raise it, or start fewer traders"
        why = f"an equal part of it is nothing to {account.name}'s traders"
        if strategy is AllocationStrategy.PERFORMANCE_BASED:
            floors = f"floors of {FLOOR_USD} USD for all of {account.name}'s traders; the lowest in rank get nothing"
            why = f"{_usd(money)} USD to deal are too few for {floors}"
    return Doubt(key=key, value=share, why=why, mend=mend)


def no_order_fits(case: TraderCase) -> Doubt | None:
    """Doubt a limit that keeps every order below the venue's minimum."""
    for symbol in case.spec.symbols if case.capital is None or case.capital > ZERO else ():
        instrument = case.on.instrument(symbol)
        lot_usd = instrument.lot * instrument.contract_size * case.on.price(symbol)
        needed = max(instrument.min_notional, lot_usd)
        size, key, value = min(_caps(case, symbol), key=lambda cap: cap[0])
        if size < needed:
            why = f"an order on {symbol} is at most {_usd(size)} USD, and its venue takes none below {_usd(needed)}"
            return Doubt(key=key, value=value, why=why, mend="raise it, or remove the symbol")
    return None


def _caps(case: TraderCase, symbol: Symbol) -> Iterator[tuple[Decimal, Loc, str]]:
    """Yield what caps an entry of the trader on a symbol in USD, with the key that does and its value."""
    limits, account, capital = case.limits, case.on.account, case.capital
    size = limits.max_position_size_usd
    yield size, ("risk_params", "max_position_size_usd"), _plain(size)
    leverage = min(limits.max_leverage(symbol), case.on.instrument(symbol).max_leverage)
    desk = account.rules.limits
    if capital is not None and account.equity_usd:
        usage, exposure = limits.max_margin_usage_pct, limits.max_single_position_exposure_pct
        margin = capital * usage / HUNDRED * leverage
        yield margin, ("risk_params", "max_margin_usage_pct"), f"{_plain(usage)} of {_usd(capital)} USD capital"
        if exposure is not None:
            yield (
                capital * exposure / HUNDRED,
                ("risk_params", "max_single_position_exposure_pct"),
                f"{_plain(exposure)} of {_usd(capital)} USD capital",
            )
        pct = desk.max_symbol_exposure_pct
        yield account.equity_usd * pct / HUNDRED, ("global_limits", "max_symbol_exposure_pct"), _plain(pct)


def leverage_above_venue(case: TraderCase) -> Doubt | None:
    """Doubt a leverage that the venue does not grant."""
    for symbol in case.spec.symbols:
        cap, granted = case.limits.max_leverage(symbol), case.on.instrument(symbol).max_leverage
        if cap > granted:
            major = symbol.partition("/")[0] in ("BTC", "ETH")
            key = ("risk_params", "major_coin_leverage" if major else "altcoin_leverage")
            why = f"the venue grants {granted} on {symbol}, to which each entry is lowered"
            return Doubt(key=key, value=str(cap), why=why, mend=f"write {granted} or less")
    return None


def risk_reward_without_stop(case: TraderCase) -> Doubt | None:
    """Doubt a ratio of reward to risk where no stop or no take profit is asked for."""
    limits = case.limits
    off = [name for name in ("stop_loss_enabled", "take_profit_enabled") if not getattr(limits, name)]
    if not off or not limits.min_risk_reward_ratio:
        return None
    why = f"with {' and '.join(off)} false an entry may have none, and then has no such ratio to be judged by"
    mend = "write min_risk_reward_ratio: 0, or switch it on"
    return Doubt(
        key=("risk_params", "min_risk_reward_ratio"), value=_plain(limits.min_risk_reward_ratio), why=why, mend=mend
    )


def high_confidence(case: TraderCase) -> Doubt | None:
    """Doubt a confidence that hardly any entry states."""
    least = case.limits.min_confidence
    if least <= _MOST_CONFIDENCE:
        return None
    why = "hardly any entry states a confidence so high, and the others are denied"
    return Doubt(key=("risk_params", "min_confidence"), value=_plain(least), why=why, mend="lower it, such as 75")


def fraction_of_confidence(case: TraderCase) -> Doubt | None:
    """Doubt a confidence of 1 or less, which denies hardly any entry: a fraction stands for a number up to 100."""
    least = case.limits.min_confidence
    if not ZERO < least <= 1:
        return None
    why = "a confidence is between 0 and 100, so hardly any entry is denied"
    mend = f"write {_plain(least * HUNDRED)}, or 0 to deny none"
    return Doubt(key=("risk_params", "min_confidence"), value=_plain(least), why=why, mend=mend)


def low_drawdown(case: TraderCase) -> Doubt | None:
    """Doubt a drawdown that the first fees reach."""
    most = case.limits.max_drawdown_pct
    if most >= _LEAST_DRAWDOWN_PCT:
        return None
    why = "fees and the first small loss stop its entries for good"
    return Doubt(key=("risk_params", "max_drawdown_pct"), value=_plain(most), why=why, mend="raise it, such as 20")


def impatient(case: TraderCase) -> Doubt | None:
    """Doubt an interval that is over before its model's answer must be there."""
    executor, interval_s = case.spec.executor, case.spec.decision_interval_s
    if executor.type not in _ASKING or interval_s >= executor.timeout_s:
        return None
    why = f"a decision may take {executor.timeout_s:g} s, and none begins while one is under way"
    mend = f"raise it, or lower the executor's timeout to {spelled(interval_s)} or less"
    return Doubt(key=("decision_interval",), value=spelled(interval_s), why=why, mend=mend)


def blind_prompt(case: TraderCase) -> Doubt | None:
    """Doubt a prompt that says nothing of the prices, the account or the limits: they change, it stays the same."""
    template = case.spec.executor.prompt_template
    if case.spec.executor.type is not ExecutorType.LLM or not template:
        return None
    missing = case.prompts.missing(template, case.spec.symbols, case.limits)
    if not missing:
        return None
    why = f"it says nothing of the trader's {', '.join(missing)}"
    mend = 'add {% include "_data.md" %} and {% include "_rules.md" %}, or the variables'
    return Doubt(key=("prompt_template",), value=template, why=why, mend=mend)


ACCOUNT_WARNINGS: Final[Mapping[str, Callable[[AccountCase], Doubt | None]]] = {
    "FEE_TOO_HIGH": high_fee,
    "SLIPPAGE_TOO_HIGH": high_slippage,
    "MAKER_FEE_ODD": odd_maker_fee,
    "RESERVE_TOO_HIGH": high_reserve,
    "REBALANCE_TOO_OFTEN": fast_rebalance,
    "SAME_CREDENTIALS": same_credentials,
    "NOT_TRADED_YET": untraded_account,
}
TRADER_WARNINGS: Final[Mapping[str, Callable[[TraderCase], Doubt | None]]] = {
    "NO_CAPITAL": no_capital,
    "NO_ORDER_FITS": no_order_fits,
    "LEVERAGE_ABOVE_VENUE": leverage_above_venue,
    "RISK_REWARD_WITHOUT_STOP": risk_reward_without_stop,
    "CONFIDENCE_TOO_HIGH": high_confidence,
    "CONFIDENCE_A_FRACTION": fraction_of_confidence,
    "DRAWDOWN_TOO_LOW": low_drawdown,
    "INTERVAL_BELOW_TIMEOUT": impatient,
    "PROMPT_WITHOUT_DATA": blind_prompt,
}
_OF_THE_FILE: Final = ("manager",)
_OF_THE_TENANT: Final = ("global_limits",)


def doubts_about(config: Config) -> tuple[ConfigWarning, ...]:
    """Return what is surely wrong in a sound config, in the order of its lines; the file is read again for them."""
    return _found(config, read_source(config.path))


def _found(config: Config, source: Source) -> tuple[ConfigWarning, ...]:
    found = _Found(source)
    for loc, unread in UNREAD.items():
        if said := unread.said(config):
            why, mend = f"is kept but nothing reads it yet: {unread.why}", "remove it, or leave it for a later version"
            found.add("NOT_READ_YET", (), Doubt(key=loc, value=said, why=why, mend=mend))
    seen: dict[str, AccountConfig] = {}
    for tenant_id, tenant in config.tenants.items():
        base: Loc = () if tenant_id == DEFAULT_TENANT else ("tenants", tenant_id)
        _judge(found, config, tenant, base, seen)
    return found.warnings()


def doubts_in_a_line(config: Config) -> str:
    """Return how many warnings there are and how to see them, empty where there is none."""
    count = len(_found(config, Source(path=config.path)))
    warnings = "1 warning" if count == 1 else f"{count} warnings"
    return f"{config.path}: {warnings}; see `propdesk config check {config.path}`" if count else ""


def _judge(found: "_Found", config: Config, tenant: TenantConfig, base: Loc, seen: dict[str, AccountConfig]) -> None:
    prompts, cases = Prompts(config.prompt_library), dict[str, AccountCase]()
    capital: dict[TraderId, Decimal] = {}
    for name, account in tenant.accounts.items():
        traders = [spec for spec in tenant.traders if spec.account == name]
        case = AccountCase(config=config, account=account, traders=traders, before=dict(seen))
        cases[name], seen[dotted((*base, name))] = case, account
        capital |= dealt(account, tenant.traders) if account.equity_usd else {}
        for code, doubt_account in ACCOUNT_WARNINGS.items():
            found.add(code, (*base, "exchanges", name), doubt_account(case), base)
    for index, spec in enumerate(tenant.traders):
        trader = TraderCase(on=cases[spec.account], spec=spec, capital=capital.get(spec.id), prompts=prompts)
        for code, doubt_trader in TRADER_WARNINGS.items():
            found.add(code, (*base, "traders", index), doubt_trader(trader), base)


class _Found:
    """Gather warnings by what they say: what several accounts or traders share is told once, at the first of them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._places: dict[tuple[str, Doubt], list[Loc]] = {}

    def add(self, code: str, below: Loc, doubt: Doubt | None, base: Loc = ()) -> None:
        """Add what a function doubts, if anything; a key of a whole section stands at the top, not `below`."""
        if doubt is None:
            return
        top = () if doubt.key[0] in _OF_THE_FILE else base if doubt.key[0] in _OF_THE_TENANT else below
        places = self._places.setdefault((code, doubt), [])
        if (*top, *doubt.key) not in places[-1:]:
            places.append((*top, *doubt.key))

    def warnings(self) -> tuple[ConfigWarning, ...]:
        """Return them in the order of their lines."""
        told = [self._told(code, doubt, places) for (code, doubt), places in self._places.items()]
        return tuple(sorted(told, key=lambda warning: warning.line))

    def _told(self, code: str, doubt: Doubt, places: Sequence[Loc]) -> ConfigWarning:
        return ConfigWarning(
            code=code,
            field=dotted(places[0]),
            line=self._source.line(places[0]),
            value=doubt.value,
            why=doubt.why,
            mend=doubt.mend,
            others=len(places) - 1,
        )


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"


def _usd(amount: Decimal) -> str:
    return f"{amount:,.2f}"
