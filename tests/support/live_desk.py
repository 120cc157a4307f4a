"""A live desk for tests: a lively config, its worker in this process, and its books against the venue."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from config_files import write_config
from exchanges.clock import EPOCH, ManualClock, SystemClock
from exchanges.types import Fill, OrderReport
from executor.contract import Action, Context, Decision, FullDecision
from manager.bootstrap.live import build_manager, open_parts
from manager.config import Config, load_config
from manager.desk.session import AccountRuntime
from manager.jobs.handlers import DeskHandlers
from manager.jobs.inline import InlineRunner
from manager.jobs.runner import Job, JobKind
from manager.jobs.worker import WorkerSettings
from manager.monitor.invariants.account import check_account
from manager.monitor.invariants.facts import AccountFacts, Violation
from manager.monitor.invariants.fills import fills_split_exactly
from manager.processes.worker import WorkerParts, serve
from manager.state.database import Database
from manager.state.postgres.roles import queue_dsn
from manager.state.records import (
    DEFAULT_TENANT,
    AccountId,
    DecisionRow,
    FillPartRow,
    FillRow,
    IntentRow,
    OrderRow,
    TenantId,
)
from manager.state.store import AccountRows, Store
from traders.spec import TraderSpec

LIVELY = """\
manager: {conflict_strategy: net, decision_timeout: 5s, decision_concurrency: 8}
global_limits: {max_positions: 40, max_symbol_exposure_pct: 500}
exchanges:
  paper:
    type: paper
    market: {type: synthetic, seed: 11, annual_volatility: 10, outages_per_day: 0, indicator_interval: 1s}
traders:
  - &first
    id: t1
    exchange: paper
    executor: {type: baseline, style: mean_reversion}
    symbols: ["BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT"]
    decision_interval: 1s
    risk_params: {min_risk_reward_ratio: 0, min_confidence: 0, cooldown_after_stop: 0s, max_entries_per_hour: 3600}
  - {<<: *first, id: t2, executor: {type: baseline, style: breakout}}
  - {<<: *first, id: t3, executor: {type: baseline, style: trend}}
  - {<<: *first, id: t4, executor: {type: baseline, style: short_biased}}
