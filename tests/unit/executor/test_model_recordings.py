"""Calls that are kept and found again: by what was asked, in the order in which it was asked, and never invented."""

import asyncio
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor import errors
from executor.contract import Usage
from executor.errors import (
    BudgetExhausted,
    ContextOverflow,
    ModelError,
    ModelTimeout,
    RateLimited,
    RecordedError,
    RecordingMissing,
)
from executor.models.chat import Completion, Finish, Message, ModelEndpoint, Structured
from executor.models.recorded import RecordedModel, RecordingModel
from executor.prompts import prompt_digest
from executor.recording import CallKey, RecordedCall, RecordingFile, Recordings

ENDPOINT = ModelEndpoint(base_url="http://127.0.0.1:1/v1", model="tiny", api_key="k", extra_body={"seed": 7})
ASK = (Message(role="system", text="rules"), Message(role="user", text="prices"))
AGAIN = (*ASK, Message(role="assistant", text="{"), Message(role="user", text="wrong"))
SCHEMA = {"type": "object"}
USAGE = Usage(input_tokens=9, cached_tokens=4, output_tokens=2)


class Scripted:
    """Give one thing after the other: a text, an error, or nothing ever."""

    name = "tiny"

    def __init__(self, *script: str | ModelError | None) -> None:
        self._script = list(script)

    async def complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Completion:
        """Give the next."""
        item = self._script.pop(0)
        if item is None:
            await anyio.sleep_forever()
        if isinstance(item, ModelError):
            raise item
        return Completion(text=item or "", detail="stop", model="tiny-1", usage=USAGE)

    async def ping(self) -> None:
        """Answer."""

    async def close(self) -> None:
        """Hold nothing."""


def key(endpoint: ModelEndpoint = ENDPOINT, messages: Sequence[Message] = ASK, schema: Any = SCHEMA) -> CallKey:
    return CallKey.of(endpoint, messages, schema)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def record(folder: Path, *script: str | ModelError | None, asks: Sequence[Message] = ASK) -> None:
    model = RecordingModel(Scripted(*script), ENDPOINT, RecordingFile(folder))
    for _ in script:
        with anyio.move_on_after(0.01):
            try:
                await model.complete(asks, SCHEMA)
            except ModelError:
                continue


async def replayed(folder: Path, times: int = 1, asks: Sequence[Message] = ASK) -> list[str]:
    model = RecordedModel(ENDPOINT, Recordings(folder))
    return [(await model.complete(asks, SCHEMA)).text for _ in range(times)]


def test_a_recorded_reply_comes_back_whole(tmp_path: Path) -> None:
    async def run() -> None:
        await record(tmp_path, "ja \N{SNOWMAN} \udc80")
        assert names(tmp_path) == ["calls-0001.jsonl.gz"]
        found = await RecordedModel(ENDPOINT, Recordings(tmp_path)).complete(ASK, SCHEMA)
        assert found == Completion(text="ja \N{SNOWMAN} ?", detail="stop", model="tiny-1", usage=USAGE)

    asyncio.run(run())


def test_the_same_call_gives_its_replies_in_order_and_then_the_last(tmp_path: Path) -> None:
    async def run() -> None:
        await record(tmp_path, "1", "2")
        await record(tmp_path, "other", asks=AGAIN)
        assert await replayed(tmp_path, 3) == ["1", "2", "2"]
        assert await replayed(tmp_path, 1, AGAIN) == ["other"]

    asyncio.run(run())


def test_a_newer_file_takes_the_place_of_an_older_one_call_by_call(tmp_path: Path) -> None:
    async def run() -> None:
        await record(tmp_path, "old", "older")
        await record(tmp_path, "kept", asks=AGAIN)
        await record(tmp_path, "new")
        assert [name[:10] for name in names(tmp_path)] == ["calls-0001", "calls-0002", "calls-0003"]
        assert await replayed(tmp_path, 2) == ["new", "new"]
        assert await replayed(tmp_path, 1, AGAIN) == ["kept"]

    asyncio.run(run())


