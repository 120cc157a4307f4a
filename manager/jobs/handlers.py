"""The three jobs of the desk, the same under every runner: decide, round, maintain."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol

import structlog

from exchanges.clock import Clock, to_ms
from exchanges.decorators import read_within
from exchanges.errors import ExchangeError, VenueUnavailable
from exchanges.market import SharedMarket
from exchanges.types import Symbol
from executor.contract import PASSIVE, Context, Executor, FullDecision, ItemError, Outcome
from executor.errors import ExecutorConfigError
from manager.desk.execution import RoundExecution
from manager.desk.flattening import Flattening
from manager.desk.housekeeping import Housekeeping
from manager.desk.incidents.safe_mode import log_changes, note_outcome
from manager.desk.plan.isolation import Isolation, unfit
from manager.desk.plan.values import LEASE_S
from manager.desk.protector import Protector
from manager.desk.reconcile.reader import Reconciler
from manager.desk.sampling import EquitySampler
from manager.desk.session import AccountRuntime, Session
from manager.jobs.context import ContextReader
from manager.jobs.runner import Job, JobKind, JobRunner
from manager.monitor.invariants.live import LiveInvariants
from manager.roster.lifecycle import isolate
from manager.state import records
from manager.state.errors import DuplicateRow, FenceLost, InvalidRow, StoreUnavailable
from manager.state.outlast import outlast
from manager.state.recorded import prompt_row, storable_decision
from manager.state.store import Conclusion, Fence, Store, TraderRows, Transaction, claim_of
from traders.context import MarketViews
from traders.spec import IsolationRules, TraderId, TraderSpec

_LOG = structlog.get_logger(__name__)
_LATE = ItemError(
    path="deadline",
    message="came after its claim was released and is not acted on; use a faster model, or raise decision_timeout",
)
_ROUNDS_AT_ONCE = 5
_STORED_LATE = timedelta(seconds=5)
INVALID_ITEM: Final = "INVALID_ITEM"
INVALID_REPLY: Final = "INVALID_REPLY"
_MOST_VERDICTS: Final = 20
_ANSWERED: Final = frozenset(
    {Outcome.DECIDED, Outcome.INVALID_REPLY, Outcome.REFUSED, Outcome.TRUNCATED, Outcome.EMPTY}
)
_BAD_REPLIES: Final = _ANSWERED - {Outcome.DECIDED}
_OUR_PATHS: Final = ("model", "deadline", "prompt", "market", "config", "executor", "decision")
_SAYS_WHY: Final = (Outcome.TRUNCATED, Outcome.EMPTY)
_WHERE_TO_LOOK: Final = "see `propdesk why` with the decision; a replay writes decisions.jsonl with --out DIR"
_REPLY_PATHS: Final = ("reply", "decisions", "reasoning")


class _CameLate(Exception):
    """The claim of a decision is no longer its own."""


class ExecutorSource(Protocol):
    """Say which executor decides for a trader."""

    def of(self, tenant: records.TenantId, spec: TraderSpec) -> Executor:
        """Return the trader's executor."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskParts:
    """Hold the injected parts that every job uses.

    Without `keep_prompts` a decision keeps its prompt's hash, neither prompt nor context. A replay fires
    take-profits in a job of its own, before the funding of an instant, and sees to who has become unfit at the next
    one: then `maintain_fires` is False. It checks the
    invariants itself, too, at every instant: without `checks_invariants` no job does.
    """

    store: Store
    clock: Clock
    runner: JobRunner
    executors: ExecutorSource
    sampler: EquitySampler
    accounts: Mapping[tuple[records.TenantId, records.AccountId], AccountRuntime]
    holder: str
    maintain_fires: bool = True
    checks_invariants: bool = True
    keep_prompts: bool = True


