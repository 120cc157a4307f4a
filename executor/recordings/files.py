"""Recorded calls in a folder, so that a replay can be had again without making one.

Each run that records writes one file: JSON lines, compressed one by one, so that a run that is cut off loses nothing
that it paid for. It is `calls-0001.partial.jsonl.gz` until the run has ended well, then `calls-0001.jsonl.gz`. Of a
call in several files the newest whole one with replies counts; a run that was cut off, or that got no reply at all,
only fills gaps.
"""

import gzip
import os
import zlib
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from pydantic import ValidationError

from executor.errors import RecordedError, RecordingMissing
from executor.recordings.calls import CallKey, RecordedCall

_FILES: Final = "calls-*.jsonl.gz"
_PARTIAL: Final = ".partial"
_SHOWN: Final = 16
_MAGIC: Final = b"\x1f\x8b\x08"
_GZIP: Final = 31
_CHUNK: Final = 16_384
_MEND: Final = "delete the file, or record it anew"


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
            calls, unreadable = _read(path)
            for call in calls:
                fresh.setdefault(call.key, []).append(call)
            whole = _PARTIAL not in path.name and any(call.reply is not None for call in calls)
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
        other = "with other parameters or another schema only"
        why = other if key.prompt_hash in known else f"among {len(self._calls)}"
        why += f"; the newest file is {self._newest}" if self._newest else ""
        why += f"; {self._unreadable} lines cannot be read" if self._unreadable else ""
        message = (
            f"prompt {key.prompt_hash[:_SHOWN]} was not recorded for model {key.model!r} in {self._folder} ({why}); "
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
            for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
                missing.mkdir(mode=0o700, exist_ok=True)
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
        """Give the file the name of a whole run; a run that called nothing has none."""
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


def _number(path: Path) -> int:
    digits = path.name.removeprefix("calls-").split(".")[0]
    return int(digits) if digits.isdecimal() else 0


def _read(path: Path) -> tuple[list[RecordedCall], int]:
    """Return the calls of a file that can be read and the number of lines that cannot; a torn end is neither."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordedError(path, f"cannot be read ({error}); {_MEND}") from error
    lines, unreadable = _lines(content)
    calls: list[RecordedCall] = []
    first = "it is no gzip file" if unreadable else ""
    for number, line in enumerate(lines, start=1):
        try:
            calls.append(RecordedCall.model_validate_json(line))
        except ValidationError as error:
            unreadable += 1
            fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(str(part) for part in fault["loc"]) or "the line"
            first = first or f"line {number}: {place}: {fault['msg']}"
    if unreadable and not calls:
        raise RecordedError(path, f"cannot be read ({first}); {_MEND}")
    return calls, unreadable


def _lines(content: bytes) -> tuple[list[bytes], int]:
    """Return the whole lines, and how many pieces are broken though more follows them."""
    lines: list[bytes] = []
    place = broken = 0
    while place < len(content):
        if _MAGIC.startswith(content[place : place + len(_MAGIC)]) and len(content) - place < len(_MAGIC):
            break
        try:
            text, end = _piece(memoryview(content), place)
        except zlib.error:
            text, end, torn = b"", 0, False
        else:
            torn = not end
        lines += [line for line in text[: text.rfind(b"\n") + 1].split(b"\n") if line]
        following = end or content.find(_MAGIC, place + 1)
        broken += not end and (following >= 0 or not torn)
        place = following if following >= 0 else len(content)
    return lines, broken


def _piece(content: memoryview, place: int) -> tuple[bytes, int]:
    """Return what one compressed piece holds and where it ends, 0 if it is torn."""
    reader = zlib.decompressobj(_GZIP)
    parts: list[bytes] = []
    while not reader.eof:
        if place >= len(content):
            return b"".join(parts), 0
        chunk = content[place : place + _CHUNK]
        parts.append(reader.decompress(chunk))
        place += len(chunk)
    return b"".join(parts), place - len(reader.unused_data)
