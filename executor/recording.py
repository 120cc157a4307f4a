"""Calls of models kept in a folder, so that a replay can be had again without making one.

A call is known by its messages, its model and its parameters (schema, structured, extra_body), wherever the endpoint
is. Each run that records writes one file, `calls-0001.jsonl.gz` and so on: JSON lines, compressed one by one, so that a
run that is cut off loses nothing that it paid for. Of a call in several files the newest file counts.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from executor import errors
from executor.contract import Usage
from executor.errors import ModelError, PassingFailure, RecordedError, RecordingMissing
from executor.models.chat import Completion, Finish, Message, ModelEndpoint
from executor.prompts import prompt_digest

_FILES: Final = "calls-*.jsonl.gz"
_SHOWN: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class CallKey:
    """Identify a call; `digest` covers everything that is asked, `prompt_hash` is that of the first two messages."""

    digest: str
    prompt_hash: str
    model: str

    @staticmethod
    def of(endpoint: ModelEndpoint, messages: Sequence[Message], schema: Mapping[str, Any]) -> "CallKey":
        """Return the key of one call."""
        asked = {
            "model": endpoint.model,
            "messages": [[message.role, message.text] for message in messages],
            "schema": schema,
            "structured": endpoint.structured,
            "extra_body": endpoint.extra_body,
        }
        text = json.dumps(asked, sort_keys=True, ensure_ascii=False)
        system, user = ([*(message.text for message in messages), "", ""])[:2]
        return CallKey(
            digest=hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(),
            prompt_hash=prompt_digest(system, user),
            model=endpoint.model,
        )


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Reply(_Strict):
    text: str
    finish: Finish
    detail: str = ""
    model: str = ""
    input_tokens: int = Field(ge=0)
    cached_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)


class _Failure(_Strict):
    type: str
    message: str
    retry_after_s: float | None = None


class RecordedCall(_Strict):
    """Hold how one call ended: with a reply, with a failure, or cut off at the deadline of its decision."""

    key: str
    prompt_hash: str
    model: str
    reply: _Reply | None = None
    failure: _Failure | None = None
    cut: Literal[True] | None = None

    @staticmethod
    def replied(key: CallKey, completion: Completion) -> "RecordedCall":
        """Return the record of an answered call."""
        usage = completion.usage
        reply = _Reply(
            text=_storable(completion.text),
            finish=completion.finish,
            detail=_storable(completion.detail),
            model=_storable(completion.model),
            input_tokens=usage.input_tokens,
            cached_tokens=usage.cached_tokens,
            output_tokens=usage.output_tokens,
        )
        return RecordedCall(key=key.digest, prompt_hash=key.prompt_hash, model=key.model, reply=reply)

    @staticmethod
    def failed(key: CallKey, error: ModelError) -> "RecordedCall":
        """Return the record of a call that failed."""
        wait_s = error.retry_after_s if isinstance(error, PassingFailure) else None
        failure = _Failure(type=type(error).__name__, message=_storable(str(error)), retry_after_s=wait_s)
        return RecordedCall(key=key.digest, prompt_hash=key.prompt_hash, model=key.model, failure=failure)

    @staticmethod
    def cut_off(key: CallKey) -> "RecordedCall":
        """Return the record of a call that its decision did not wait for any longer."""
        return RecordedCall(key=key.digest, prompt_hash=key.prompt_hash, model=key.model, cut=True)

    def again(self) -> Completion:
        """Return the reply, or raise what ended the call: its ModelError, or TimeoutError as its deadline did."""
        if self.failure is not None:
            raise _error(self.failure)
        reply = self.reply
        if reply is None:
            raise TimeoutError("the recorded call was cut off at the deadline of its decision")
        return Completion(
            text=reply.text,
            finish=reply.finish,
            detail=reply.detail,
            model=reply.model,
            usage=Usage(
                input_tokens=reply.input_tokens,
                cached_tokens=reply.cached_tokens,
                output_tokens=reply.output_tokens,
            ),
        )


class Recordings:
    """Find recorded calls in the files of a folder; the same call asked again gets its next record, then its last.

    Raises RecordedError for a file that is not a recording. A torn end, as of a run that was killed, is left out.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._calls: dict[str, list[RecordedCall]] = {}
        self._next: dict[str, int] = {}
        for path in sorted(folder.glob(_FILES)):
            fresh: dict[str, list[RecordedCall]] = {}
            for call in _read(path):
                fresh.setdefault(call.key, []).append(call)
            self._calls |= fresh

    def take(self, key: CallKey) -> RecordedCall:
        """Return the next record of a call; raise RecordingMissing if there is none."""
        calls = self._calls.get(key.digest)
        if calls is None:
            raise self._missing(key)
        place = self._next.get(key.digest, 0)
        self._next[key.digest] = place + 1
        return calls[min(place, len(calls) - 1)]

    def _missing(self, key: CallKey) -> RecordingMissing:
        known = {call.prompt_hash for calls in self._calls.values() for call in calls if call.model == key.model}
        why = (
            "with other parameters or another schema only" if key.prompt_hash in known else f"among {len(self._calls)}"
        )
        message = (
            f"prompt {key.prompt_hash[:_SHOWN]} was not recorded for model {key.model!r} in {self._folder} ({why}); "
            "run the same replay with --models record, which calls the model and keeps its replies, or --models live"
        )
        return RecordingMissing(message, prompt_hash=key.prompt_hash, model=key.model)


class RecordingFile:
    """Append calls to a file of its own in a folder, each written out before the next is made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None

    def keep(self, call: RecordedCall) -> None:
        """Write one call; raise RecordedError if the folder takes none."""
        line = call.model_dump_json(exclude_none=True).encode() + b"\n"
        try:
            if self._path is None:
                self._path = self._fresh()
            with self._path.open("ab") as file:
                file.write(gzip.compress(line, mtime=0))
        except OSError as error:
            raise RecordedError(self._folder, f"cannot be written to ({error}); name another --recordings") from error

    def _fresh(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((_number(path) for path in self._folder.glob(_FILES)), default=0)
        while True:
            path = self._folder / f"calls-{number:04d}.jsonl.gz"
            try:
                path.touch(exist_ok=False)
            except FileExistsError:
                number += 1
            else:
                return path


def _storable(text: str) -> str:
    """Replace half surrogates, which UTF-8 cannot carry."""
    return text.encode("utf-8", "replace").decode()


def _number(path: Path) -> int:
    digits = path.name.removeprefix("calls-").split(".")[0]
    return int(digits) if digits.isdecimal() else 0


def _read(path: Path) -> Iterator[RecordedCall]:
    number = 0
    for number, line in enumerate(_lines(path), start=1):
        try:
            yield RecordedCall.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            mend = "delete the file, or record it anew"
            raise RecordedError(path, f"{place or 'the line'}: {first['msg']}; {mend}", line=number) from None


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) as file:
            yield from file
    except EOFError:
        return
    except (OSError, zlib.error) as error:
        raise RecordedError(path, f"cannot be read ({error}); delete the file, or record it anew") from error


def _error(failure: _Failure) -> ModelError:
    kind = getattr(errors, failure.type, None)
    if not (isinstance(kind, type) and issubclass(kind, ModelError)):
        return ModelError(failure.message)
    if issubclass(kind, PassingFailure):
        return kind(failure.message, retry_after_s=failure.retry_after_s)
    return kind(failure.message)
