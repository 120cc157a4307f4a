"""How `propdesk check models` asks: nobody waits for another's client or answer, and nobody is left out."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config_files import changed, write_config
from exchanges.clock import SystemClock
from executor.models.probe import ProbeResult
from executor.models.profile import ModelProfile
from manager.cli.probing import Configured, configured_models, probe_all
from manager.config import load_config
from manager.state.records import DEFAULT_TENANT
from openai_endpoint import Endpoint, endpoint, hangs, says

GOOD = says('{"condition_of_service": "ready"}')
OWN = "{type: llm, model: m, base_url: 'https://a.example/v1', api_key: '${K}'%s}\n    prompt_template: prompts/grid.md"


def named(fake: Endpoint, name: str, **more: Any) -> Configured:
    at = replace(fake.spec(0.3), **more)
    return Configured(tenant=DEFAULT_TENANT, name=name, profile=ModelProfile(name=name, endpoint=at))


async def probed(*configured: Configured) -> list[ProbeResult]:
    return await probe_all(configured, SystemClock(), lambda _: None)


def test_an_address_is_asked_one_call_at_a_time() -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        await GOOD(writer)

    async def run() -> None:
        async with endpoint(slowly) as fake:
            results = await probed(*(named(fake, f"m{n}", api_key=f"k{n}", model=f"m{n}") for n in range(6)))
            assert all(result.ok for result in results)
            assert (fake.most_at_once, len(fake.requests)) == (1, 6)

    asyncio.run(run())


def test_addresses_do_not_wait_for_each_other() -> None:
    async def run() -> None:
        async with endpoint(hangs) as silent, endpoint(GOOD) as fake:
            results = await probed(named(silent, "silent", timeout_s=2.0), named(fake, "fine", timeout_s=1.0))
            assert [result.ok for result in results] == [False, True]

    asyncio.run(run())


def test_a_model_that_cannot_be_opened_hides_no_other() -> None:
    async def run() -> None:
        async with endpoint(GOOD) as fake:
            bad, fine = await probed(named(fake, "bad", api_key="sk-hidden\n"), named(fake, "fine"))
            assert (bad.ok, fine.ok) == (False, True)
            assert "environment variable" in bad.problems[0]
            assert "sk-hidden" not in bad.problems[0]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("more", "asked"),
    [("", 1), (", extra_body: {temperature: 0.5}", 2), (", timeout: 5s", 2), (", structured: none", 2)],
)
def test_models_of_traders_are_asked_once_for_all_who_ask_alike(tmp_path: Path, more: str, asked: int) -> None:
    text = changed("{type: baseline, style: trend}", OWN % "")
    text = text.replace("{type: baseline, style: breakout}", OWN % more)
    configured = configured_models(load_config(write_config(tmp_path, text), {"K": "sk"}))
    assert [one.name for one in configured] == ["trader one", "trader two"][:asked]
