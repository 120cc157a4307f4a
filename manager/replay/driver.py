"""Jump from event to event: nothing is done candle by candle where nothing can happen (docs/rules.md 10)."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from exchanges.clock import from_ms, to_ms
from exchanges.precision import resting_take_profit
from exchanges.types import ZERO, Symbol
from manager.bootstrap.replay import Replay
from manager.desk.plan.solvency import HUNDRED
from manager.desk.plan.values import AllocationStrategy, OnUnrealizedLoss
from manager.jobs.runner import Job, JobKind
from manager.monitor.invariants.account import CHECKS, check_account
from manager.monitor.invariants.facts import AccountFacts, Violation
from manager.replay.upkeep import Upkeep
from manager.state.records import PositionRow, ScheduleRow, TradingState
from manager.state.store import AccountRows
from traders.book import EXTERNAL
from traders.spec import TraderId

_ALL_DUE = 1_000_000
_BEAT_S = 1.0
_HOUR = timedelta(hours=1)


@dataclass(slots=True)
class Tally:
    """Count what the driver did and found."""

    decisions: int = 0
    checked: int = 0
    violations: list[Violation] = field(default_factory=list)


class ReplayDriver:
    """Drive one assembled replay from its first close to its last."""

    def __init__(self, replay: Replay, progress: Callable[[float, int], None] | None) -> None:
        self._replay = replay
        self._progress = progress
        self._begin = from_ms(replay.columns.instants[0])
        self._end = from_ms(replay.columns.instants[-1])
        self._step = timedelta(milliseconds=replay.columns.interval_ms)
        self._account = replay.account
        self._tenant = replay.account.runtime.tenant_id
        self._account_id = replay.account.runtime.account_id
        self._deliveries = self._recorded()
        self._watches = False
        self._upkeep = Upkeep()
        self._event = True
        self._stirred = False
        self.tally = Tally()

    async def run(self) -> Tally:
        """Replay everything and return the counts."""
        now, rows = self._begin, await self._stored()
        async with self._telling():
            while True:
                self._replay.clock.set(now)
                rows = await self._instant(now, rows)
                self._tell(now, self.tally.decisions)
                if now >= self._end:
                    break
                now = await self._next(now, rows)
            await self._finish()
        return self.tally

    def _tell(self, now: datetime, decisions: int) -> None:
        if self._progress is not None:
            self._progress((now - self._begin) / max(self._end - self._begin, self._step), decisions)

    @asynccontextmanager
    async def _telling(self) -> AsyncIterator[None]:
        """Tell the progress within an instant too; nothing else lets this run than a model that is waited for."""

        async def beat() -> None:
            while True:
                await asyncio.sleep(_BEAT_S)
                self._tell(self._replay.clock.now(), sum(self._replay.store.decision_counts(self._tenant).values()))

        telling = asyncio.create_task(beat())
        try:
            yield
        finally:
            telling.cancel()

    async def _instant(self, now: datetime, rows: AccountRows) -> AccountRows:
        """Do one T in the order of docs/rules.md 10: touches, marks, funding, liquidation, decisions, one round, fills.

        `rows` is what the last instant left; where only decisions are due, what comes before them is left out.
        """
        account = self._account
        jobs = await self._due(now)
        account.sampler.publish = bool(jobs) or now >= self._end or self._stirred or self._begins_hour(now)
        quiet = self._upkeep.quiet(now, event=self._event)
        if quiet:
            account.sampler.pass_to(now, rows)
        else:
            await self._keep_up()
        for job in jobs:
            await self._replay.runner.defer(job)
        self.tally.decisions += len(jobs)
        await self._replay.runner.run_until_idle()
        if await account.exchange.finish():
            await self._settle()
        before, rows = rows, await self._check()
        self._stirred = _stirred(before, rows)
        self._upkeep.left(now, rows, published=bool(jobs) and not quiet)
        return rows

    async def _keep_up(self) -> None:
        exchange = self._account.exchange
        if self._watches:
            await exchange.touch()
            await self._replay.handlers.fire(self._job(JobKind.MAINTAIN))
            await exchange.fund()
        await self._maintain()
        if await exchange.settle():
            await self._maintain()

    async def _stored(self) -> AccountRows:
        async with self._replay.store.transaction(self._tenant) as tx:
            return await tx.account_rows(self._account_id)

    async def _due(self, now: datetime) -> list[Job]:
        async with self._replay.store.service() as service:
            claims = await service.claim_due(now, _ALL_DUE)
        jobs = [self._job(JobKind.DECIDE, trader_id=claim.trader_id, due_at=claim.due_at) for claim in claims]
        return [*jobs, *await self._delivered(now)]

    async def _delivered(self, now: datetime) -> list[Job]:
        """Claim the traders with recorded decisions that this instant delivers."""
        jobs = []
        for trader_id in self._deliveries.pop(now, ()):
            async with self._replay.store.transaction(self._tenant) as tx:
                schedule = await tx.get(ScheduleRow, trader_id)
                if schedule is None:
                    continue
                await tx.upsert([replace(schedule, in_flight_due_at=now, claimed_at=now)])
            jobs.append(self._job(JobKind.DECIDE, trader_id=trader_id, due_at=now))
        return jobs

    async def _maintain(self) -> None:
        await self._replay.runner.defer(self._job(JobKind.MAINTAIN))
        await self._replay.runner.run_until_idle()

    async def _settle(self) -> None:
        await self._replay.handlers.settle(self._job(JobKind.MAINTAIN))

    def _job(self, kind: JobKind, **more: Any) -> Job:
        return Job(kind=kind, tenant_id=self._tenant, account_id=self._account_id, **more)

    async def _next(self, now: datetime, rows: AccountRows) -> datetime:
        """Return the next instant at which anything can happen; at the latest the end.

        What this one changed is judged at the next candle: who is unfit, and what capital moves for it.
        """
        event = min(self._next_rebalance(now, rows), self._next_hour(now, rows))
        if self._stirred:
            event = min(event, self._on_grid(now + timedelta(microseconds=1)))
        until = min(event, await self._next_decision(now))
        happens = await self._account.exchange.next_event(until)
        if happens is not None:
            event = min(event, happens)
        broken = self._earliest_break(now, min(until, event), rows)
        if broken is not None:
            event = min(event, broken)
        self._event = event <= until
        return min(until, event)

    async def _next_decision(self, now: datetime) -> datetime:
        async with self._replay.store.service() as service:
            due = await service.next_due()
        claimed = self._end if due is None else self._on_grid(max(due, now + timedelta(microseconds=1)))
        return min(claimed, *self._deliveries) if self._deliveries else claimed

    def _next_rebalance(self, now: datetime, rows: AccountRows) -> datetime:
        rebalanced, rules = rows.account.rebalanced_at, self._account.runtime.rules
        fixed = rules.allocation_strategy is AllocationStrategy.FIXED
        if rebalanced is None or fixed or rows.account.trading_state is TradingState.HALTED:
            return self._end
        due = rebalanced + timedelta(seconds=rules.rebalance_interval_s)
        return self._on_grid(max(due, now + timedelta(microseconds=1)))

    def _next_hour(self, now: datetime, rows: AccountRows) -> datetime:
        """Return the first instant of the next hour, whose return may isolate a trader with trades enough."""
        rules = self._account.runtime.rules.isolation
        least = min((rules.with_own(trader.spec).min_trades for trader in rows.traders), default=0)
        if all(book.performance.trades < least for book in rows.books):
            return self._end
        return self._on_grid(now.replace(minute=0, second=0, microsecond=0) + _HOUR)

    def _begins_hour(self, now: datetime) -> bool:
        return (now - self._step).replace(minute=0, second=0) < now.replace(minute=0, second=0)

    def _earliest_break(self, now: datetime, until: datetime, rows: AccountRows) -> datetime | None:
        """Return the first touch up to `until` of a take profit that cannot rest, or the first broken book."""
        self._watches = False
        found: datetime | None = None
        by_symbol: dict[Symbol, list[PositionRow]] = {}
        for row in rows.positions:
            by_symbol.setdefault(row.symbol, []).append(row)
        for symbol, positions in by_symbol.items():
            if not self._is_shared_opposite(positions):
                continue
            instrument = self._account.runtime.instruments.get(symbol)
            for row in positions:
                if row.take_profit is None:
                    continue
                self._watches = True
                direction = row.position.direction
                rests = resting_take_profit(row.take_profit, direction, instrument.tick if instrument else None)
                low, high = (rests, None) if direction < 0 else (None, rests)
                touch = self._replay.path.next_touch(symbol, now, until, low, high)
                if touch is not None:
                    until = found = touch
        cash, held = self._holding_books(rows)
        breach = self._account.sampler.first_breach(cash, held, to_ms(now), to_ms(until))
        if breach is not None:
            until = found = from_ms(breach)
        loss = self._first_loss(now, until, rows)
        return loss if loss is not None else found

    def _first_loss(self, now: datetime, until: datetime, rows: AccountRows) -> datetime | None:
        """Return the first instant up to `until` at which the account's unrealized loss may close the worst loser."""
        limits = self._account.runtime.rules.limits
        if limits.on_unrealized_loss is not OnUnrealizedLoss.CLOSE_LOSERS or not rows.positions:
            return None
        cash, share = sum((book.cash for book in rows.books), ZERO), limits.max_unrealized_loss_pct / HUNDRED
        # loss > share x (cash - loss) is worth < -cash x share / (1 + share), for an equity above 0.
        spare = max(ZERO, cash * share / (1 + share))
        breach = self._account.sampler.first_fall(spare, rows.positions, to_ms(now), to_ms(until))
        return from_ms(breach) if breach is not None else None

    async def _check(self) -> AccountRows:
        exchange = self._account.exchange
        rows = await self._stored()
        facts = AccountFacts(
            rows=rows,
            positions={report.symbol: report for report in await exchange.fetch_positions()},
            balance=await exchange.fetch_balance(),
            contract_sizes={s: i.contract_size for s, i in self._account.runtime.instruments.items()},
        )
        self.tally.checked += len(CHECKS)
        self.tally.violations.extend(check_account(facts))
        return rows

    async def _finish(self) -> None:
        if await self._account.exchange.expire_waiting():
            await self._settle()

    def _on_grid(self, instant: datetime) -> datetime:
        steps = math.ceil((instant - self._begin) / self._step)
        return min(self._begin + steps * self._step, self._end)

    def _recorded(self) -> dict[datetime, list[TraderId]]:
        """Return which traders get recorded decisions at which instant: the first T at or after each stamp."""
        columns = self._replay.columns
        step, first, last = columns.interval_ms, columns.instants[0], columns.instants[-1]
        due: dict[datetime, list[TraderId]] = {}
        for trader_id, stamps in self._replay.recorded.items():
            for stamp in stamps:
                at_ms = max(first, first + -(-(stamp - first) // step) * step)
                if at_ms <= last:
                    traders = due.setdefault(from_ms(at_ms), [])
                    if trader_id not in traders:
                        traders.append(trader_id)
        return due

    @staticmethod
    def _is_shared_opposite(positions: list[PositionRow]) -> bool:
        return any(row.trader_id == EXTERNAL for row in positions) or (
            min(row.quantity for row in positions) < 0 < max(row.quantity for row in positions)
        )

    @staticmethod
    def _holding_books(rows: AccountRows) -> tuple[list[Decimal], list[list[PositionRow]]]:
        """Return cash and positions of each trader that holds any."""
        traders = {row.trader_id for row in rows.traders}
        held: dict[TraderId, list[PositionRow]] = {}
        for row in rows.positions:
            if row.trader_id in traders:
                held.setdefault(row.trader_id, []).append(row)
        cash = {h.trader_id: h.cash for h in rows.books if h.trader_id in held}
        return list(cash.values()), [held[trader_id] for trader_id in cash]


def _stirred(before: AccountRows, after: AccountRows) -> bool:
    """Tell whether an instant changed what upkeep judges: positions, traders, or who was denied its own wishes."""
    if before.positions is not after.positions or before.traders is not after.traders:
        return True
    known = {book.trader_id: book.violations for book in before.books}
    return any(book.violations != known.get(book.trader_id, ()) for book in after.books)
