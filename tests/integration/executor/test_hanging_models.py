"""Ten of fifty traders wait for a model that never answers: the other forty decide as if they did not exist."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executor.contract import Executor, FullDecision, Outcome
from executor.models.clients import ModelClients
from executor.models.profile import ModelProfile
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context
from executor.registry import ExecutorParts, ExecutorSpec, ExecutorType, build_executor
from executor_contexts import open_item, reply_text
from openai_endpoint import Answer, Endpoint, endpoint, hangs, says, trickles

PROMPTS = PromptLibrary(Path(__file__).parents[3] / "prompts")
GOOD = says(reply_text(open_item()))
SILENT, QUICK = 10, 40
PATIENCE_S = 60.0


def trader(clients: ModelClients, profile: ModelProfile, timeout_s: float) -> Executor:
    parts = ExecutorParts(prompts=PROMPTS, clients=clients, monotonic=lambda: 0.0, models={profile.name: profile})
    spec = ExecutorSpec(type=ExecutorType.LLM, model=profile.name, timeout_s=timeout_s, prompt_template="general.md")
    return build_executor(spec, parts)


async def race(silent: ModelProfile, quick: ModelProfile) -> None:
    """Let all decide at once, the silent ones first in line; the others decide while those still wait."""
    clients = ModelClients()

    async def one(name: str, profile: ModelProfile) -> FullDecision:
        return await trader(clients, profile, PATIENCE_S).decide(replace(sample_context(), trader_name=name))

    waiting = [asyncio.ensure_future(one("silent", silent)) for _ in range(SILENT)]
    try:
        decisions = await asyncio.wait_for(asyncio.gather(*(one("quick", quick) for _ in range(QUICK))), PATIENCE_S / 2)
        assert [decision.outcome for decision in decisions] == [Outcome.DECIDED] * QUICK
        assert not any(decision.done() for decision in waiting)
    finally:
        for decision in waiting:
            decision.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await clients.close()


def profile_of(fake: Endpoint, name: str, max_concurrency: int) -> ModelProfile:
    return ModelProfile(name=name, endpoint=fake.spec(PATIENCE_S), max_concurrency=max_concurrency)


@pytest.mark.parametrize("never", [hangs, trickles])
def test_another_endpoint_that_hangs_delays_nobody(never: Answer) -> None:
    async def run() -> None:
        async with endpoint(never) as dead, endpoint(GOOD) as alive:
            await race(profile_of(dead, "dead", 4), profile_of(alive, "alive", 4))

    asyncio.run(run())


def test_hanging_calls_of_the_same_endpoint_take_their_own_places_only() -> None:
    def by_name(request: dict[str, Any]) -> Answer:
        return hangs if "silent" in str(request["messages"]) else GOOD

    async def run() -> None:
        async with endpoint(GOOD) as fake:
            fake.choose = by_name
            shared = profile_of(fake, "shared", SILENT + 1)
            await race(shared, shared)
            assert fake.most_at_once == SILENT + 1

    asyncio.run(run())
