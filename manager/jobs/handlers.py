"""The three jobs of the desk, the same under every runner: decide, round, maintain."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from exchanges.clock import Clock, to_ms
from exchanges.errors import ExchangeError
from executor.contract import PASSIVE, Context, Executor, FullDecision, ItemError, Outcome
from executor.errors import ExecutorConfigError
from executor.registry import ExecutorType
from manager.desk.execution import RoundExecution
from manager.desk.housekeeping import ISOLATION_SHARPE, ISOLATION_TRADES, Housekeeping
from manager.desk.incidents.safe_mode import log_changes, note_outcome
from manager.desk.protector import Protector
from manager.desk.reconcile.reader import Reconciler
from manager.desk.sampling import EquitySampler
from manager.desk.session import AccountRuntime, Session
from manager.jobs.details import read_record
from manager.jobs.runner import Job, JobKind, JobRunner
from manager.jobs.told import dropped, note_failure, read_actions, told, was_told
from manager.roster.lifecycle import transition
from manager.state import records
from manager.state.errors import DuplicateRow, FenceLost, InvalidRow, StoreUnavailable
from manager.state.recorded import prompt_row, storable_decision
from manager.state.store import Conclusion, Fence, Store, TraderRows
from traders.context import MarketViews, OwnState, build_context
from traders.details import OwnRecord, with_details
from traders.performance import Performance
from traders.spec import TraderId, TraderSpec

_LOG = structlog.get_logger(__name__)
_LATE = ItemError(
    path="deadline",
    message="came after its claim was given free and is not acted on; use a faster model, or raise decision_timeout",
)
_ROUNDS_AT_ONCE = 5
_STORED_LATE = timedelta(seconds=5)
_WITHOUT_DETAILS = (ExecutorType.BASELINE, ExecutorType.RECORDED)


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

    Without `keep_prompts` a decision keeps its prompt's hash, neither prompt nor context. A replay fires targets in
    a job of its own, before the funding of an instant: then `maintain_fires` is False.
    """

    store: Store
    clock: Clock
    runner: JobRunner
    executors: ExecutorSource
    sampler: EquitySampler
    accounts: Mapping[tuple[records.TenantId, records.AccountId], AccountRuntime]
    holder: str
    maintain_fires: bool = True
    keep_prompts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    slot: datetime
    read_at: datetime


