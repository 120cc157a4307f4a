"""The values an executor receives and returns (docs/rules.md 2); nothing here knows a venue or a database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, Protocol

ZERO: Final = Decimal(0)


class Action(StrEnum):
    """Name what a decision asks for; nothing outside this list is ever guessed."""

    OPEN_LONG = "open_long"
    OPEN_SHORT = "open_short"
    CLOSE_LONG = "close_long"
    CLOSE_SHORT = "close_short"
    ADJUST_STOP = "adjust_stop"
    HOLD = "hold"
    WAIT = "wait"
    TARGET = "target"


OPENS = frozenset({Action.OPEN_LONG, Action.OPEN_SHORT})
CLOSES = frozenset({Action.CLOSE_LONG, Action.CLOSE_SHORT})
PASSIVE = frozenset({Action.HOLD, Action.WAIT})


class Outcome(StrEnum):
    """Name how a request for a decision ended; everything but DECIDED means "no new risk"."""

    DECIDED = "decided"
    INVALID_REPLY = "invalid_reply"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    CONTEXT_OVERFLOW = "context_overflow"
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"
    UNKNOWN_MODEL = "unknown_model"
    OUT_OF_CREDIT = "out_of_credit"
    BUDGET_EXHAUSTED = "budget_exhausted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """State one intent of a trader for one symbol; sizes are notional USD, prices quote currency per unit."""

    symbol: str
    action: Action
    leverage: int | None = None
    position_size_usd: Decimal | None = None
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    confidence: Decimal | None = None
    risk_usd: Decimal | None = None
    max_entry_price: Decimal | None = None
    min_entry_price: Decimal | None = None
    fraction: Decimal = Decimal(1)
    target_quantity: Decimal | None = None
    invalidation: str = ""
    reasoning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemError:
    """Say why one item of a batch is invalid: its path in the reply, the value given and the mend."""

    path: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Count the tokens of all attempts and their cost in USD.

    `unknown_usd` is the worst case of those that may have run without telling what they took.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = ZERO
    unknown_usd: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPrompt:
    """Hold one rendered prompt; `sha256` identifies the pair of texts, `cuts` names what was left out of it.

    `tokens` is an estimate.
    """

    system: str
    user: str
    sha256: str
    template: str
    version: int
    tokens: int = 0
    cuts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FullDecision:
    """Carry one batch with everything needed to answer "why"; a failed outcome has no decisions."""

    decisions: tuple[Decision, ...] = ()
    outcome: Outcome = Outcome.DECIDED
    errors: tuple[ItemError, ...] = ()
    reasoning: str = ""
    model: str = ""
    prompt_hash: str = ""
    prompt: RenderedPrompt | None = None
    reply: str = ""
    usage: Usage = field(default_factory=Usage)
    latency_s: float = 0.0
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountInfo:
    """Give the trader its own share of the account in USD; it sizes on this, never on the account's equity."""

    equity: Decimal
    allocated: Decimal
    available: Decimal
    margin_used: Decimal
    unrealized_pnl: Decimal
    realized_pnl: Decimal
    fees: Decimal
    funding: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionInfo:
    """Describe one position of the trader's own book; quantity is signed, negative for a short.

    `peak_pnl` is the highest unrealized PnL since it was opened, at candle resolution; only models are shown it.
    """

    symbol: str
    quantity: Decimal
    entry_price: Decimal
    mark: Decimal
    unrealized_pnl: Decimal
    leverage: int
    margin: Decimal
    liquidation_price: Decimal | None
    stop_loss: Decimal | None
    take_profit: Decimal | None
    opened_at: datetime
    peak_pnl: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceView:
    """Show the trader how it has done; capital flows are excluded, percentages are 0-100."""

    pnl_usd: Decimal = ZERO
    pnl_pct: float = 0.0
    sharpe: float | None = None
    win_rate: float | None = None
    trades: int = 0
    average_win: Decimal = ZERO
    average_loss: Decimal = ZERO
    max_drawdown_pct: float = 0.0
    drawdown_pct: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Hold the limits of docs/rules.md 1; the prompt prints and the risk manager enforces this same object."""

    max_positions: int = 3
    max_position_size_usd: Decimal = Decimal(1000)
    max_margin_usage_pct: Decimal = Decimal(60)
    major_coin_leverage: int = 10
    altcoin_leverage: int = 5
    min_risk_reward_ratio: Decimal = Decimal(3)
    min_confidence: Decimal = Decimal(75)
    stop_loss_enabled: bool = True
    take_profit_enabled: bool = True
    max_drawdown_pct: Decimal = Decimal(20)
    cooldown_after_stop_s: int = 900
    max_entries_per_hour: int = 3

    def max_leverage(self, symbol: str) -> int:
        """Return the leverage cap for `symbol`: BTC and ETH are major coins, all else is an altcoin."""
        base = symbol.partition("/")[0]
        return self.major_coin_leverage if base in ("BTC", "ETH") else self.altcoin_leverage


@dataclass(frozen=True, slots=True, kw_only=True)
class Indicators:
    """Hold the indicator values of one symbol at its last closed candle; None until enough candles exist."""

    ema_20: float | None = None
    ema_50: float | None = None
    macd: float | None = None
    macd_signal: float | None = None
    rsi_14: float | None = None
    atr_14: float | None = None
    bollinger_upper: float | None = None
    bollinger_lower: float | None = None
    high_20: float | None = None
    low_20: float | None = None
    change_1h_pct: float | None = None
    volume: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """Hold one closed candle, or several joined; `at` is when it closed."""

    at: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float


class MarketView(Protocol):
    """Show one symbol at the instant of the decision; candles are read only when asked for.

    `base_s` is the length of the base candles in seconds, `open_interest` is None where the feed has none.
    """

    @property
    def symbol(self) -> str: ...
    @property
    def mark(self) -> Decimal: ...
    @property
    def age_s(self) -> float: ...
    @property
    def funding_rate(self) -> Decimal | None: ...
    @property
    def open_interest(self) -> Decimal | None: ...
    @property
    def base_s(self) -> float: ...
    @property
    def indicators(self) -> Indicators: ...
    def closes(self, count: int) -> Sequence[float]:
        """Return up to `count` closes of the base interval, oldest first."""
        ...

    def candles(self, count: int, every: int = 1) -> Sequence[Candle]:
        """Return up to `count` closed candles of `every` base intervals each, oldest first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """Tell the trader what was denied, cut or lost in a conflict since its last decision, with the code of the rule."""

    symbol: str
    action: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RestingOrder:
    """Describe the trader's own part of a stop or take-profit that rests at the venue; quantity is signed."""

    symbol: str
    purpose: str
    quantity: Decimal
    trigger_price: Decimal | None
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedTrade:
    """Describe one close or reduce of the trader's book; `pnl_usd` is gross, `quantity` what was closed, signed."""

    symbol: str
    at: datetime
    how: str
    quantity: Decimal
    price: Decimal
    pnl_usd: Decimal
    fee_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class NetExposure:
    """Sum what all other traders of the account hold in one symbol; signed, in contracts as positions are.

    Its worth is at the mark, None without a price.
    """

    symbol: str
    quantity: Decimal
    notional_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemainingBudget:
    """Say what the trader may still use: entries of the hour, positions, margin and drawdown, and model spending.

    `reserved_usd` is the margin that live entry orders hold back, already taken off what is available. The money for
    model calls is what the tightest budget of the day leaves, None where there is none.
    """

    entries: int
    positions: int
    margin_usd: Decimal
    drawdown_pct: float
    model_usd: Decimal | None = None
    reserved_usd: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """Hold what only a model is shown; `others` is None where the trader may not see what other traders hold."""

    budget: RemainingBudget
    orders: tuple[RestingOrder, ...] = ()
    trades: tuple[ClosedTrade, ...] = ()
    others: tuple[NetExposure, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Carry all an executor may know: nothing of other traders' books, no secret, no account total.

    `details` is None unless a model decides.
    """

    trader_id: str
    trader_name: str
    now: datetime
    symbols: tuple[str, ...]
    account: AccountInfo
    positions: tuple[PositionInfo, ...]
    performance: PerformanceView
    limits: Limits
    market: Mapping[str, MarketView]
    denials: tuple[Denial, ...] = ()
    details: Details | None = None

    @property
    def known_symbols(self) -> frozenset[str]:
        """Return the symbols that a decision may name: those that are traded, and those that are still held."""
        return frozenset(self.symbols) | {position.symbol for position in self.positions}


class Executor(Protocol):
    """Turn a context into a decision; failures are outcomes of the returned value, never exceptions."""

    async def decide(self, context: Context) -> FullDecision:
        """Return the decision for `context`, within the executor's own deadline."""
        ...

    async def ping(self) -> None:
        """Raise ExecutorUnavailable if no decision can be had."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
