"""The three jobs of the desk, the same under every runner: decide, round, maintain."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from exchanges.clock import Clock, to_ms
from exchanges.errors import ExchangeError
from exchanges.market import SharedMarket
from exchanges.types import Symbol
from executor.contract import PASSIVE, Context, Executor, FullDecision, ItemError, Outcome
from executor.errors import ExecutorConfigError
from manager.desk.execution import RoundExecution
from manager.desk.housekeeping import ISOLATION_SHARPE, ISOLATION_TRADES, Housekeeping
from manager.desk.incidents.safe_mode import log_changes, note_outcome
from manager.desk.protector import Protector
from manager.desk.reconcile.reader import Reconciler
from manager.desk.sampling import EquitySampler
from manager.desk.session import AccountRuntime, Session
from manager.jobs.context import ContextReader
from manager.jobs.runner import Job, JobKind, JobRunner
from manager.roster.lifecycle import transition
from manager.state import records
from manager.state.errors import DuplicateRow, FenceLost, InvalidRow, StoreUnavailable
from manager.state.recorded import prompt_row, storable_decision
from manager.state.store import Conclusion, Fence, Store, TraderRows, claim_of
from traders.context import MarketViews
from traders.spec import TraderId, TraderSpec

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
    take-profits in a job of its own, before the funding of an instant: then `maintain_fires` is False.
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


class DeskHandlers:
    """Run the jobs on the injected parts; nothing here knows whether it is live, paper or replay."""

    def __init__(self, parts: DeskParts) -> None:
        self._parts = parts
        self._views: dict[SharedMarket, MarketViews] = {}

    async def decide(self, job: Job) -> None:
        """Ask one trader's executor once for its slot and store the answer; then wake the account's round."""
        parts, read_at = self._parts, self._parts.clock.now()
        async with parts.store.transaction(job.tenant_id) as tx:
            rows = await tx.trader(job.trader_id)
        if rows.schedule.in_flight_due_at != job.slot or rows.trader.state is not records.TraderState.RUNNING:
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
        if not in_time:
            _LOG.warning("decision_came_late", trader=job.trader_id, due_at=job.slot.isoformat())
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
        """Fire the touched take-profits that do not rest, and nothing else."""
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
        runtime.begin()
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

    async def take(self, runtime: AccountRuntime, views: MarketViews) -> tuple[bool, bool]:
        """Ask and store; return whether the decision came in time, and whether there is anything to do.

        Whatever fails unexpectedly is stored as a decision of its own: without a row it would count as no failure and
        raise no alert. Raises DuplicateRow where the slot is taken, StoreUnavailable, and ExecutorConfigError where a
        replay lacks what it needs.
        """
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
            snapshot = await runtime.market.snapshot(frozenset(runtime.instruments))
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
        failed = None if full.outcome is Outcome.BUDGET_EXHAUSTED else full.outcome is not Outcome.DECIDED
        end = Conclusion(
            decision=decision,
            prompts=[prompt_row(decision, full.prompt)] if full.prompt is not None and parts.keep_prompts else [],
            intents=intents,
            failed=failed,
            at=parts.clock.now(),
            # A round stores its verdicts a moment after the time they bear, maybe after they were looked for.
            told_at=self._read_at - _STORED_LATE if full.outcome in _ANSWERED else None,
        )
        try:
            async with parts.store.transaction(self._trader.tenant_id) as tx:
                if not await tx.conclude(end):
                    raise _CameLate
                await tx.insert(invalid_parts(decision))
                alerts = await note_outcome(tx, self._rows.schedule, decision, failed)
        except _CameLate:
            await self._conclude_late(end)
            return False, False
        self._log_failure(decision)
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