class DeskHandlers:
    """Run the jobs on the injected parts; nothing here knows whether it is live, paper or replay."""

    def __init__(self, parts: DeskParts) -> None:
        self._parts = parts
        self._views: dict[SharedMarket, MarketViews] = {}

    async def decide(self, job: Job) -> None:
        """Ask one trader's executor once for its slot and store the answer; then wake the account's round."""
        parts, read_at = self._parts, self._parts.clock.now()
        rows = await outlast(parts.clock, partial(self._trader, job), what=f"decision of {job.trader_id}")
        if rows.schedule.in_flight_due_at != job.slot or not rows.trader.is_asked(holds=bool(rows.positions)):
            return
        runtime = parts.accounts[(job.tenant_id, job.account_id)]
        views = self._views.setdefault(runtime.market, MarketViews())
        turn = Turn(parts, rows, job.slot, read_at)
        try:
            in_time, acts = await turn.take(runtime, views)
        except DuplicateRow:
            _LOG.info("decision_already_made", trader=job.trader_id, due_at=job.slot.isoformat())
            async with parts.store.service() as service:
                await service.release([claim_of(rows.schedule)])
            return
        if turn.isolated and parts.maintain_fires:
            await parts.runner.defer(replace(job, kind=JobKind.MAINTAIN, trader_id=TraderId(""), due_at=None))
        if not in_time:
            _LOG.warning("decision_came_late", trader=job.trader_id, due_at=job.slot.isoformat())
        elif acts:
            await parts.runner.defer(replace(job, kind=JobKind.ROUND, trader_id=TraderId(""), due_at=None))

    async def _trader(self, job: Job) -> TraderRows:
        async with self._parts.store.transaction(job.tenant_id) as tx:
            return await tx.trader(job.trader_id)

    async def round(self, job: Job) -> None:
        """Trade the account once, and again while newer intents keep coming in."""
        with suppress(FenceLost):
            for _ in range(_ROUNDS_AT_ONCE):
                again = False
                async with self._session(job) as session:
                    await self._prepare(session)
                    settled = await RoundExecution(session).run()
                    if self._parts.maintain_fires and unfit(session.view()):
                        await self._parts.runner.defer(replace(job, kind=JobKind.MAINTAIN))
                    again = not settled or await self._has_newer(session)
                if not again:
                    return

    async def maintain(self, job: Job) -> None:
        """Bring books, protection, liquidation checks and capital up to date; takes no entry."""
        with suppress(FenceLost):
            async with self._session(job) as session:
                await self._prepare(session, fire=self._parts.maintain_fires)

    async def settle(self, job: Job) -> None:
        """Book the fills at the end of a replay's instant and protect them; who is unfit is judged at the next one."""
        with suppress(FenceLost):
            async with self._session(job) as session:
                await self._prepare(session, judge=False)

    async def fire(self, job: Job) -> None:
        """Fire the touched take-profits that do not rest, and nothing else."""
        with suppress(FenceLost):
            async with self._session(job) as session:
                await self._read(session)
                await Protector(session).fire_take_profits()
                await session.flush()

    @asynccontextmanager
    async def _session(self, job: Job) -> AsyncIterator[Session]:
        """Open a session that ends at its lease; a venue that cannot be read, or not in time, is told."""
        session = await self._open(job)
        try:
            async with asyncio.timeout(session.lease_left_s) as limit:
                yield session
        except ExchangeError as failure:
            session.incident("VENUE_UNAVAILABLE", str(failure))
            await session.flush()
        except TimeoutError:
            if not limit.expired():
                raise
            await session.abandon(f"the venue took longer than the job's lease of {LEASE_S:g} s")

    async def _prepare(self, session: Session, *, fire: bool = False, judge: bool = True) -> None:
        """Reconcile, keep house and protect; raise ExchangeError when the venue could not be read: trade nothing."""
        await self._read(session)
        if fire:
            await Protector(session).fire_take_profits()
        house = Housekeeping(session, self._parts.sampler)
        await house.keep_house()
        if judge:
            await self._isolate(session, house.judge())
            await house.deal()
        Flattening(session).keep()
        await Protector(session).protect()
        if self._parts.checks_invariants:
            await LiveInvariants(session).check()
        session.incidents.end(session.clock.now())
        await session.flush()

    async def _read(self, session: Session) -> None:
        self._parts.sampler.before(session)
        instruments = session.runtime.instruments
        if not instruments:
            instruments.update(await session.exchange.instruments())
        await Reconciler(session).reconcile()

    async def _isolate(self, session: Session, isolations: Sequence[Isolation]) -> None:
        if isolations:
            await session.flush()
        for one in isolations:
            async with self._parts.store.transaction(session.runtime.tenant_id) as tx:
                row = await isolate(tx, one, actor="desk", at=self._parts.clock.now())
            session.state.note_trader(row)

    async def _open(self, job: Job) -> Session:
        parts = self._parts
        runtime, at = parts.accounts[(job.tenant_id, job.account_id)], parts.clock.now()
        async with parts.store.transaction(job.tenant_id) as tx:
            token = await tx.acquire(job.account_id, parts.holder)
            rows = await tx.account_rows(job.account_id)
        runtime.begin(at, rows.paper_revision)
        return Session(runtime, parts.store, parts.clock, Fence(account_id=job.account_id, token=token), rows)

    async def _has_newer(self, session: Session) -> bool:
        seen = session.state.intents.keys()
        where = {"account_id": session.runtime.account_id, "status": records.IntentStatus.PENDING}
        async with self._parts.store.transaction(session.runtime.tenant_id) as tx:
            waiting = await tx.find(records.IntentRow, where)
        return any(intent.intent_id not in seen for intent in waiting)


