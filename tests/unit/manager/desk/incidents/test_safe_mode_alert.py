"""The alert of safe mode: once, with the third failure in a row, until a decision succeeds or an operator acts."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from config_files import write_config
from desk_factory import AT
from exchanges.clock import ManualClock
from executor.contract import Context, Executor, FullDecision, Outcome
from manager.bootstrap.live import build_manager
from manager.config import load_config
from manager.jobs.handlers import DeskHandlers
from manager.jobs.runner import Job, JobKind
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, AccountId, IncidentRow, TenantId
from memory_desk import desk_of
from traders.spec import TraderId, TraderSpec

BAD, GOOD, SPENT = Outcome.TIMEOUT, Outcome.DECIDED, Outcome.BUDGET_EXHAUSTED


class Scripted:
    """Decide nothing, with the outcome that is set."""

    outcome = GOOD

    def of(self, tenant: TenantId, spec: TraderSpec) -> Executor:
        """Return itself."""
        del tenant, spec
        return self

    async def decide(self, context: Context) -> FullDecision:
        """Return the outcome."""
        del context
        return FullDecision(outcome=self.outcome, reasoning="the model was slow")

    async def ping(self) -> None:
        """Answer."""

    async def close(self) -> None:
        """Hold nothing."""


class Scene:
    """A desk in memory whose first trader decides as it is told."""

    def __init__(self, folder: Path) -> None:
        self.config = load_config(write_config(folder), {})
        self.store, self.clock, self.script = MemoryStore(), ManualClock(AT), Scripted()
        self.manager = build_manager(self.store, self.config, self.clock)

    async def decide(self, *outcomes: Outcome) -> None:
        """Take the first trader's next decisions, ten minutes apart."""
        await self.manager.sync(self.config)
        desk = await desk_of(self.config, self.store, self.clock)
        handlers = DeskHandlers(replace(desk, executors=self.script))
        for outcome in outcomes:
            self.script.outcome = outcome
            self.clock.set(self.clock.now() + timedelta(minutes=10))
            async with self.store.service() as service:
                claims = await service.claim_due(self.clock.now(), 10)
            due_at = next(claim.due_at for claim in claims if claim.trader_id == "one")
            job = Job(
                kind=JobKind.DECIDE,
                tenant_id=DEFAULT_TENANT,
                account_id=AccountId("paper"),
                trader_id=TraderId("one"),
                due_at=due_at,
            )
            await handlers.decide(job)

    async def alerts(self) -> Sequence[IncidentRow]:
        """Return every alert of safe mode, the oldest first."""
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            return sorted(await tx.find(IncidentRow, {"code": "SAFE_MODE"}), key=lambda row: row.at)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_the_third_failure_in_a_row_raises_it_once(scene: Scene) -> None:
    await scene.decide(BAD, BAD, GOOD, BAD, BAD)
    assert await scene.alerts() == []
    await scene.decide(BAD)
    third = scene.clock.now()
    await scene.decide(BAD, BAD)
    [alert] = await scene.alerts()
    assert (alert.trader_id, alert.account_id, alert.at, alert.resolved_at) == ("one", "paper", third, None)
    assert "the model was slow" in alert.detail


async def test_a_success_ends_it_and_the_next_series_raises_another(scene: Scene) -> None:
    await scene.decide(BAD, BAD, BAD, SPENT)
    assert [alert.resolved_at for alert in await scene.alerts()] == [None]
    await scene.decide(GOOD)
    assert [alert.resolved_at for alert in await scene.alerts()] == [scene.clock.now()]
    await scene.decide(BAD, BAD, BAD)
    assert [alert.resolved_at is None for alert in await scene.alerts()] == [False, True]


async def test_it_is_a_line_in_the_log_when_it_begins_and_ends(scene: Scene) -> None:
    with capture_logs() as told:
        await scene.decide(BAD, BAD, BAD, BAD, GOOD, GOOD)
    lines = [one for one in told if one["event"].startswith("incident_")]
    assert [(one["event"], one["code"], one["trader"], one["log_level"]) for one in lines] == [
        ("incident_raised", "SAFE_MODE", "one", "warning"),
        ("incident_resolved", "SAFE_MODE", "one", "info"),
    ]
    assert "the model was slow" not in str(lines)


async def test_an_operator_who_restarts_the_trader_ends_it(scene: Scene) -> None:
    await scene.decide(BAD, BAD, BAD)
    await scene.manager.pause(DEFAULT_TENANT, TraderId("one"), actor="test")
    await scene.manager.resume(DEFAULT_TENANT, TraderId("one"), actor="test")
    assert [alert.resolved_at for alert in await scene.alerts()] == [scene.clock.now()]
    await scene.decide(BAD, BAD)
    assert len(await scene.alerts()) == 1


async def test_a_trader_that_is_removed_leaves_no_open_alert(scene: Scene) -> None:
    await scene.decide(BAD, BAD, BAD)
    await scene.manager.unregister(DEFAULT_TENANT, TraderId("one"), actor="test")
    assert [alert.resolved_at for alert in await scene.alerts()] == [scene.clock.now()]
