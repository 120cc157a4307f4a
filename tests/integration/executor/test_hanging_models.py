"""Ten of fifty traders wait for a model that never answers: the other forty decide as if they did not exist."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executor.contract import Executor, FullDecision, Outcome
from executor.models.clients import ModelClients
from executor.models.profile import ModelProfile
from executor.prompts import PromptLibrary
from executor.registry import ExecutorParts, ExecutorSpec, ExecutorType, build_executor
from executor.sample import sample_context
from executor_contexts import open_item, reply_text
from openai_endpoint import Answer, Endpoint, endpoint, hangs, says, trickles

PROMPTS = PromptLibrary(Path(__file__).parents[3] / "prompts")
GOOD = says(reply_text(open_item()))
SILENT, QUICK = 10, 40


def trader(clients: ModelClients, profile: ModelProfile, timeout_s: float) -> Executor:
    parts = ExecutorParts(prompts=PROMPTS, clients=clients, monotonic=lambda: 0.0, models={profile.name: profile})
    spec = ExecutorSpec(type=ExecutorType.LLM, model=profile.name, timeout_s=timeout_s, prompt_template="general.md")
    return build_executor(spec, parts)


async def race(silent: ModelProfile, quick: ModelProfile) -> tuple[list[str], list[FullDecision]]:
    """Let all decide at once, the silent ones first in line, and return who finished in which order."""
    clients = ModelClients()
    finished: list[str] = []

    async def one(name: str, executor: Executor) -> FullDecision:
        decision = await executor.decide(replace(sample_context(), trader_name=name))
        finished.append(name)
        return decision

    waiting = [one("silent", trader(clients, silent, 3.0)) for _ in range(SILENT)]
    others = [one("quick", trader(clients, quick, 3.0)) for _ in range(QUICK)]
    try:
        return finished, list(await asyncio.gather(*waiting, *others))
    finally:
        await clients.close()


def profile_of(fake: Endpoint, name: str, max_concurrency: int) -> ModelProfile:
    return ModelProfile(name=name, endpoint=fake.spec(3.0), max_concurrency=max_concurrency)


def check(finished: list[str], decisions: list[FullDecision]) -> None:
    assert finished == ["quick"] * QUICK + ["silent"] * SILENT
    assert {decision.outcome for decision in decisions[:SILENT]} == {Outcome.TIMEOUT}
    assert {decision.outcome for decision in decisions[SILENT:]} == {Outcome.DECIDED}


@pytest.mark.parametrize("never", [hangs, trickles])
def test_another_endpoint_that_hangs_delays_nobody(never: Answer) -> None:
    async def run() -> None:
        async with endpoint(never) as dead, endpoint(GOOD) as alive:
            check(*await race(profile_of(dead, "dead", 4), profile_of(alive, "alive", 4)))

    asyncio.run(run())


def test_hanging_calls_of_the_same_endpoint_take_their_own_places_only() -> None:
    def by_name(request: dict[str, Any]) -> Answer:
        return hangs if "silent" in str(request["messages"]) else GOOD

    async def run() -> None:
        async with endpoint(GOOD) as fake:
            fake.choose = by_name
            shared = profile_of(fake, "shared", SILENT + 1)
            check(*await race(shared, shared))
            assert fake.most_at_once == SILENT + 1

    asyncio.run(run())
