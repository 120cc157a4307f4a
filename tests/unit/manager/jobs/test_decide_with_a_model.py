"""A decision by a model: what it is shown, what is kept of its prompt, and that a baseline pays for none of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from config_files import write_config
from exchanges.clock import ManualClock
from executor.contract import Action, Context, Decision, Executor, FullDecision, Outcome
from executor.models.chat import Completion, Message, ModelEndpoint
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
    DecisionRow,
    IntentRow,
    IntentStatus,
    PromptRow,
    ScheduleRow,
    TenantId,
    TraderRow,
)
from memory_desk import desk_of
from state_rows import make_row
from traders.spec import TraderId, TraderSpec

AT = datetime(2025, 1, 15, 12, tzinfo=UTC)


@dataclass
class Model:
    """Answer the same to everything and remember what was asked."""

    text: str
    asked: list[Sequence[Message]] = field(default_factory=list)
    name: str = "scripted"

    async def complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Completion:
        """Return the text."""
        self.asked.append(messages)
        return Completion(text=self.text)

    async def ping(self) -> None:
        """Answer."""

    async def close(self) -> None:
        """Hold nothing."""


class Clients:
    """Give every profile the same model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.turn = anyio.Lock()

    def model(self, *profile: object) -> Model:
        """Return it."""
        return self._model


@dataclass
class Blank:
    """Decide nothing and keep the context."""

    seen: list[Context] = field(default_factory=list)
    outcome: Outcome = Outcome.DECIDED

    async def decide(self, context: Context) -> FullDecision:
        """Return an empty decision."""
        self.seen.append(context)
        return FullDecision(model="blank", outcome=self.outcome)

    async def ping(self) -> None:
        """Answer."""

    async def close(self) -> None:
        """Hold nothing."""


@dataclass
class Source:
    """Give everyone the same executor."""

    executor: Executor

    def of(self, tenant: TenantId, spec: TraderSpec) -> Executor:
        """Return it."""
        return self.executor


class Scene:
    """One desk in memory with two traders, of which the first is decided for by a model."""

    def __init__(self, folder: Path) -> None:
        self.config = load_config(write_config(folder), {})
        self.store, self.clock = MemoryStore(), ManualClock(AT)
        self.prompts = self.config.prompt_library()

    async def decide(self, executor: Executor, *, model: bool, keep_prompts: bool = True) -> DecisionRow:
        """Register the traders and take the first one's next decision."""
        await build_manager(self.store, self.config, self.clock).sync(self.config)
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            row = await tx.get(TraderRow, "one")
            assert row is not None
            if model:
                await tx.upsert([replace(row, spec=replace(row.spec, executor=ExecutorSpec(type=ExecutorType.LLM)))])
        self.clock.set(self.clock.now() + timedelta(minutes=10))
        async with self.store.service() as service:
            claims = {claim.trader_id: claim for claim in await service.claim_due(self.clock.now(), 10)}
        due_at = claims[TraderId("one")].due_at
        desk = await desk_of(self.config, self.store, self.clock)
        handlers = DeskHandlers(replace(desk, executors=Source(executor), keep_prompts=keep_prompts))
        await handlers.decide(
            Job(
                kind=JobKind.DECIDE,
                tenant_id=DEFAULT_TENANT,
                account_id=AccountId("paper"),
                trader_id=TraderId("one"),
                due_at=due_at,
            )
        )
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            (decision,) = await tx.find(DecisionRow, {"trader_id": "one"})
        return decision

    def executor(self, model: Model) -> Executor:
        """Return an executor on a shipped template."""
        profile = ModelProfile(
            name="m", endpoint=ModelEndpoint(base_url="http://127.0.0.1:9/v1", model="m", api_key="k")
        )
        parts: Any = {"prompts": self.prompts, "clients": Clients(model), "monotonic": lambda: 0.0}
        spec = ExecutorSpec(type=ExecutorType.LLM, model="m", prompt_template="prompts/general.md")
        return build_executor(spec, ExecutorParts(**parts, models={"m": profile}))

    async def kept(self) -> Sequence[PromptRow]:
        """Return the prompts that are kept."""
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            return await tx.find(PromptRow, {})


