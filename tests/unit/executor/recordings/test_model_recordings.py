"""Calls that are kept and found again: by what was asked, in the order in which it was asked, and never invented."""

import asyncio
import gzip
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
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
    ModelOverloaded,
    ModelTimeout,
    ModelUnreachable,
    PassingFailure,
    RateLimited,
    RecordedError,
    RecordingMissing,
)
from executor.models.chat import ChatModel, Completion, Finish, Message, ModelEndpoint, Structured
from executor.models.metering import Charge, Hold, Meter, MeteredModel, Quote, Unmetered
from executor.models.profile import ModelProfile, TokenPrices
from executor.prompts.library import prompt_digest
from executor.recordings.calls import Bill, CallKey, RecordedCall
from executor.recordings.files import RecordingFile, Recordings
from executor.recordings.sources import RecordedModels, RecordingModels

ENDPOINT = ModelEndpoint(base_url="http://127.0.0.1:1/v1", model="tiny", api_key="k", extra_body={"seed": 7})
PRICES = TokenPrices(input=Decimal(3), cached_input=Decimal("0.3"), output=Decimal(15))
PROFILE = ModelProfile(name="tiny", endpoint=ENDPOINT, prices=PRICES)
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


@dataclass
class Source:
    """Give one model, metered as a real source does."""

    inner: ChatModel
    turn: anyio.Lock = field(default_factory=anyio.Lock)
    tries: int = 1

    def model(self, profile: ModelProfile, meter: Meter | None = None) -> ChatModel:
        """Return the model, each call of it tried so often."""
        return Retried(MeteredModel(self.inner, profile, meter or Unmetered()), self.tries)

    async def close(self) -> None:
        """Hold nothing."""


@dataclass
class Retried:
    """Try a call again after what may pass."""

    inner: ChatModel
    tries: int
    name: str = "tiny"

    async def complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Completion:
        """Try."""
        for _ in range(self.tries - 1):
            with suppress(PassingFailure):
                return await self.inner.complete(messages, schema)
        return await self.inner.complete(messages, schema)

    async def ping(self) -> None:
        """Answer."""

    async def close(self) -> None:
        """Hold nothing."""


@dataclass
class Till:
    """Remember what was booked; refuse the calls after so many."""

    calls: int = 100
    reserved: int = 0
    booked: list[Charge] = field(default_factory=list)

    async def reserve(self, quote: Quote) -> Hold:
        """Count."""
        self.reserved += 1
        if self.reserved > self.calls:
            raise BudgetExhausted("no more", of_model=True)
        return Hold(model=quote.model)

    async def settle(self, hold: Hold, charge: Charge) -> None:
        """Note what costs something."""
        if not charge.nothing:
            self.booked.append(charge)


def key(endpoint: ModelEndpoint = ENDPOINT, messages: Sequence[Message] = ASK, schema: Any = SCHEMA) -> CallKey:
    return CallKey.of(endpoint, messages, schema)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def record(
    folder: Path, *script: str | ModelError | None, asks: Sequence[Message] = ASK, whole: bool = True
) -> None:
    file = RecordingFile(folder)
    model = RecordingModels(Source(Scripted(*script)), file).model(PROFILE)
    for _ in script:
        with anyio.move_on_after(0.01):
            try:
                await model.complete(asks, SCHEMA)
            except ModelError:
                continue
    if whole:
        file.finish()


def recorded(folder: Path, meter: Meter | None = None) -> ChatModel:
    return RecordedModels(Recordings(folder)).model(PROFILE, meter)


async def replayed(folder: Path, times: int = 1, asks: Sequence[Message] = ASK) -> list[str]:
    model = recorded(folder)
    return [(await model.complete(asks, SCHEMA)).text for _ in range(times)]