monitoring: {update_interval: 1s}
"""
_QUICK_TAKEOVER = WorkerSettings(heartbeat_s=0.5, stalled_after_s=2, rescue_every_s=0.5)


class Restless:
    """Open a long on the first symbol when flat and close it when not, so that every decision trades."""

    async def decide(self, context: Context) -> FullDecision:
        """Return one open or one close."""
        symbol = context.symbols[0]
        held = next((position for position in context.positions if position.symbol == symbol), None)
        if held is not None:
            return FullDecision(decisions=(Decision(symbol=symbol, action=Action.CLOSE_LONG),), model="restless")
        mark = context.market[symbol].mark
        wish = Decision(
            symbol=symbol,
            action=Action.OPEN_LONG,
            leverage=2,
            position_size_usd=Decimal(200),
            stop_loss=(mark * Decimal("0.8")).quantize(Decimal("0.01")),
            take_profit=(mark * Decimal("1.9")).quantize(Decimal("0.01")),
            confidence=Decimal(90),
        )
        return FullDecision(decisions=(wish,), model="restless")

    async def ping(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


class OneExecutor:
    """Give every trader the same executor."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    def of(self, tenant: TenantId, spec: TraderSpec) -> Any:
        """Return the executor."""
        del tenant, spec
        return self._executor


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveDesk:
    """Name a desk by its config and its database."""

    config: Config
    database: Database

    @staticmethod
    def at(folder: Path, dsn: str, text: str = LIVELY) -> "LiveDesk":
        """Write the config to `folder` and return the desk on the database of `dsn`."""
        return LiveDesk.of(write_config(folder, text), dsn)

    @staticmethod
    def of(path: Path, dsn: str) -> "LiveDesk":
        """Return the desk of a config file on the database of `dsn`."""
        return LiveDesk(config=load_config(path, {}), database=Database(dsn=dsn, queue_dsn=queue_dsn(dsn)))

    @asynccontextmanager
    async def trading(self, change: Callable[[WorkerParts], WorkerParts] = lambda parts: parts) -> AsyncIterator[Store]:
        """Run a worker in this process for as long as the block runs, and give its store."""
        clock, stop = SystemClock(), asyncio.Event()
        async with open_parts(self.config, self.database, clock) as parts:
            await build_manager(parts.desk.store, self.config, clock).sync(self.config)
            worker = asyncio.create_task(serve(change(parts), stop))
            try:
                yield parts.desk.store
            finally:
                stop.set()
                await worker

    async def settled(self, after: timedelta = timedelta(0)) -> "Books":
        """Reconcile at one frozen instant, `after` from now, and read books and venue at that instant."""
        clock = ManualClock(SystemClock().now() + after)
        async with open_parts(self.config, self.database, clock) as parts:
            runtime = parts.desk.accounts[(DEFAULT_TENANT, AccountId("paper"))]
            handlers = DeskHandlers(replace(parts.desk, runner=InlineRunner(), holder="settling"))
            for _ in range(2):
                await handlers.maintain(
                    Job(kind=JobKind.MAINTAIN, tenant_id=DEFAULT_TENANT, account_id=AccountId("paper"))
                )
            return await _read(parts.desk.store, runtime, clock.now())


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Hold what the desk wrote and what the venue says, at one instant."""

    rows: AccountRows
    facts: AccountFacts
    orders: Sequence[OrderRow]
    fills: Sequence[FillRow]
    parts: Sequence[FillPartRow]
    intents: Sequence[IntentRow]
    decisions: Sequence[DecisionRow]
    venue_fills: Sequence[Fill]
    venue_orders: Sequence[OrderReport | None]
    equity: Decimal
    marks: dict[Any, Decimal]

    def violations(self) -> list[Violation]:
        """Return every broken invariant, with the equity of all books against the venue's to the cent."""
        found = [*check_account(self.facts), *fills_split_exactly(self.fills, self.parts)]
        equity = sum((book.cash for book in self.rows.books), Decimal(0))
        for position in self.rows.positions:
            equity += position.quantity * position.contract_size * self.marks[position.symbol] - position.cost
        if abs(equity - self.equity) >= Decimal("0.005"):
            found.append(Violation(invariant="equity", subject="paper", detail=f"{equity} != {self.equity}"))
        return found

    def assert_sound(self) -> None:
        """Fail unless every invariant holds, each venue fill is booked once and each order was sent at most once."""
        assert self.violations() == []
        assert sorted(fill.trade_id for fill in self.venue_fills) == sorted(fill.trade_id for fill in self.fills)
        for order, report in zip(self.orders, self.venue_orders, strict=True):
            assert order.filled == (report.filled if report is not None else 0), order
        entries = [share.intent_id for order in self.orders if order.purpose == "entry" for share in order.shares]
        assert len(entries) == len(set(entries))


async def _read(store: Store, runtime: AccountRuntime, at: datetime) -> Books:
    exchange = runtime.exchange
    async with store.transaction(DEFAULT_TENANT) as tx:
        rows = await tx.account_rows(AccountId("paper"))
        found: dict[type[Any], Any] = {
            kind: await tx.find(kind, {"account_id": "paper"}, limit=None)
            for kind in (OrderRow, FillRow, FillPartRow, IntentRow, DecisionRow)
        }
    balance = await exchange.fetch_balance()
    positions = {report.symbol: report for report in await exchange.fetch_positions()}
    snapshot = await runtime.market.snapshot(frozenset(runtime.instruments))
    assert snapshot.at == at
    return Books(
        rows=rows,
        facts=AccountFacts(
            rows=rows,
            positions=positions,
            balance=balance,
            contract_sizes={symbol: one.contract_size for symbol, one in runtime.instruments.items()},
        ),
        orders=found[OrderRow],
        fills=found[FillRow],
        parts=found[FillPartRow],
        intents=found[IntentRow],
        decisions=found[DecisionRow],
        venue_fills=await exchange.fetch_fills(EPOCH),
        venue_orders=[await exchange.lookup_order(order.order_id, order.symbol) for order in found[OrderRow]],
        equity=balance.equity,
        marks=snapshot.marks(),
    )


def restless(parts: WorkerParts) -> WorkerParts:
    """Return the parts with an executor that trades at every decision, and a quick takeover from dead workers."""
    return replace(parts, desk=replace(parts.desk, executors=OneExecutor(Restless())), settings=_QUICK_TAKEOVER)
