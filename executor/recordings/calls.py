"""Calls of models kept in a folder, so that a replay can be had again without making one.

A call is known by its messages, its model and its parameters (schema, structured, extra_body), wherever the endpoint
is. Each run that records writes one file: JSON lines, compressed one by one, so that a run that is cut off loses
nothing that it paid for. It is `calls-0001.partial.jsonl.gz` until the run has ended well, then `calls-0001.jsonl.gz`.
Of a call in several files the newest whole one with replies counts; a run that was cut off, or that got no reply at
all, only fills gaps.
"""

import gzip
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from executor import errors
from executor.contract import Usage
from executor.errors import BudgetExhausted, ModelError, PassingFailure, RecordedError, RecordingMissing
from executor.models.chat import Completion, Finish, Message, ModelEndpoint
from executor.models.usage import MOST_TOKENS
from executor.prompts.library import prompt_digest
from executor.recordings.lines import read_lines

_FILES: Final = "calls-*.jsonl.gz"
_PARTIAL: Final = ".partial"
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


class Bill(_Strict):
    """Hold the tokens that an endpoint told for one attempt."""

    input_tokens: int = Field(ge=0, le=MOST_TOKENS)
    cached_tokens: int = Field(ge=0, le=MOST_TOKENS)
    output_tokens: int = Field(ge=0, le=MOST_TOKENS)

    @staticmethod
    def of(usage: Usage) -> "Bill":
        """Return the tokens of `usage`."""
        return Bill(
            input_tokens=usage.input_tokens, cached_tokens=usage.cached_tokens, output_tokens=usage.output_tokens
        )

    @property
    def usage(self) -> Usage:
        """Return the tokens, without a cost."""
        return Usage(input_tokens=self.input_tokens, cached_tokens=self.cached_tokens, output_tokens=self.output_tokens)


class _Reply(Bill):
    text: str
    finish: Finish
    detail: str = ""
    model: str = ""


class _Failure(_Strict):
    type: str
    message: str
    retry_after_s: float | None = None
    of_model: bool | None = None


class RecordedCall(_Strict):
    """Hold how one call ended: with a reply, with a failure, or cut off at the deadline of its decision.

    `bills` are its attempts that cost something, a reply's own the last, with None where nobody told the tokens; a
    recording that has none of the kind is of a time that knew one attempt only.
    """

    key: str
    prompt_hash: str
    model: str
    reply: _Reply | None = None
    failure: _Failure | None = None
    cut: Literal[True] | None = None
    bills: tuple[Bill | None, ...] | None = None

    @staticmethod
    def replied(key: CallKey, completion: Completion, bills: Sequence[Bill | None] | None = None) -> "RecordedCall":
        """Return the record of an answered call."""
        reply = _Reply(
            text=_storable(completion.text),
            finish=completion.finish,
            detail=_storable(completion.detail),
            model=_storable(completion.model),
            **Bill.of(completion.usage).model_dump(),
        )
        return _recorded(key, bills, reply=reply)

    @staticmethod
    def failed(key: CallKey, error: ModelError, bills: Sequence[Bill | None] | None = None) -> "RecordedCall":
        """Return the record of a call that failed."""
        wait_s = error.retry_after_s if isinstance(error, PassingFailure) else None
        of_model = error.of_model if isinstance(error, BudgetExhausted) else None
        failure = _Failure(
            type=type(error).__name__, message=_storable(str(error)), retry_after_s=wait_s, of_model=of_model
        )
        return _recorded(key, bills, failure=failure)

    @staticmethod
    def cut_off(key: CallKey, bills: Sequence[Bill | None] | None = None) -> "RecordedCall":
        """Return the record of a call that its decision did not wait for any longer."""
        return _recorded(key, bills, cut=True)

    def attempts(self) -> tuple[Completion | ModelError, ...]:
        """Return what was billed, one after the other, each with its tokens; a reply is the last.

        A call that ended without one has no more than its bills, or a free attempt: `again` tells its end.
        """
        if self.reply is not None:
            return (*map(_attempt, (self.bills or ())[:-1]), self.again())
        if self.bills is None:
            return (_attempt(None),) if self.failure is None else (_error(self.failure),)
        return tuple(map(_attempt, self.bills)) or (ModelError("nothing was billed").told(ran=False),)

    def again(self) -> Completion:
        """Return the reply, or raise what ended the call: its ModelError, or TimeoutError as its deadline did."""
        if self.failure is not None:
            raise _error(self.failure)
        reply = self.reply
        if reply is None:
            raise TimeoutError("the recorded call was cut off at the deadline of its decision")
        return Completion(
            text=reply.text, finish=reply.finish, detail=reply.detail, model=reply.model, usage=reply.usage
        )


