"""A desk in memory whose first trader is decided for by a scripted model, with rounds that really trade."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio

from config_files import write_config
from exchanges.clock import ManualClock
from exchanges.paper.ledger import MemoryPaperLedger
from executor.contract import Executor
from executor.models.chat import Completion, Message, ModelEndpoint
from executor.models.profile import ModelProfile
from executor.registry import ExecutorParts, ExecutorSpec, ExecutorType, build_executor
from manager.bootstrap.accounts import account_runtimes
from manager.bootstrap.live import build_manager
from manager.config import load_config
from manager.desk.sampling import LiveSampler
from manager.jobs.handlers import DeskHandlers, DeskParts
from manager.jobs.inline import InlineRunner
from manager.jobs.runner import Job, JobKind
from manager.roster.registration import prompt_library
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, AccountId, DecisionRow, TenantId, TraderRow
from traders.spec import TraderId, TraderSpec

AT = datetime(2025, 1, 15, 12, tzinfo=UTC)
BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"


@dataclass
class ScriptedModel:
    """Give one answer after the other, or raise it, and remember what was asked."""

    name: str = "scripted"
    answers: list[Any] = field(default_factory=list)
    asked: list[Sequence[Message]] = field(default_factory=list)
    meanwhile: Any = None

    async def complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Completion:
        """Return or raise the next answer; `meanwhile` is awaited first."""
        del schema
        self.asked.append(messages)
        if self.meanwhile is not None:
            await self.meanwhile()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Completion) else Completion(text=answer)

    async def ping(self) -> None:
        """Answer."""

    async def close(self) -> None:
        """Hold nothing."""


class _Clients:
    def __init__(self, model: ScriptedModel) -> None:
        self._model = model
        self.turn = anyio.Lock()

    def model(self, *profile: object) -> ScriptedModel:
        return self._model


@dataclass
class _Source:
    executor: Executor

    def of(self, tenant: TenantId, spec: TraderSpec) -> Executor:
        del tenant, spec
        return self.executor


class ModelDesk:
    """Decide for the trader "one", which trades BTC; its account's rounds follow each decision."""

    def __init__(self, folder: Path) -> None:
        self.config = load_config(write_config(folder), {})
        self.store, self.clock, self.model = MemoryStore(), ManualClock(AT), ScriptedModel()
        self.runner = InlineRunner()

    async def start(self) -> "ModelDesk":
        """Register the traders and let the account be read once."""
        await build_manager(self.store, self.config, self.clock).sync(self.config)
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            row = await tx.get(TraderRow, "one")
            assert row is not None
            await tx.upsert([replace(row, spec=replace(row.spec, executor=ExecutorSpec(type=ExecutorType.LLM)))])
        endpoint = ModelEndpoint(base_url="http://127.0.0.1:9/v1", model="m", api_key="k")
        parts: Any = {
            "prompts": prompt_library(self.config),
            "clients": _Clients(self.model),
            "monotonic": lambda: 0.0,
            "models": {"m": ModelProfile(name="m", endpoint=endpoint)},
        }
        spec = ExecutorSpec(type=ExecutorType.LLM, model="m", prompt_template="prompts/general.md")
        self.accounts = await account_runtimes(self.config, self.clock, lambda tenant: MemoryPaperLedger())
        desk = DeskParts(
            store=self.store,
            clock=self.clock,
            runner=self.runner,
            executors=_Source(build_executor(spec, ExecutorParts(**parts))),
            sampler=LiveSampler(10),
            accounts=self.accounts,
            holder="test",
        )
        self.runner.attach(DeskHandlers(desk))
        await self.run(JobKind.MAINTAIN)
        return self

    async def run(self, kind: JobKind, **more: Any) -> None:
        """Do one job and what follows from it."""
        await self.runner.defer(Job(kind=kind, tenant_id=DEFAULT_TENANT, account_id=AccountId("paper"), **more))
        await self.runner.run_until_idle()

    async def decide(self, *answers: Any) -> DecisionRow:
        """Take the trader's next decision, six minutes later, with these answers of the model."""
        self.model.answers = list(answers)
        self.clock.set(self.clock.now() + timedelta(minutes=6))
        await self.run(JobKind.MAINTAIN)
        async with self.store.service() as service:
            claims = {claim.trader_id: claim for claim in await service.claim_due(self.clock.now(), 10)}
        await self.run(JobKind.DECIDE, trader_id="one", due_at=claims[TraderId("one")].due_at)
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            found = await tx.find(DecisionRow, {"trader_id": "one"}, newest_first="decided_at", limit=1)
        return found[0]

    async def rows(self, kind: type[Any], **where: Any) -> list[Any]:
        """Return stored rows."""
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            return list(await tx.find(kind, where))

    async def open_item(self, **changes: Any) -> dict[str, Any]:
        """Return an open of BTC that passes every check."""
        runtime = self.accounts[(DEFAULT_TENANT, AccountId("paper"))]
        snapshot = await runtime.market.snapshot(frozenset(runtime.instruments))
        mark = float(next(view.mark for symbol, view in snapshot.symbols.items() if symbol == BTC))
        levels = {"stop_loss": round(mark * 0.98, 1), "take_profit": round(mark * 1.1, 1)}
        sizes = {"leverage": 3, "position_size_usd": 500, "confidence": 90}
        return {"symbol": BTC, "action": "open_long", **sizes, **levels, **changes}

    def told(self) -> str:
        """Return what the newest prompt says was refused."""
        text = self.model.asked[-1][1].text
        _, _, rest = text.partition("## Refused")
        return rest.partition("\n## ")[0]


def reply(*items: object) -> str:
    """Return a reply with `items`."""
    return json.dumps({"reasoning": "because", "decisions": list(items)})