def test_a_recorded_reply_comes_back_whole(tmp_path: Path) -> None:
    async def run() -> None:
        await record(tmp_path, "ja \N{SNOWMAN} \udc80")
        assert names(tmp_path) == ["calls-0001.jsonl.gz"]
        found = await recorded(tmp_path).complete(ASK, SCHEMA)
        priced = replace(USAGE, cost_usd=PRICES.cost(USAGE))
        assert found == Completion(text="ja \N{SNOWMAN} ?", detail="stop", model="tiny-1", usage=priced)

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


def test_wherever_a_file_is_torn_what_stands_before_counts(tmp_path: Path) -> None:
    asyncio.run(record(tmp_path, "1", "2"))
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    second = content.index(b"\x1f\x8b\x08", 1)
    for length in range(len(content)):
        file.write_bytes(content[:length])
        try:
            found = asyncio.run(replayed(tmp_path, 2))
        except RecordingMissing:
            assert length < second
        else:
            assert found[0] == "1"
            assert length > second or found[1] == "1"


def test_a_bad_line_or_piece_costs_no_other(tmp_path: Path) -> None:
    asyncio.run(record(tmp_path, "1", "2", "3"))
    (file,) = tmp_path.iterdir()
    first, second, third = (b"\x1f\x8b\x08" + part for part in file.read_bytes().split(b"\x1f\x8b\x08")[1:])
    broken = second[:40] + b"\0\0" + second[42:]
    for middle in (broken, gzip.compress(b'{"key": 1}\n'), b"junk", second[:-20]):
        file.write_bytes(first + middle + third)
        assert asyncio.run(replayed(tmp_path, 3)) == ["1", "3", "3"]
        with pytest.raises(RecordingMissing, match=r"newest file is calls-0001.jsonl.gz; 1 lines cannot be read"):
            Recordings(tmp_path).take(key(messages=AGAIN))
    file.write_bytes(gzip.compress(b"".join(map(gzip.decompress, (first, second, third)))))
    assert asyncio.run(replayed(tmp_path, 3)) == ["1", "2", "3"]


def test_a_run_that_was_cut_off_only_fills_gaps(tmp_path: Path) -> None:
    async def run() -> None:
        await record(tmp_path, "whole")
        await record(tmp_path, "cut", whole=False)
        await record(tmp_path, "gap", asks=AGAIN, whole=False)
        assert names(tmp_path) == ["calls-0001.jsonl.gz", "calls-0002.partial.jsonl.gz", "calls-0003.partial.jsonl.gz"]
        assert await replayed(tmp_path) == ["whole"]
        assert await replayed(tmp_path, 1, AGAIN) == ["gap"]
        await record(tmp_path, "newer")
        assert await replayed(tmp_path) == ["newer"]

    asyncio.run(run())


def test_a_run_without_any_reply_hides_no_older_one(tmp_path: Path) -> None:
    async def run() -> None:
        await record(tmp_path, "old")
        await record(tmp_path, ModelUnreachable("down"), ModelUnreachable("down"))
        assert await replayed(tmp_path) == ["old"]
        (tmp_path / "calls-0001.jsonl.gz").unlink()
        with pytest.raises(ModelUnreachable):
            await replayed(tmp_path)

    asyncio.run(run())


def test_a_call_broken_off_before_its_deadline_is_not_kept(tmp_path: Path) -> None:
    async def run() -> None:
        model = RecordingModels(Source(Scripted(None)), RecordingFile(tmp_path)).model(PROFILE)
        with anyio.move_on_after(60):
            asked = asyncio.create_task(_asking(model))
            await asyncio.sleep(0.01)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked

    asyncio.run(run())
    assert names(tmp_path) == []


async def _asking(model: ChatModel) -> None:
    with anyio.fail_after(60):
        await model.complete(ASK, SCHEMA)


def test_two_runs_at_once_write_two_files_and_lose_neither(tmp_path: Path) -> None:
    first, second, third = (RecordingFile(tmp_path) for _ in range(3))
    for file in (first, second):
        file.keep(RecordedCall.cut_off(key()))
    (tmp_path / "calls-0001.jsonl.gz").write_bytes(b"another's")
    first.finish()
    second.finish()
    third.finish()
    assert names(tmp_path) == ["calls-0001.jsonl.gz", "calls-0002.jsonl.gz", "calls-0003.jsonl.gz"]
    assert (tmp_path / "calls-0001.jsonl.gz").read_bytes() == b"another's"