class Recordings:
    """Find recorded calls in the files of a folder; the same call asked again gets its next record, then its last.

    Raises RecordedError for a file that is no recording. A torn end, as of a run that was killed, and lines that cannot
    be read are left out.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._calls: dict[str, list[RecordedCall]] = {}
        self._next: dict[str, int] = {}
        self._newest = ""
        self._unreadable = 0
        ranked: list[tuple[bool, int, dict[str, list[RecordedCall]]]] = []
        for path in sorted(folder.glob(_FILES), key=_number):
            fresh: dict[str, list[RecordedCall]] = {}
            lines, unreadable = read_lines(path, RecordedCall)
            for call in lines:
                fresh.setdefault(call.key, []).append(call)
            whole = _PARTIAL not in path.name and any(call.reply is not None for call in lines)
            ranked.append((whole, _number(path), fresh))
            self._unreadable += unreadable
            self._newest = path.name
        for _, _, fresh in sorted(ranked, key=lambda one: one[:2]):
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
        newest = f"; the newest file is {self._newest}" if self._newest else ""
        newest += f"; {self._unreadable} lines cannot be read" if self._unreadable else ""
        message = (
            f"prompt {key.prompt_hash[:_SHOWN]} was not recorded for model {key.model!r} in {self._folder} "
            f"({why}{newest}); "
            "run the same replay with --models record, which calls the model and keeps its replies, or --models live"
        )
        return RecordingMissing(message, prompt_hash=key.prompt_hash, model=key.model)


class RecordingFile:
    """Append calls to a file of its own in a folder, each written out before the next is made; both are the owner's.

    Raises RecordedError at once if the folder takes no file. Without `finish` the file stays one of a run cut off.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None
        try:
            _make(folder)
            with TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise self._refused(error) from error

    def keep(self, call: RecordedCall) -> None:
        """Write one call; raise RecordedError if the folder takes none."""
        line = call.model_dump_json(exclude_none=True).encode() + b"\n"
        try:
            if self._path is None:
                self._path = self._fresh()
            with self._path.open("ab") as file:
                file.write(gzip.compress(line, mtime=0))
        except OSError as error:
            raise self._refused(error) from error

    def finish(self) -> None:
        """Give the file the name of a whole run; none of a run that called nothing."""
        if self._path is None:
            return
        partial, self._path = self._path, None
        number = _number(partial)
        while True:
            try:
                os.link(partial, self._folder / f"calls-{number:04d}.jsonl.gz")
            except FileExistsError:
                number += 1
            except OSError as error:
                raise self._refused(error) from error
            else:
                partial.unlink()
                return

    def _fresh(self) -> Path:
        number = 1 + max((_number(path) for path in self._folder.glob(_FILES)), default=0)
        while True:
            path = self._folder / f"calls-{number:04d}{_PARTIAL}.jsonl.gz"
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            except FileExistsError:
                number += 1
            else:
                return path

    def _refused(self, error: OSError) -> RecordedError:
        return RecordedError(self._folder, f"cannot be written to ({error}); name another --recordings")


def _recorded(
    key: CallKey,
    bills: Sequence[Bill | None] | None,
    *,
    reply: _Reply | None = None,
    failure: _Failure | None = None,
    cut: Literal[True] | None = None,
) -> RecordedCall:
    return RecordedCall(
        key=key.digest,
        prompt_hash=key.prompt_hash,
        model=key.model,
        reply=reply,
        failure=failure,
        cut=cut,
        bills=None if bills is None else tuple(bills),
    )


def _attempt(bill: Bill | None) -> ModelError:
    return ModelError("a billed attempt without a reply").told(ran=True, usage=None if bill is None else bill.usage)


def _make(folder: Path) -> None:
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def _storable(text: str) -> str:
    """Replace half surrogates, which UTF-8 cannot carry."""
    return text.encode("utf-8", "replace").decode()


def _number(path: Path) -> int:
    digits = path.name.removeprefix("calls-").split(".")[0]
    return int(digits) if digits.isdecimal() else 0


def _error(failure: _Failure) -> ModelError:
    kind = getattr(errors, failure.type, None)
    if not (isinstance(kind, type) and issubclass(kind, ModelError)):
        return ModelError(failure.message)
    if issubclass(kind, BudgetExhausted):
        return kind(failure.message, of_model=bool(failure.of_model))
    if issubclass(kind, PassingFailure):
        return kind(failure.message, retry_after_s=failure.retry_after_s)
    return kind(failure.message)
