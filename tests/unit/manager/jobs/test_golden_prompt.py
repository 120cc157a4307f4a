"""One prompt, to the letter: from rows of the database and a market, through the decide job, to what a model reads.

Every figure is computed by hand in the comments beside the rows; each is unlike all others, so that none can stand in
another's place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio

from config_files import changed, write_config
from exchanges.clock import ManualClock, to_ms
from exchanges.market import BaseCandle, IndicatorRow, Snapshot
from exchanges.types import Instrument, OrderType, Side, Symbol
from executor.models.chat import Completion, Message
from executor.models.profile import ModelProfile
from executor.registry import ExecutorParts, ExecutorSpec, ExecutorType, build_executor
from manager.bootstrap.live import build_manager
from manager.config import load_config
from manager.jobs.handlers import DeskHandlers
from manager.jobs.runner import Job, JobKind
from manager.state.memory.store import MemoryStore
from manager.state.recorded import prompt_text
from manager.state.records import (
    DEFAULT_TENANT,
    AccountId,
    BookRow,
    FillPartRow,
    OrderId,
    OrderPurpose,
    OrderRow,
    OrderState,
    PositionRow,
    PromptRow,
    Share,
    TraderRow,
    VerdictKind,
    VerdictRow,
)
from memory_desk import desk_of
from state_rows import make_row
from traders.performance import Performance
from traders.spec import TraderId

AT = datetime(2025, 1, 15, 12, tzinfo=UTC)
NOW = AT + timedelta(minutes=9, seconds=1)
BTC, ETH, SOL = Symbol("BTC/USDT:USDT"), Symbol("ETH/USDT:USDT"), Symbol("SOL/USDT:USDT")
CONFIG = changed('symbols: ["BTC/USDT:USDT"]', 'symbols: ["BTC/USDT:USDT", "ETH/USDT:USDT"]')
WANTED = """\
## Your closed trades, newest first (pnl before fees and funding)

- 2025-01-15 07:00:00 UTC BTC/USDT:USDT long 2 closed at 98.1 by take_profit: pnl 6.2 USD, fee 0.09
- 2025-01-15 06:00:00 UTC BTC/USDT:USDT short 3 closed at 97.2 by stop: pnl -5.1 USD, fee 0.07

{denials}## Other traders of this account, net

- BTC/USDT:USDT 25 contracts (about 500 USD)

## Your performance

pnl 50.9 USD (-5 %), Sharpe 9.359, trades 4, win rate 75 %
average win 10 USD, average loss -7.5 USD (before fees and funding), drawdown now 5 %, worst 8 %

## Your account share (USD)

equity 1050.9, allocated 1000, available 578 (before the margin limit), margin in use 322
unrealized 40, realized 12.5, fees paid 1.4, funding received -0.2

## What you may still use

entries this hour 2, new positions 0, margin 208.54 USD, drawdown before entries stop 15 %, margin held back for your \
entry orders that may still fill 100 USD (already taken off)

## Your positions (quantities in contracts)

- BTC/USDT:USDT short 40 at 210, mark 200, unrealized 40 USD (best so far 60), leverage 4, margin 200, liquidation of \
it alone 261.45, stop 230, take-profit 180, open for 1d 6h 0m
- SOL/USDT:USDT long 61 at 20, mark 20, unrealized 0 USD (best so far 0), leverage 10, margin 122, liquidation of \
it alone 18.1, stop n/a, take-profit n/a, open for 0h 9m
- resting stop of BTC/USDT:USDT: buys 40 at 230, accepted

## Market

Indicators belong to the last closed candle; closes and candles are oldest first; n/a means not known or \
not enough history yet.
Candles, one a line: closing time (UTC), open, high, low, close, volume. Volume is in coins, open interest in \
contracts. The funding
rate is a fraction of the notional for each funding interval: 0.0001 is 0.01 %, and a long pays a positive one.

### BTC/USDT:USDT

candles of 1m:
01-15 12:07 198.1 202.2 195 199.4 61.5
01-15 12:08 199.5 203.6 196.7 200.8 62.9
candles of 15s:
01-15 12:08:30 199.11 200.12 198.13 199.14 15.1
01-15 12:08:45 200.21 201.22 195 200.24 15.2
closes: 199.14, 200.24
EMA20 201.5, EMA50 198.25, MACD 1.25, MACD signal 0.75, RSI14 61.5, ATR14 2.5
Bollinger 193.5 to 207.5, range of the 20 candles before it 194 to 206
mark 200 (1.75 s old), change 1h 0.85 %, volume 1234.5, funding rate 0.0003, open interest 8123

### ETH/USDT:USDT

No price yet: do not open here.

## Now

