"""A desk in memory whose first trader is decided for by a scripted model, with rounds that really trade."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio

from config_files import changed, write_config
from exchanges.clock import ManualClock
from executor.models.chat import Completion, Message
from manager.config import load_config
from manager.jobs.handlers import DeskHandlers
from manager.jobs.inline import InlineRunner
from manager.jobs.runner import Job, JobKind
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, AccountId, DecisionRow
from memory_desk import desk_of, registered
from traders.spec import TraderId

AT = datetime(2025, 1, 15, 12, tzinfo=UTC)
BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
LLM = "executor: {type: llm, model: m}\n    prompt_template: prompts/general.md"
MODELS = "models: {m: {model: m, api_key: '${MODEL_KEY}'}}\n"
WITH_A_MODEL = changed("executor: {type: baseline, style: trend}", LLM) + MODELS


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


class ScriptedClients:
    """Give every profile the same model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.turn = anyio.Lock()

    def model(self, *profile: object) -> Any:
        """Return it."""
        return self._model


class ModelDesk:
    """Decide for the trader "one", which trades BTC; its account's rounds follow each decision."""

    def __init__(self, folder: Path) -> None:
        self.config = load_config(write_config(folder, WITH_A_MODEL), {"MODEL_KEY": "k"})
        self.store, self.clock, self.model = MemoryStore(), ManualClock(AT), ScriptedModel()
        self.runner = InlineRunner()

    async def start(self) -> "ModelDesk":
        """Register the traders and let the account be read once."""
        await registered(self.config, self.store, self.clock)
        desk = await desk_of(self.config, self.store, self.clock, ScriptedClients(self.model))
        self.accounts = desk.accounts
        self.runner.attach(DeskHandlers(replace(desk, runner=self.runner)))
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