class DeskHandlers:
    """Run the jobs on the injected parts; nothing here knows whether it is live, paper or replay."""

    def __init__(self, parts: DeskParts) -> None:
        self._parts = parts
        self._views: dict[str, MarketViews] = {}

    async def decide(self, job: Job) -> None:
        """Ask one trader's executor once for its slot and store the answer; then wake the account's round."""
        parts = self._parts
        slot = job.slot
        turn = _Turn(slot=slot, read_at=parts.clock.now())
        async with parts.store.transaction(job.tenant_id) as tx:
            rows = await tx.trader(job.trader_id)
        if rows.schedule.in_flight_due_at != slot or rows.trader.state is not records.TraderState.RUNNING:
            return
        try:
            in_time, acts = await self._decided(rows, turn, parts.accounts[(job.tenant_id, job.account_id)])
        except DuplicateRow:
            _LOG.info("decision_already_made", trader=job.trader_id, due_at=slot.isoformat())
            return
        if not in_time:
            _LOG.warning("decision_came_late", trader=job.trader_id, due_at=slot.isoformat())
        elif acts:
            await parts.runner.defer(replace(job, kind=JobKind.ROUND, trader_id=TraderId(""), due_at=None))

    async def round(self, job: Job) -> None:
        """Trade the account once, and again while newer intents keep coming in."""
        with suppress(FenceLost):
            for _ in range(_ROUNDS_AT_ONCE):
                session = await self._open(job)
                if not await self._prepare(session):
                    return
                settled = await RoundExecution(session).run()
                if settled and not await self._has_newer(session):
                    return

    async def maintain(self, job: Job) -> None:
        """Bring books, protection, liquidation checks and capital up to date; takes no entry."""
        with suppress(FenceLost):
            session = await self._open(job)
            await self._prepare(session, fire=self._parts.maintain_fires)

    async def fire(self, job: Job) -> None:
        """Fire the touched targets that do not rest, and nothing else."""
        with suppress(FenceLost):
            session = await self._open(job)
            if await self._read(session):
                await Protector(session).fire_take_profits()
                await session.flush()

    async def _prepare(self, session: Session, *, fire: bool = False) -> bool:
        """Reconcile, keep house and protect; False when the venue could not be read, so nothing may be traded."""
        if not await self._read(session):
            return False
        if fire:
            await Protector(session).fire_take_profits()
        unfit = await Housekeeping(session, self._parts.sampler).keep_house()
        await Protector(session).protect()
        session.incidents.end(session.clock.now())
        await session.flush()
        if unfit:
            await self._isolate(session, unfit)
        return True

    async def _read(self, session: Session) -> bool:
        self._parts.sampler.before(session)
        try:
            await Reconciler(session).reconcile()
        except ExchangeError as failure:
            session.incident("VENUE_UNAVAILABLE", str(failure))
            await session.flush()
            return False
        return True

    async def _isolate(self, session: Session, unfit: Sequence[TraderId]) -> None:
        tenant, now = session.runtime.tenant_id, self._parts.clock.now()
        reason = f"Sharpe below {ISOLATION_SHARPE} over at least {ISOLATION_TRADES} trades"
        for trader_id in unfit:
            async with self._parts.store.transaction(tenant) as tx:
                row = await transition(tx, trader_id, records.TraderState.ISOLATED, actor="desk", reason=reason, at=now)
            session.state.note_trader(row)

    async def _open(self, job: Job) -> Session:
        parts = self._parts
        runtime = parts.accounts[(job.tenant_id, job.account_id)]
        async with parts.store.transaction(job.tenant_id) as tx:
            token = await tx.acquire(job.account_id, parts.holder)
            rows = await tx.account_rows(job.account_id)
        return Session(runtime, parts.store, parts.clock, Fence(account_id=job.account_id, token=token), rows)

    async def _has_newer(self, session: Session) -> bool:
        seen = session.state.intents.keys()
        where = {"account_id": session.runtime.account_id, "status": records.IntentStatus.PENDING}
        async with self._parts.store.transaction(session.runtime.tenant_id) as tx:
            waiting = await tx.find(records.IntentRow, where)
        return any(intent.intent_id not in seen for intent in waiting)

    async def _decided(self, rows: TraderRows, turn: _Turn, runtime: AccountRuntime) -> tuple[bool, bool]:
        try:
            context, asked = await self._ask(rows, runtime)
            return await self._conclude(rows, turn, storable_decision(asked), context)
        except (DuplicateRow, StoreUnavailable, ExecutorConfigError):
            # The slot is taken, nothing can be written, or a replay lacks what it needs, which ends it.
            raise
        except Exception as error:  # noqa: BLE001 - a fault that leaves no row would count as no failure and raise no alert
            return await self._conclude(rows, turn, storable_decision(_unexpected(rows, error)), None)

    async def _conclude(
        self, rows: TraderRows, turn: _Turn, full: FullDecision, context: Context | None
    ) -> tuple[bool, bool]:
        """Store the decision; return whether it came in time, and whether there is anything to do."""
        parts = self._parts
        decision, intents = _record(rows, full, turn.slot, parts.clock.now(), context if parts.keep_prompts else None)
        prompts = [prompt_row(decision, full.prompt)] if full.prompt is not None and parts.keep_prompts else []
        failed = None if full.outcome is Outcome.BUDGET_EXHAUSTED else full.outcome is not Outcome.DECIDED
        end = Conclusion(
            decision=decision,
            prompts=prompts,
            intents=intents,
            failed=failed,
            at=parts.clock.now(),
            # A round stores its verdicts a moment after the time they bear, maybe after they were looked for.
            told_at=turn.read_at - _STORED_LATE if was_told(full) else None,
        )
        try:
            async with parts.store.transaction(rows.trader.tenant_id) as tx:
                if not await tx.conclude(end):
                    raise _CameLate
                await tx.insert(dropped(decision))
                alerts = await note_outcome(tx, rows.schedule, decision, failed)
        except _CameLate:
            await self._conclude_late(end)
            return False, False
        note_failure(decision)
        log_changes(alerts)
        return True, bool(intents)

    async def _conclude_late(self, end: Conclusion) -> None:
        """Keep a decision that is not acted on; one that the trader took too long for counts as failed."""
        decision = end.decision
        alerts: list[records.IncidentRow] = []
        async with self._parts.store.transaction(decision.tenant_id) as tx:
            trader = await tx.get(records.TraderRow, decision.trader_id)
            schedule = await tx.get(records.ScheduleRow, decision.trader_id)
            slow = trader is not None and trader.state is records.TraderState.RUNNING and end.failed is not None
            if slow:
                outcome = Outcome.TIMEOUT if decision.outcome is Outcome.DECIDED else decision.outcome
                decision = replace(decision, outcome=outcome, errors=(*decision.errors, _LATE))
            await tx.conclude(replace(end, decision=decision, intents=[]))
            if slow and schedule is not None:
                failures = schedule.failed_decisions + 1
                await tx.patch(records.ScheduleRow, (decision.trader_id,), failed_decisions=failures)
                alerts = await note_outcome(tx, schedule, decision, True)
        log_changes(alerts)

    async def _ask(self, rows: TraderRows, runtime: AccountRuntime) -> tuple[Context | None, FullDecision]:
        spec = rows.trader.spec
        try:
            snapshot = await runtime.market.snapshot(frozenset(runtime.instruments))
        except ExchangeError as failure:
            return None, FullDecision(
                outcome=Outcome.UNAVAILABLE, errors=(ItemError(path="market", message=f"no market data: {failure}"),)
            )
        views = self._views.setdefault(runtime.account_id, MarketViews()).of(snapshot)
        wanted = {*spec.symbols, *(position.symbol for position in rows.positions)}
        maintenance = {s: runtime.instruments[s].maintenance_rate for s in wanted if s in runtime.instruments}
        own = _own_state(rows, self._parts.sampler.current(rows.book), await self._actions_of(rows))
        context = build_context(spec, own, views, maintenance, self._parts.clock.now())
        if spec.executor.type not in _WITHOUT_DETAILS:
            context = with_details(context, await self._record_of(rows, runtime))
        return context, await self._parts.executors.of(rows.trader.tenant_id, spec).decide(context)

    async def _actions_of(self, rows: TraderRows) -> Mapping[str, str]:
        if not rows.verdicts or rows.trader.spec.executor.type in _WITHOUT_DETAILS:
            return {}
        async with self._parts.store.transaction(rows.trader.tenant_id) as tx:
            return await read_actions(tx, rows.verdicts)

    async def _record_of(self, rows: TraderRows, runtime: AccountRuntime) -> OwnRecord:
        async with self._parts.store.transaction(rows.trader.tenant_id) as tx:
            return await read_record(tx, rows, runtime.instruments, self._parts.clock.now())