async def test_the_prompt_that_was_sent_is_kept_with_its_decision(tmp_path: Path) -> None:
    scene, model = Scene(tmp_path), Model('{"reasoning": "flat", "decisions": []}')
    decision = await scene.decide(scene.executor(model), model=True)
    (row,) = await scene.kept()
    text, (asked,) = prompt_text(row), model.asked
    assert [text.system, text.user] == [message.text for message in asked]
    assert (row.decision_id, row.sha256, row.at) == (decision.decision_id, decision.prompt_hash, decision.decided_at)
    assert (row.template, row.version) == ("prompts/general.md", 3)
    assert (decision.prompt_tokens > 1_000, decision.prompt_cuts) == (True, ())
    assert "candles of 15s:" in text.user
    assert "candles of 1m:" in text.user
    assert "entries this hour 3" in text.user


async def test_a_stored_context_renders_the_same_prompt_again(tmp_path: Path) -> None:
    scene, model = Scene(tmp_path), Model('{"reasoning": "flat", "decisions": []}')
    decision = await scene.decide(scene.executor(model), model=True)
    assert decision.context is not None
    assert scene.prompts.render("prompts/general.md", decision.context).sha256 == decision.prompt_hash


async def test_a_failed_decision_keeps_its_prompt_too(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    decision = await scene.decide(scene.executor(Model("I would rather not say.")), model=True)
    assert (decision.outcome, decision.attempts) == ("invalid_reply", 2)
    assert [row.decision_id for row in await scene.kept()] == [decision.decision_id]


async def test_without_retention_only_the_hash_is_kept(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    model = Model('{"decisions": []}')
    decision = await scene.decide(scene.executor(model), model=True, keep_prompts=False)
    assert len(decision.prompt_hash) == 64
    assert await scene.kept() == []


async def test_a_baseline_gets_no_details_and_keeps_no_prompt(tmp_path: Path) -> None:
    scene, blank = Scene(tmp_path), Blank()
    decision = await scene.decide(blank, model=False)
    assert [context.details for context in blank.seen] == [None]
    assert (decision.prompt_tokens, await scene.kept()) == (0, [])


@pytest.mark.parametrize(("outcome", "failures"), [("budget_exhausted", 2), ("timeout", 3), ("decided", 0)])
async def test_a_used_up_budget_is_no_failed_decision(tmp_path: Path, outcome: str, failures: int) -> None:
    scene = Scene(tmp_path)
    await build_manager(scene.store, scene.config, scene.clock).sync(scene.config)
    async with scene.store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(ScheduleRow, ("one",), failed_decisions=2)
    decision = await scene.decide(Blank(outcome=Outcome(outcome)), model=False)
    async with scene.store.transaction(DEFAULT_TENANT) as tx:
        schedule = await tx.get(ScheduleRow, "one")
    assert schedule is not None
    assert (decision.outcome, schedule.failed_decisions, schedule.in_flight_due_at) == (outcome, failures, None)


async def test_a_used_up_budget_withdraws_opens_that_wait_and_leaves_closes(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await build_manager(scene.store, scene.config, scene.clock).sync(scene.config)
    wishes = {
        action: Decision(symbol="BTC/USDT:USDT", action=action) for action in (Action.OPEN_LONG, Action.CLOSE_LONG)
    }
    async with scene.store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert(
            [
                make_row(IntentRow, intent_id=action, account_id="paper", trader_id="one", decision=wish)
                for action, wish in wishes.items()
            ]
        )
    await scene.decide(Blank(outcome=Outcome.BUDGET_EXHAUSTED), model=False)
    async with scene.store.transaction(DEFAULT_TENANT) as tx:
        found = {row.intent_id: row.status for row in await tx.find(IntentRow, {})}
    assert found == {"open_long": IntentStatus.SUPERSEDED, "close_long": IntentStatus.PENDING}