class Turn:
    """Take one trader's decision for its slot and store it, with what led to it."""

    def __init__(self, parts: DeskParts, rows: TraderRows, slot: datetime, read_at: datetime) -> None:
        self._parts = parts
        self._rows = rows
        self._trader = rows.trader
        self._slot = slot
        self._read_at = read_at
        self._rules = IsolationRules()
        self.isolated = False

    async def take(self, runtime: AccountRuntime, views: MarketViews) -> tuple[bool, bool]:
        """Ask and store; return whether the decision came in time, and whether there is anything to do.

        Whatever fails unexpectedly is stored as a decision of its own: without a row it would count as no failure and
        raise no alert. Raises DuplicateRow where the slot is taken, StoreUnavailable, and ExecutorConfigError where a
        replay lacks what it needs.
        """
        self._rules = runtime.rules.isolation.with_own(self._trader.spec)
        try:
            context, asked = await self._ask(runtime, views)
            return await self._conclude(storable_decision(asked), context)
        except (DuplicateRow, StoreUnavailable, ExecutorConfigError):
            raise
        except Exception as error:  # noqa: BLE001 - see above
            return await self._conclude(storable_decision(self._failed(error)), None)

    async def _ask(self, runtime: AccountRuntime, views: MarketViews) -> tuple[Context | None, FullDecision]:
        parts, rows, spec = self._parts, self._rows, self._trader.spec
        try:
            wanted = frozenset(runtime.instruments)
            if not wanted:
                raise VenueUnavailable("the venue has not told its instruments yet")
            snapshot = await read_within(runtime.timeout_s, "market", runtime.market.snapshot(wanted))
        except ExchangeError as failure:
            error = ItemError(path="market", message=f"no market data: {failure}")
            return None, FullDecision(outcome=Outcome.UNAVAILABLE, errors=(error,))
        seen = views.of(snapshot)
        reader, curve = ContextReader(parts.store, rows, runtime.instruments), parts.sampler.current(rows.book)
        context = await reader.read(seen, curve, parts.clock.now())
        return context, await parts.executors.of(self._trader.tenant_id, spec).decide(context)

    def _failed(self, error: Exception) -> FullDecision:
        """Stand in for a decision that nobody could take or no database can hold: it is no reason to trade."""
        known = isinstance(error, InvalidRow)
        told = str(error) if known else f"failed unexpectedly ({type(error).__name__}); please report it with the log"
        _LOG.error("decision_failed", trader=self._trader.trader_id, error=told, exc_info=None if known else error)
        return FullDecision(outcome=Outcome.UNAVAILABLE, errors=(ItemError(path="decision", message=told),))

    async def _conclude(self, full: FullDecision, context: Context | None) -> tuple[bool, bool]:
        parts = self._parts
        decision = self._decision(full, context if parts.keep_prompts else None)
        intents = self._intents(decision)
        counts = self._trader.state is records.TraderState.RUNNING
        failed = (
            full.outcome is not Outcome.DECIDED if counts and full.outcome is not Outcome.BUDGET_EXHAUSTED else None
        )
        bad_reply = full.outcome in _BAD_REPLIES if counts and full.outcome in _ANSWERED else None
        end = Conclusion(
            decision=decision,
            prompts=[prompt_row(decision, full.prompt)] if full.prompt is not None and parts.keep_prompts else [],
            intents=intents,
            failed=failed,
            bad_reply=bad_reply,
            at=parts.clock.now(),
            # A round stores its verdicts a moment after the time they bear, maybe after they were looked for.
            told_at=self._read_at - _STORED_LATE if full.outcome in _ANSWERED else None,
        )
        what = f"conclusion of {decision.decision_id}"
        try:
            # What was asked and paid for is not thrown away because the database restarts.
            alerts = await outlast(parts.clock, partial(self._conclude_in_time, end), what=what)
        except _CameLate:
            await outlast(parts.clock, partial(self._conclude_late, end), what=what)
            return False, False
        self._log_failure(decision)
        log_changes(alerts)
        return True, bool(intents)

    async def _conclude_in_time(self, end: Conclusion) -> Sequence[records.IncidentRow]:
        async with self._parts.store.transaction(end.decision.tenant_id) as tx:
            if not await tx.conclude(end):
                raise _CameLate
            await tx.insert(invalid_parts(end.decision))
            alerts = await note_outcome(tx, self._rows.schedule, end.decision, end.failed)
            if end.bad_reply:
                await self._isolate(tx)
            return alerts

    async def _isolate(self, tx: Transaction) -> None:
        """Isolate the trader if this was one bad reply in a row too many."""
        limit, count = self._rules.failed_decisions, self._rows.schedule.bad_replies + 1
        if limit is None or count < limit:
            return
        row = await tx.get(records.TraderRow, self._trader.trader_id)
        if row is not None and row.state is records.TraderState.RUNNING:
            why = Isolation(
                trader_id=row.trader_id,
                code=records.StateCode.FAILURES,
                reason=f"{count} replies in a row were no decision",
            )
            await isolate(tx, why, actor="desk", at=self._parts.clock.now())
            self.isolated = True

    async def _conclude_late(self, end: Conclusion) -> None:
        """Keep a decision that is not acted on; one that the trader took too long for counts as failed."""
        decision = end.decision
        alerts: list[records.IncidentRow] = []
        async with self._parts.store.transaction(decision.tenant_id) as tx:
            trader = await tx.get(records.TraderRow, decision.trader_id)
            schedule = await tx.get(records.ScheduleRow, decision.trader_id)
            slow = trader is not None and trader.state is records.TraderState.RUNNING and end.failed is not None
            isolated = trader is not None and trader.state is records.TraderState.ISOLATED
            if slow or isolated:
                outcome = Outcome.TIMEOUT if decision.outcome is Outcome.DECIDED else decision.outcome
                decision = replace(decision, outcome=outcome, errors=(*decision.errors, _LATE))
            await tx.conclude(replace(end, decision=decision, intents=[]))
            if slow and schedule is not None:
                failures = schedule.failed_decisions + 1
                await tx.patch(records.ScheduleRow, (decision.trader_id,), failed_decisions=failures)
                alerts = await note_outcome(tx, schedule, decision, True)
        log_changes(alerts)

    def _decision(self, full: FullDecision, context: Context | None) -> records.DecisionRow:
        trader, prompt = self._trader, full.prompt
        return records.DecisionRow(
            tenant_id=trader.tenant_id,
            decision_id=records.DecisionId(f"{trader.trader_id}@{to_ms(self._slot)}"),
            trader_id=trader.trader_id,
            account_id=trader.account_id,
            due_at=self._slot,
            decided_at=self._parts.clock.now(),
            outcome=full.outcome,
            decisions=full.decisions,
            errors=full.errors,
            model=full.model,
            prompt_hash=full.prompt_hash,
            reasoning=full.reasoning,
            reply=full.reply,
            usage=full.usage,
            latency_s=full.latency_s,
            attempts=full.attempts,
            context=context,
            prompt_tokens=prompt.tokens if prompt is not None else 0,
            prompt_cuts=prompt.cuts if prompt is not None else (),
        )

    def _intents(self, decision: records.DecisionRow) -> list[records.IntentRow]:
        return [
            records.IntentRow(
                tenant_id=decision.tenant_id,
                intent_id=records.IntentId(f"{decision.decision_id}#{number}"),
                decision_id=decision.decision_id,
                account_id=decision.account_id,
                trader_id=decision.trader_id,
                decided_at=decision.decided_at,
                decision=item,
                n=number,
                expires_at=self._rows.schedule.next_due_at,
            )
            for number, item in enumerate(decision.decisions)
            if item.action not in PASSIVE
        ]

    @staticmethod
    def _log_failure(decision: records.DecisionRow) -> None:
        """Log a decision that failed in one line, without a word of the reply: what the model said is in its row."""
        if decision.outcome is Outcome.DECIDED:
            return
        says_why = decision.outcome in _SAYS_WHY
        ours = next((error for error in decision.errors if says_why or error.path in _OUR_PATHS), None)
        _LOG.warning(
            "decision_without_result",
            trader=decision.trader_id,
            decision=decision.decision_id,
            outcome=decision.outcome,
            model=decision.model,
            attempts=decision.attempts,
            at=", ".join(dict.fromkeys(error.path for error in decision.errors[:3])),
            why=ours.message if ours is not None else _WHERE_TO_LOOK,
        )


def invalid_parts(decision: records.DecisionRow) -> list[records.VerdictRow]:
    """Return a verdict for each part of the reply that is invalid; of the reply that counts, not of one before it."""
    whole = INVALID_REPLY if decision.outcome is Outcome.INVALID_REPLY else ""
    codes = [
        (INVALID_ITEM if error.path.startswith("decisions[") else whole if error.path in _REPLY_PATHS else "", error)
        for error in decision.errors
    ]
    return [
        records.VerdictRow(
            tenant_id=decision.tenant_id,
            account_id=decision.account_id,
            round_id=records.RoundId(decision.decision_id),
            n=number,
            kind=records.VerdictKind.INVALID,
            code=code,
            trader_id=decision.trader_id,
            symbol=Symbol(""),
            intent_id=records.IntentId(decision.decision_id),
            detail=f"{error.path}: {error.message}",
            at=decision.decided_at,
        )
        for number, (code, error) in enumerate([found for found in codes if found[0]][:_MOST_VERDICTS])
    ]