def _unexpected(rows: TraderRows, error: Exception) -> FullDecision:
    """Stand in for a decision that nobody could take or no database can hold: it is no reason to trade."""
    known = isinstance(error, InvalidRow)
    told = str(error) if known else f"failed unexpectedly ({type(error).__name__}); please report it with the log"
    _LOG.error("decision_failed", trader=rows.trader.trader_id, error=told, exc_info=None if known else error)
    return FullDecision(outcome=Outcome.UNAVAILABLE, errors=(ItemError(path="decision", message=told),))


def _own_state(rows: TraderRows, curve: Performance, actions: Mapping[str, str]) -> OwnState:
    denials = told(rows.verdicts, actions)
    book = rows.book.book(rows.positions)
    return OwnState(book=book, allocated=rows.book.allocated, performance=curve, denials=denials)


def _record(
    rows: TraderRows, full: FullDecision, due_at: datetime, decided_at: datetime, context: Context | None
) -> tuple[records.DecisionRow, list[records.IntentRow]]:
    trader, schedule = rows.trader, rows.schedule
    decision_id = records.DecisionId(f"{trader.trader_id}@{to_ms(due_at)}")
    decision = records.DecisionRow(
        tenant_id=trader.tenant_id,
        decision_id=decision_id,
        trader_id=trader.trader_id,
        account_id=trader.account_id,
        due_at=due_at,
        decided_at=decided_at,
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
        prompt_tokens=full.prompt.tokens if full.prompt is not None else 0,
        prompt_cuts=full.prompt.cuts if full.prompt is not None else (),
    )
    intents = [
        records.IntentRow(
            tenant_id=trader.tenant_id,
            intent_id=records.IntentId(f"{decision_id}#{number}"),
            decision_id=decision_id,
            account_id=trader.account_id,
            trader_id=trader.trader_id,
            decided_at=decided_at,
            decision=item,
            n=number,
            expires_at=schedule.next_due_at,
        )
        for number, item in enumerate(full.decisions)
        if item.action not in PASSIVE
    ]
    return decision, intents
