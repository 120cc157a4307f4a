"""The files of prompt templates: which may be read, what their headers say, and whether they have changed.

A template is a file `*.md` inside one of the prompts folders, the first folder that has it wins. An included part ends
with the line END_OF_PART, so that a file which is being written is not taken for a whole one.
"""

import os
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import normpath
from typing import Final

from jinja2 import BaseLoader, Environment, TemplateNotFound

from executor.errors import PromptError

FOLDER: Final = "prompts"
FENCE: Final = "---"
END_OF_PART: Final = "{# end #}"
TOKEN_BUDGET: Final = 12_000
_SUFFIX: Final = ".md"
_MOST_BYTES: Final = 65_536
_REQUIRED_FIELDS: Final = ("version", "description")
_HEADER_FIELDS: Final = (*_REQUIRED_FIELDS, "token_budget")
_WHOLE_NUMBER: Final = re.compile(r"[1-9]\d{0,8}", re.ASCII)

_Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptHeader:
    """Describe a template: its whole-number version, one line on what it is for, and how long its prompts may be."""

    version: int
    description: str
    token_budget: int = TOKEN_BUDGET

    @staticmethod
    def read(path: Path | str, text: str) -> "PromptHeader":
        """Return the header of a template; raise PromptError with the number of the line that is wrong."""
        lines = text.splitlines()
        if not lines or lines[0].strip() != FENCE:
            mend = "begin the file with a line of three dashes, `version: 1`, `description: ...` and three dashes again"
            raise PromptError(path, f"has no header; {mend}", line=1)
        fields: dict[str, str] = {}
        for number, line in enumerate(lines[1:], start=2):
            if line.strip() == FENCE:
                return PromptHeader._checked(path, fields, number)
            name, colon, value = (part.strip() for part in line.partition(":"))
            if not colon or name not in _HEADER_FIELDS or name in fields or not value:
                expected = (
                    "expected `version: <whole number>`, `description: <text>` and perhaps `token_budget:`, once each"
                )
                raise PromptError(path, f"this line of the header is not understood; {expected}", line=number)
            fields[name] = value
        raise PromptError(path, "the header is not closed; end it with a line of three dashes", line=len(lines))

    @staticmethod
    def _checked(path: Path | str, fields: Mapping[str, str], line: int) -> "PromptHeader":
        for name in _REQUIRED_FIELDS:
            if name not in fields:
                raise PromptError(path, f"the header has no `{name}`; add a line `{name}: ...`", line=line)
        for name in ("version", "token_budget"):
            if name in fields and not _WHOLE_NUMBER.fullmatch(fields[name]):
                raise PromptError(path, f"{name} of the header is not a whole number from 1, such as 1", line=line)
        return PromptHeader(
            version=int(fields["version"]),
            description=fields["description"],
            token_budget=int(fields.get("token_budget", TOKEN_BUDGET)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Say where a file was found, in which folder by its number, and how it looked; None everywhere if it was not."""

    path: Path | None = None
    folder: int | None = None
    stamp: _Stamp | None = None

    def stands(self, name: str, folders: Sequence[Path]) -> bool:
        """Tell by one look whether the first file of this name is the one that was read; False proves nothing."""
        if self.path is None or self.folder is None:
            return False
        if any(os.path.lexists(f"{folder}/{name}") for folder in folders[: self.folder]):
            return False
        try:
            return _look(os.stat(self.path)) == self.stamp
        except OSError:
            return False


@dataclass(slots=True, eq=False)
class PromptFiles(BaseLoader):
    """Read the files of one template, each once; what was read stays what is rendered.

    A name that `known` places in a folder is looked for no further: the user's own file is not replaced by another one
    of its name while it is gone.
    """

    folders: Sequence[Path]
    main: str
    known: Mapping[str, Place] = field(default_factory=dict)
    seen: dict[str, Place] = field(default_factory=dict)
    _texts: dict[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Return the text of a file; raise TemplateNotFound or PromptError, which names the file."""
        if name not in self._texts:
            place = self.seen[name] = self._find(name)
            if place.path is None:
                raise TemplateNotFound(name)
            text = self._texts[name] = read_text(place.path)
            if name != self.main and not text.rstrip().endswith(END_OF_PART):
                mend = f"an included part ends with the line {END_OF_PART}, which shows that all of it was written"
                raise PromptError(place.path, f"is not complete; {mend}", line=text.count("\n") + 1)
        return self._texts[name]

    def path(self, name: str) -> Path | str:
        """Return where a file that was read is, or the name of one that was not found."""
        return self.seen.get(name, Place()).path or name

    def unchanged(self) -> bool:
        """Tell whether every file is where it was and as it was when it was read."""
        return all(place.stands(name, self.folders) or self._find(name) == place for name, place in self.seen.items())

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """Return a file as Jinja2 asks for it."""
        del environment
        text = self.text(template)
        return text, str(self.path(template)), lambda: True

    def _find(self, name: str) -> Place:
        inside = safe_name(name)
        if inside is None:
            return Place()
        before = self.known.get(name, Place()).folder
        for number, folder in enumerate(self.folders):
            path = folder / inside
            stamp = self._stamp(path, folder)
            if stamp is not None:
                return Place(path=path, folder=number, stamp=stamp)
            if number == before:
                break
        return Place()

    @staticmethod
    def _stamp(path: Path, folder: Path) -> _Stamp | None:
        """Return how a file looks, None without one, and for a link that leads out of the folder or to no *.md."""
        try:
            found = path.stat()
            real = Path(os.path.realpath(path))
        except OSError:
            return None
        inside = real.suffix == _SUFFIX and real.is_relative_to(os.path.realpath(folder)) and real.is_file()
        return _look(found) if inside else None


def template_name(given: str) -> str:
    """Return the name below a prompts folder of a template as a config names it, with or without `prompts/`."""
    return given.removeprefix(f"{FOLDER}/")


def safe_name(name: str) -> str | None:
    """Return the path inside a prompts folder that `name` stands for, None if it leads out of there or to no *.md."""
    path = normpath(name)
    outside = name.startswith("/") or path.split("/")[0] == ".."
    unsafe = outside or not path.endswith(_SUFFIX) or "\\" in path or "\0" in path
    return None if unsafe else path


def templates_in(folder: Path) -> list[str]:
    """Return the names of the templates in a folder; parts and notes are left out, unreadable files are not."""
    found = []
    for path in folder.rglob(f"[!_]*{_SUFFIX}"):
        try:
            with path.open("rb") as file:
                headed = file.read(len(BOM_UTF8) + len(FENCE)).removeprefix(BOM_UTF8).startswith(FENCE.encode())
        except OSError:
            headed = True
        if headed:
            found.append(path.relative_to(folder).as_posix())
    return found


def read_text(path: Path) -> str:
    """Return the text of a file; raise PromptError where it is not readable, too long or not UTF-8."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise PromptError(path, f"is longer than {_MOST_BYTES:,} bytes; shorten it or split it into parts")
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise PromptError(path, f"cannot be read ({error.strerror}); expected a readable UTF-8 text file") from error
    except UnicodeDecodeError as error:
        raise PromptError(path, "cannot be read; expected a readable UTF-8 text file") from error


def _look(found: os.stat_result) -> _Stamp:
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