def test_a_file_that_another_run_makes_meanwhile_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = RecordingFile(tmp_path), RecordingFile(tmp_path)
    first.keep(RecordedCall.cut_off(key()))
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))
    second.keep(RecordedCall.cut_off(key()))
    assert names(tmp_path) == ["calls-0001.partial.jsonl.gz", "calls-0002.partial.jsonl.gz"]


def test_recordings_are_their_owners_only(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "recordings"
    RecordingFile(folder).keep(RecordedCall.cut_off(key()))
    (file,) = folder.iterdir()
    assert [path.stat().st_mode & 0o777 for path in (file, folder, folder.parent)] == [0o600, 0o700, 0o700]


LOST = Bill(input_tokens=5, cached_tokens=0, output_tokens=1)


@pytest.mark.parametrize(
    "script",
    [
        (ModelUnreachable("cut").told(ran=True), ModelOverloaded("x").told(ran=True, usage=LOST.usage), "3"),
        (ModelUnreachable("none"), ModelOverloaded("x"), RateLimited("x")),
        (ModelOverloaded("x"), ModelUnreachable("cut").told(ran=True), ModelTimeout("late")),
        (RateLimited("x"), RateLimited("x"), RateLimited("x")),
        (ModelOverloaded("x"), RateLimited("x"), None),
    ],
)
def test_what_failed_attempts_cost_is_had_again(tmp_path: Path, script: Sequence[str | ModelError | None]) -> None:
    async def run() -> None:
        first, again, file = Till(), Till(), RecordingFile(tmp_path)
        ends = []
        for till in (first, again):
            if till is again:
                file.finish()
            source = RecordingModels(Source(Scripted(*script), tries=3), file)
            model = source.model(PROFILE, till) if till is first else recorded(tmp_path, till)
            try:
                with anyio.fail_after(0.02):
                    ends.append((await model.complete(ASK, SCHEMA)).text)
            except (ModelError, TimeoutError) as error:
                ends.append(type(error).__name__)
        assert again.booked == first.booked
        assert ends[0] == ends[1]

    asyncio.run(run())


def test_a_budget_that_ends_between_attempts_ends_there_again(tmp_path: Path) -> None:
    async def run() -> None:
        first, again, file = Till(calls=1), Till(), RecordingFile(tmp_path)
        model = RecordingModels(Source(Scripted(ModelOverloaded("x")), tries=2), file).model(PROFILE, first)
        for till, asked in ((first, model), (again, None)):
            with pytest.raises(BudgetExhausted) as refused:
                await (asked or recorded(tmp_path, till)).complete(ASK, SCHEMA)
            assert refused.value.of_model
        assert again.booked == first.booked
        assert len(again.booked) == 1

    asyncio.run(run())


def test_a_recorded_call_that_no_budget_is_left_for_is_not_looked_up(tmp_path: Path) -> None:
    with pytest.raises(BudgetExhausted):
        asyncio.run(_asking(recorded(tmp_path, Till(calls=0))))


def test_a_folder_that_takes_no_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("", encoding="utf-8")
    with pytest.raises(RecordedError, match="name another --recordings"):
        RecordingFile(place)


@given(st.text(), st.sampled_from(Finish), st.integers(0, 10**8), st.text(max_size=5))
def test_any_reply_survives_the_file(text: str, finish: Finish, tokens: int, detail: str) -> None:
    given_ = Completion(
        text=text, finish=finish, detail=detail, model="m", usage=Usage(input_tokens=tokens, output_tokens=3)
    )
    line = RecordedCall.replied(key(), given_).model_dump_json(exclude_none=True)
    assert "\n" not in line
    assert RecordedCall.model_validate_json(line).again() == given_
