"""Read JSON lines, compressed one by one: what a run that was killed, or a bad disk, left readable."""

import zlib
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from executor.errors import RecordedError

_Line = TypeVar("_Line", bound=BaseModel)
_MAGIC: Final = b"\x1f\x8b\x08"
_GZIP: Final = 31
_CHUNK: Final = 16_384
_MEND: Final = "delete the file, or record it anew"


def read_lines(path: Path, kind: type[_Line]) -> tuple[list[_Line], int]:
    """Return the lines that can be read and the number of those that cannot; a torn end is neither.

    Raises RecordedError for a file that cannot be opened or in which nothing but a torn end can be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordedError(path, f"cannot be read ({error}); {_MEND}") from error
    texts, unreadable = _texts(content)
    lines: list[_Line] = []
    first = "it is no gzip file" if unreadable else ""
    for number, text in enumerate(texts, start=1):
        try:
            lines.append(kind.model_validate_json(text))
        except ValidationError as error:
            unreadable += 1
            first = first or f"line {number}: {_told(error)}"
    if unreadable and not lines:
        raise RecordedError(path, f"cannot be read ({first}); {_MEND}")
    return lines, unreadable


def _texts(content: bytes) -> tuple[list[bytes], int]:
    """Return the whole lines, and how many pieces are broken though more follows them."""
    texts: list[bytes] = []
    place = broken = 0
    while place < len(content):
        if _MAGIC.startswith(content[place : place + len(_MAGIC)]) and len(content) - place < len(_MAGIC):
            break
        try:
            text, end = _member(memoryview(content), place)
        except zlib.error:
            text, end, torn = b"", 0, False
        else:
            torn = not end
        texts += [line for line in text[: text.rfind(b"\n") + 1].split(b"\n") if line]
        following = end or content.find(_MAGIC, place + 1)
        broken += not end and (following >= 0 or not torn)
        place = following if following >= 0 else len(content)
    return texts, broken


def _member(content: memoryview, place: int) -> tuple[bytes, int]:
    """Return what one piece holds and where it ends, 0 if it is torn."""
    reader = zlib.decompressobj(_GZIP)
    parts: list[bytes] = []
    while not reader.eof:
        if place >= len(content):
            return b"".join(parts), 0
        chunk = content[place : place + _CHUNK]
        parts.append(reader.decompress(chunk))
        place += len(chunk)
    return b"".join(parts), place - len(reader.unused_data)


def _told(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place or 'the line'}: {first['msg']}"
