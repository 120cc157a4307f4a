"""Every executor keeps the one contract: values in, a value out, nothing raised, nothing remembered of others.

Each kind is asked in this process, over HTTP and over gRPC.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import pytest

from executor.baseline.styles import Style
from executor.contract import CLOSES, OPENS, Context, Executor, FullDecision, Indicators, Outcome
from executor.prompts.library import PromptLibrary
from executor.recordings.decisions import load_recorded
from executor.registry import ExecutorParts, ExecutorSpec, ExecutorType, ModelClients, build_executor
from executor_contexts import BTC, SOL, market_context, open_item, reply_text
from executor_servers import remote_spec, serving_any
from openai_endpoint import endpoint, says

PROMPTS = Path(__file__).parents[2] / "prompts"
UP = Indicators(ema_20=99.0, ema_50=97.0, macd=0.5, macd_signal=0.2, rsi_14=66.0, atr_14=1.0)
CONTEXT = market_context({BTC: UP, SOL: Indicators()})
Opener = Callable[[Path], AbstractAsyncContextManager[Executor]]
Result = TypeVar("Result")


def parts(clients: ModelClients, path: Path | None = None) -> ExecutorParts:
    recorded = None if path is None else load_recorded(path)
    return ExecutorParts(prompts=PromptLibrary(PROMPTS), clients=clients, monotonic=lambda: 0.0, recorded=recorded)


@asynccontextmanager
async def baseline(_: Path) -> AsyncIterator[Executor]:
    yield build_executor(ExecutorSpec(type=ExecutorType.BASELINE, style=Style.TREND), parts(ModelClients()))


@asynccontextmanager
async def recorded(folder: Path) -> AsyncIterator[Executor]:
    path = folder / "decisions.jsonl"
    path.write_text(json.dumps({"ts_ms": 0, "trader_id": CONTEXT.trader_id, "decisions": [open_item()]}))
    yield build_executor(ExecutorSpec(type=ExecutorType.RECORDED), parts(ModelClients(), path))


@asynccontextmanager
async def llm(_: Path) -> AsyncIterator[Executor]:
    clients = ModelClients()
    async with endpoint(says(reply_text(open_item()))) as fake:
        spec = ExecutorSpec(
            type=ExecutorType.LLM, base_url=fake.base_url, model="tiny", api_key="k", prompt_template="general.md"
        )
        yield build_executor(spec, parts(clients))
        await clients.close()


def over(scheme: str, opened: Opener) -> Opener:
    @asynccontextmanager
    async def remote(folder: Path) -> AsyncIterator[Executor]:
        async with opened(folder) as served, serving_any(served) as serving:
            local = parts(ModelClients())
            yield build_executor(remote_spec(getattr(serving, scheme)), local)
            await local.remotes.close()

    return remote


LOCAL: dict[str, Opener] = {"baseline": baseline, "recorded": recorded, "llm": llm}
EVERY = LOCAL | {
    f"{kind}-{scheme}": over(scheme, opened) for kind, opened in LOCAL.items() for scheme in ("http", "grpc")
}
KINDS = pytest.mark.parametrize("opened", list(EVERY.values()), ids=list(EVERY))


def using(opened: Opener, folder: Path, use: Callable[[Executor], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        async with opened(folder) as executor:
            return await use(executor)

    return asyncio.run(run())


def decide(opened: Opener, folder: Path, context: Context) -> FullDecision:
    return using(opened, folder, lambda executor: executor.decide(context))


@KINDS
def test_an_open_is_complete(opened: Opener, tmp_path: Path) -> None:
    decision = decide(opened, tmp_path, CONTEXT)
    assert decision.outcome is Outcome.DECIDED
    assert decision.model
    assert decision.errors == ()
    (asked,) = decision.decisions
    assert asked.action in OPENS
    assert asked.symbol == BTC
    for value in (asked.position_size_usd, asked.stop_loss, asked.take_profit, asked.confidence):
        assert isinstance(value, Decimal)
        assert value.is_finite()
    assert isinstance(asked.leverage, int)


@KINDS
def test_a_symbol_of_others_is_left_to_the_risk_checks_and_none_is_made_up(opened: Opener, tmp_path: Path) -> None:
    other = market_context({SOL: Indicators()})
    decision = decide(opened, tmp_path, other)
    assert {asked.symbol for asked in decision.decisions} <= {SOL, BTC}
    assert decision.outcome is Outcome.DECIDED


@KINDS
def test_an_empty_market_is_no_reason_to_fail(opened: Opener, tmp_path: Path) -> None:
    empty = replace(CONTEXT, market={}, positions=())
    decision = decide(opened, tmp_path, empty)
    assert all(asked.action not in CLOSES for asked in decision.decisions)


@KINDS
def test_the_context_is_left_as_it_was(opened: Opener, tmp_path: Path) -> None:
    before = repr(CONTEXT)
    decide(opened, tmp_path, CONTEXT)
    assert repr(CONTEXT) == before


@KINDS
def test_many_traders_are_decided_at_once(opened: Opener, tmp_path: Path) -> None:
    contexts = [replace(CONTEXT, trader_id=f"trader-{number}") for number in range(20)]

    async def all_at_once(executor: Executor) -> list[FullDecision]:
        return list(await asyncio.gather(*(executor.decide(context) for context in contexts)))

    decisions = using(opened, tmp_path, all_at_once)
    assert len(decisions) == 20
    assert len({decision.decisions for decision in decisions}) == 1


@KINDS
def test_ping_and_close_can_be_repeated(opened: Opener, tmp_path: Path) -> None:
    async def twice(executor: Executor) -> None:
        for _ in range(2):
            await executor.ping()
        for _ in range(2):
            await executor.close()

    using(opened, tmp_path, twice)