It is 2025-01-15 12:09:01 UTC. Decide for one. Answer with the JSON object only."""


@dataclass(frozen=True)
class View:
    """BTC as a feed shows it."""

    symbol: Symbol = BTC
    mark: Decimal = Decimal(200)
    age_s: float = 1.75
    interval_s: float = 15.0
    funding_rate: Decimal | None = Decimal("0.0003")
    open_interest: Decimal | None = Decimal(8123)
    base_s: float = 15.0
    indicators: IndicatorRow = IndicatorRow(  # noqa: RUF009 - a frozen value
        ema_20=201.5,
        ema_50=198.25,
        macd=1.25,
        macd_signal=0.75,
        rsi_14=61.5,
        atr_14=2.5,
        bollinger_upper=207.5,
        bollinger_lower=193.5,
        high_20=206.0,
        low_20=194.0,
        change_1h_pct=0.85,
        volume=1234.5,
    )
    last_range: tuple[Decimal, Decimal] | None = None
    range_began: datetime | None = None

    def closes(self, count: int) -> Sequence[float]:
        """Return the closes of the candles."""
        return [one.close for one in self.candles(count)]

    def candles(self, count: int, every: int = 1) -> Sequence[BaseCandle]:
        """Return two of either length."""
        if every > 1:
            return [candle(120, 198.1, 202.2, 195.0, 199.4, 61.5), candle(60, 199.5, 203.6, 196.7, 200.8, 62.9)]
        return [candle(30, 199.11, 200.12, 198.13, 199.14, 15.1), candle(15, 200.21, 201.22, 195.0, 200.24, 15.2)]


class Market:
    """Quote BTC and nothing else."""

    async def snapshot(self, symbols: frozenset[Symbol]) -> Snapshot:
        """Return it."""
        assert {BTC, ETH, SOL} <= symbols
        return Snapshot(NOW, {BTC: View()})


class Clients:
    """Give a model that wants nothing."""

    turn = anyio.Lock()
    name = "silent"

    def model(self, *profile: object) -> "Clients":
        """Return itself."""
        return self

    async def complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Completion:
        """Want nothing."""
        return Completion(text='{"reasoning": "", "decisions": []}')


@dataclass
class Source:
    """Give everyone the same executor."""

    executor: Any

    def of(self, *trader: object) -> Any:
        """Return it."""
        return self.executor


def candle(seconds_ago: int, *figures: float) -> BaseCandle:
    """A candle that closed so long before the last quarter of a minute that began."""
    return BaseCandle(to_ms(NOW.replace(second=0)) - 1000 * (seconds_ago), *figures)


def rows() -> list[Any]:
    """What the desk has written down; one BTC contract is 0.1, of ETH and SOL 1."""
    mine: dict[str, Any] = {"account_id": "paper", "trader_id": "one"}
    # nav 0.95 of 1: -5 %; Sharpe 0.001 / sqrt(0.0023 / 23) * sqrt(8760) = 9.359; 30 / 3 = 10, -7.5 / 1 = -7.5
    curve = Performance(
        nav=0.95, max_drawdown=0.08, returns=24, mean=0.001, m2=0.0023, trades=4, wins=3, won_usd=Decimal(30),
        lost_usd=Decimal("-7.5"),
    )  # fmt: skip
    # 1000 + 12.5 - 1.4 - 0.2 = 1010.9; with 40 unrealized 1050.9, so 50.9 above the capital
    book = make_row(
        BookRow, **mine, capital=Decimal(1000), allocated=Decimal(1000), realized=Decimal("12.5"),
        fees=Decimal("1.4"), funding=Decimal("-0.2"), performance=curve,
        recent_entries=(NOW - timedelta(minutes=5), NOW - timedelta(minutes=61)),
    )  # fmt: skip
    # 40 x 0.1 x 200 = 800 against 840 paid: +40, margin 800 / 4; at the low of 195, 4 x 5 more: 60
    # 210 x (1 + 1/4 - 0.005) = 261.45
    held = make_row(
        PositionRow, **mine, symbol=BTC, quantity=Decimal(-40), cost=Decimal(-840), contract_size=Decimal("0.1"),
        leverage=4, opened_at=NOW - timedelta(hours=30), stop_loss=Decimal(230), take_profit=Decimal(180), dust=False,
    )  # fmt: skip
    # a symbol that is no longer in the config and has no price: valued at its entry, 20 x (1 - 1/10 + 0.005) = 18.1
    left = replace(
        held, symbol=SOL, quantity=Decimal(61), cost=Decimal(1220), contract_size=Decimal(1), leverage=10,
        stop_loss=None, take_profit=None, opened_at=NOW - timedelta(minutes=9),
    )  # fmt: skip
    # 8 wanted, 2 filled: 6 x 50 / 3 = 100; available 1000 - 200 - 122 - 100; margin 60 % of 1050.9 - 422
    entry = make_row(
        OrderRow, account_id="paper", order_id="entry", symbol=ETH, side=Side.BUY, type=OrderType.MARKET,
        purpose=OrderPurpose.ENTRY, quantity=Decimal(8), filled=Decimal(2), state=OrderState.UNKNOWN,
        shares=(Share(trader_id=TraderId("one"), quantity=Decimal(8), leverage=3, price=Decimal(50)),),
    )  # fmt: skip
    stop = replace(
        entry, order_id=OrderId("stop"), symbol=BTC, type=OrderType.STOP, purpose=OrderPurpose.STOP, filled=Decimal(0),
        state=OrderState.ACCEPTED, trigger_price=Decimal(230), quantity=Decimal(65),
        shares=(
            Share(trader_id=TraderId("one"), quantity=Decimal(40)),
            Share(trader_id=TraderId("two"), quantity=Decimal(25)),
        ),
    )  # fmt: skip
    taken = make_row(
        FillPartRow, **mine, trade_id="t", symbol=BTC, purpose=OrderPurpose.TAKE_PROFIT, quantity=Decimal(-2),
        price=Decimal("98.1"), realized=Decimal("6.2"), fee=Decimal("0.09"), at=AT - timedelta(hours=5),
    )  # fmt: skip
    stopped = replace(
        taken, trade_id="s", purpose=OrderPurpose.STOP, quantity=Decimal(3), price=Decimal("97.2"),
        realized=Decimal("-5.1"), fee=Decimal("0.07"), at=AT - timedelta(hours=6),
    )  # fmt: skip
    opened = replace(taken, trade_id="o", purpose=OrderPurpose.ENTRY, at=AT - timedelta(hours=4))
    other = replace(held, trader_id=TraderId("two"), quantity=Decimal(25), cost=Decimal(500))  # 25 x 0.1 x 200 = 500
    named = make_row(
        VerdictRow, **mine, code="DIRECTION", symbol=BTC, at=NOW - timedelta(seconds=30),
        detail="long of one refused: two holds a short",
    )  # fmt: skip
    named = replace(named, kind=VerdictKind.DENIAL)
    return [book, held, left, entry, stop, taken, stopped, opened, other, named]


async def prompt(folder: Path) -> str:
    """Let trader `one` be decided for by a model and return the user part of its prompt."""
    config, store, clock = load_config(write_config(folder, CONFIG), {}), MemoryStore(), ManualClock(AT)
    await build_manager(store, config, clock).sync(config)
    async with store.transaction(DEFAULT_TENANT) as tx:
        trader = await tx.get(TraderRow, "one")
        assert trader is not None
        await tx.upsert([replace(trader, spec=replace(trader.spec, executor=ExecutorSpec(type=ExecutorType.LLM)))])
        await tx.upsert(rows()[:5])
        await tx.insert(rows()[5:8])
        await tx.upsert([make_row(BookRow, account_id="paper", trader_id="two"), *rows()[8:]])
    clock.set(NOW)
    async with store.service() as service:
        (due,) = [claim.due_at for claim in await service.claim_due(NOW, 10) if claim.trader_id == "one"]
    desk = await desk_of(config, store, clock)
    instruments = {
        symbol: Instrument(symbol=symbol, contract_size=Decimal(size))
        for symbol, size in ((BTC, "0.1"), (ETH, "1"), (SOL, "1"))
    }
    changes: Any = {"market": Market(), "instruments": instruments}
    accounts: Any = {key: replace(one, **changes) for key, one in desk.accounts.items()}
    parts: Any = {"prompts": config.prompt_library(), "clients": Clients(), "monotonic": lambda: 0.0}
    profile: Any = ModelProfile(name="m", endpoint=None)  # type: ignore[arg-type]  # the model is made up
    spec = ExecutorSpec(type=ExecutorType.LLM, model="m", prompt_template="prompts/general.md")
    source = Source(build_executor(spec, ExecutorParts(**parts, models={"m": profile})))
    handlers = DeskHandlers(replace(desk, executors=source, accounts=accounts))
    await handlers.decide(
        Job(
            kind=JobKind.DECIDE,
            tenant_id=DEFAULT_TENANT,
            account_id=AccountId("paper"),
            trader_id=TraderId("one"),
            due_at=due,
        )
    )
    async with store.transaction(DEFAULT_TENANT) as tx:
        (row,) = await tx.find(PromptRow, {})
    return prompt_text(row).user


async def test_every_figure_stands_in_its_place(tmp_path: Path) -> None:
    shown = await prompt(tmp_path)
    start, end = shown.index("## Refused"), shown.index("## Other traders")
    assert shown == WANTED.format(denials=shown[start:end])


async def test_a_denial_names_no_other_trader(tmp_path: Path) -> None:
    shown = await prompt(tmp_path)
    told = shown[shown.index("## Refused") : shown.index("## Other traders")]
    assert "DIRECTION" in told
    assert "another trader of this account" in told
    assert "two" not in told