@pytest.mark.parametrize(
    "error", [ModelTimeout("late"), ContextOverflow("long"), RateLimited("busy", retry_after_s=3.0), ModelError("odd")]
)
def test_a_recorded_failure_fails_again_in_the_same_way(tmp_path: Path, error: ModelError) -> None:
    async def run() -> None:
        await record(tmp_path, error)
        with pytest.raises(type(error), match=str(error)) as raised:
            await replayed(tmp_path)
        assert type(raised.value) is type(error)
        assert getattr(raised.value, "retry_after_s", 3.0) == 3.0

    asyncio.run(run())


def test_a_call_cut_off_at_the_deadline_is_a_deadline_again(tmp_path: Path) -> None:
    async def run() -> None:
        await record(tmp_path, None)
        with pytest.raises(TimeoutError):
            await replayed(tmp_path)

    asyncio.run(run())


def test_a_call_that_no_budget_was_left_for_is_no_call(tmp_path: Path) -> None:
    asyncio.run(record(tmp_path, BudgetExhausted("no")))
    assert list(tmp_path.iterdir()) == []


def test_every_model_error_can_be_recorded() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ModelError)]
    assert len(kinds) > 12
    for kind in kinds:
        call = RecordedCall.failed(key(), kind("said"))
        with pytest.raises(kind, match="said"):
            call.again()


@pytest.mark.parametrize(
    "other",
    [
        key(replace(ENDPOINT, model="big")),
        key(replace(ENDPOINT, extra_body={"seed": 8})),
        key(replace(ENDPOINT, structured=Structured.NONE)),
        key(schema={"type": "array"}),
        key(messages=AGAIN),
        key(messages=(ASK[1], ASK[0])),
    ],
)
def test_another_question_model_or_parameter_is_another_call(other: CallKey) -> None:
    assert other.digest != key().digest


@pytest.mark.parametrize("change", [{"base_url": "https://else.example/v1"}, {"api_key": "z"}, {"timeout_s": 1.0}])
def test_where_the_endpoint_is_makes_no_other_call(change: dict[str, Any]) -> None:
    assert key(replace(ENDPOINT, **change)) == key()


def test_the_prompt_hash_is_that_of_the_decision() -> None:
    assert key().prompt_hash == prompt_digest("rules", "prices") == key(messages=AGAIN).prompt_hash


def test_a_miss_names_prompt_model_trader_time_and_mend(tmp_path: Path) -> None:
    asyncio.run(record(tmp_path, "1"))
    with pytest.raises(RecordingMissing) as missed:
        Recordings(tmp_path).take(key(messages=(ASK[0], replace(ASK[1], text="new"))))
    told = str(missed.value.asked_by("t1", datetime(2025, 5, 1, tzinfo=UTC)))
    digest = prompt_digest("rules", "new")
    for part in ("trader t1", "2025-05-01T00:00:00+00:00", digest[:16], "'tiny'", str(tmp_path), "--models record"):
        assert part in told
    with pytest.raises(RecordingMissing, match="other parameters"):
        Recordings(tmp_path).take(key(schema={}))


def test_a_torn_end_is_left_out_and_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    asyncio.run(record(tmp_path, "1", "2"))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-30])
    assert asyncio.run(replayed(tmp_path, 2)) == ["1", "1"]
    file.write_bytes(gzip.compress(b'{"key": 1}\n'))
    with pytest.raises(RecordedError, match=r"line 1: .*record it anew"):
        Recordings(tmp_path)
    file.write_text("text", encoding="utf-8")
    with pytest.raises(RecordedError, match="cannot be read"):
        Recordings(tmp_path)


def test_a_folder_that_takes_no_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("", encoding="utf-8")
    with pytest.raises(RecordedError, match="name another --recordings"):
        RecordingFile(place).keep(RecordedCall.cut_off(key()))


@given(st.text(), st.sampled_from(Finish), st.integers(0, 10**9), st.text(max_size=5))
def test_any_reply_survives_the_file(text: str, finish: Finish, tokens: int, detail: str) -> None:
    given_ = Completion(
        text=text, finish=finish, detail=detail, model="m", usage=Usage(input_tokens=tokens, output_tokens=3)
    )
    line = RecordedCall.replied(key(), given_).model_dump_json(exclude_none=True)
    assert "\n" not in line
    assert RecordedCall.model_validate_json(line).again() == given_
