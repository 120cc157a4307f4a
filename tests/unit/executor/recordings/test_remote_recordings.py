"""Questions to remote executors in recordings: each end comes back, and costs again what it may have cost."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from executor.contract import Context, FullDecision, Outcome, RenderedPrompt, Usage
from executor.errors import CallRejected, ModelError, ModelOverloaded, ModelUnreachable, RecordingMissing
from executor.prompts.library import prompt_digest
from executor.prompts.sample import sample_context
from executor.recordings.files import RecordingFile, Recordings
from executor.recordings.sources import RecordedAsking, RecordingAsking, question_key
from executor.remote.endpoint import RemoteEndpoint, lost

CONTEXT = sample_context()
HERE = RemoteEndpoint(url="http://127.0.0.1:8200", key="k")
USED = Usage(input_tokens=5, output_tokens=2, cost_usd=Decimal("0.125"))


class Script:
    """End each question as the script says."""

    def __init__(self, ends: Sequence[FullDecision | ModelError]) -> None:
        self._ends = list(ends)

    async def ask(self, context: Context) -> FullDecision:
        """Return or raise the next end."""
        del context
        end = self._ends.pop(0)
        if isinstance(end, ModelError):
            raise end
        return end

    async def greet(self, trader: str) -> None:
        """Answer."""


def record(folder: Path, *ends: FullDecision | ModelError) -> None:
    asking = RecordingAsking(Script(ends), HERE, RecordingFile(folder))

    async def run() -> None:
        for end in ends:
            if isinstance(end, ModelError):
                with pytest.raises(type(end)):
                    await asking.ask(CONTEXT)
            else:
                await asking.ask(CONTEXT)

    asyncio.run(run())


def test_answers_come_back_in_their_order(tmp_path: Path) -> None:
    failed = FullDecision(outcome=Outcome.TIMEOUT, usage=USED, attempts=2, model="m")
    record(tmp_path, FullDecision(reasoning="first", usage=USED), failed)
    again = RecordedAsking(HERE, Recordings(tmp_path))
    assert asyncio.run(again.ask(CONTEXT)) == FullDecision(reasoning="first", usage=USED)
    assert asyncio.run(again.ask(CONTEXT)) == failed


@pytest.mark.parametrize("error", [lost("cut"), ModelUnreachable("gone"), ModelOverloaded("500"), CallRejected("422")])
def test_a_failure_comes_back_with_what_is_known_of_its_bill(tmp_path: Path, error: ModelError) -> None:
    record(tmp_path, error)
    with pytest.raises(type(error), match=str(error)[:3]) as again:
        asyncio.run(RecordedAsking(HERE, Recordings(tmp_path)).ask(CONTEXT))
    assert again.value.ran is error.ran


def test_a_question_is_known_by_context_and_url(tmp_path: Path) -> None:
    record(tmp_path, FullDecision())
    kept = Recordings(tmp_path)
    others = [
        (HERE, replace(CONTEXT, trader_id="another")),
        (replace(HERE, url="http://127.0.0.1:8300"), CONTEXT),
    ]
    for endpoint, context in others:
        with pytest.raises(RecordingMissing, match="was not recorded for model 'remote 127"):
            asyncio.run(RecordedAsking(endpoint, kept).ask(context))
    moved = replace(HERE, key="another", timeout_s=1.0)
    assert asyncio.run(RecordedAsking(moved, kept).ask(CONTEXT)) == FullDecision()


def test_no_prompt_is_kept(tmp_path: Path) -> None:
    digest = prompt_digest("system", "user")
    prompt = RenderedPrompt(system="system", user="user", sha256=digest, template="t.md", version=1)
    decision = FullDecision(prompt=prompt, prompt_hash=digest)
    record(tmp_path, decision)
    again = asyncio.run(RecordedAsking(HERE, Recordings(tmp_path)).ask(CONTEXT))
    assert again == replace(decision, prompt=None)


def test_a_question_is_found_under_the_key_of_older_recordings() -> None:
    key = question_key(RemoteEndpoint(url="grpc://127.0.0.1:9", key="k"), replace(CONTEXT, details=None))
    assert key.digest == "6477b6eeb6f514c6e1c4c63cc92fe12ed7ad8c247a457a55a4de645aff511beb"
