"""Prompt templates: Jinja2 in a sandbox, strict about names, with a header that carries version and description.

A template is a file below one of the library's folders. Its block `system` holds what stays the same from decision to
decision (so that providers' prefix caches hit), its block `user` what changes. Includes are relative to the file.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path, PurePosixPath
from traceback import walk_tb
from typing import Final

from jinja2 import BaseLoader, Environment, StrictUndefined, Template, TemplateNotFound, TemplateSyntaxError
from jinja2.loaders import split_template_path
from jinja2.sandbox import ImmutableSandboxedEnvironment

from executor.contract import Context, Indicators
from executor.errors import PromptError
from executor.sample import example_replies, sample_context

CLOSES_SHOWN: Final = 30
_BLOCKS: Final = ("system", "user")
_HEADER_FIELDS: Final = ("version", "description")
_FENCE: Final = "---"
_LONGEST_LINE: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptHeader:
    """Describe a template: its whole-number version and one line on what it is for."""

    version: int
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPrompt:
    """Hold one rendered prompt; `sha256` identifies the pair of texts."""

    system: str
    user: str
    sha256: str
    template: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolData:
    """Show one symbol to a template as plain values, so that no feed or account is reachable from it."""

    symbol: str
    mark: Decimal
    age_s: float
    funding_rate: Decimal | None
    indicators: Indicators
    closes: tuple[float, ...]


class _Prompts(ImmutableSandboxedEnvironment):
    def join_path(self, template: str, parent: str) -> str:
        return str(PurePosixPath(parent).parent / template)


class _Files(BaseLoader):
    """Find templates in folders, the first that has the file wins; read anew when the file changes."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders

    def path(self, template: str) -> Path:
        inside = Path(*split_template_path(template))
        for folder in self._folders:
            if (folder / inside).is_file():
                return folder / inside
        raise TemplateNotFound(template)

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        del environment
        path = self.path(template)
        seen = path.stat().st_mtime_ns
        text = _read(path)

        def unchanged() -> bool:
            return path.is_file() and path.stat().st_mtime_ns == seen

        return text, str(path), unchanged


class PromptLibrary:
    """Render the templates below `root`, then below `fallbacks`; a template changed on disk is read again.

    Raises PromptError, which names file and line, for a template that is missing, malformed or fails to render.
    """

    def __init__(self, root: Path, *fallbacks: Path) -> None:
        self._files = _Files((root, *fallbacks))
        self._folders = (root, *fallbacks)
        self._headers: dict[Path, tuple[int, PromptHeader]] = {}
        self._environment = _Prompts(
            loader=self._files,
            undefined=StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
        self._environment.filters.update(number=_number, line=_line, instant=_instant)

    def header(self, template: str) -> PromptHeader:
        """Return the header of `template`."""
        path = self._path(template)
        changed = path.stat().st_mtime_ns
        known = self._headers.get(path)
        if known is None or known[0] != changed:
            known = self._headers[path] = (changed, _header(path, _read(path)))
        return known[1]

    def check(self, template: str) -> PromptHeader:
        """Render `template` once with made-up values, so that a mistake in it shows before a decision needs it."""
        self.render(template, sample_context())
        return self.header(template)

    def render(self, template: str, context: Context) -> RenderedPrompt:
        """Return the two texts of `template` for `context`."""
        header = self.header(template)
        path = self._path(template)
        values = template_values(context)
        try:
            compiled = self._environment.get_template(template)
            system, user = (_block(compiled, path, name, values) for name in _BLOCKS)
        except TemplateSyntaxError as error:
            raise PromptError(
                error.filename or path, f"{error.message}; correct the template", line=error.lineno
            ) from error
        except TemplateNotFound as error:
            mend = "put the file beside the template or correct the name"
            raise PromptError(
                path, f"includes {error.name!r}, which is in none of the prompt folders; {mend}"
            ) from error
        except PromptError:
            raise
        except Exception as error:  # a template is a program of the user's: anything may come out of it
            raise _failure(path, error) from error
        text = f"{system}\0{user}".encode("utf-8", "replace")
        digest = hashlib.sha256(text).hexdigest()
        return RenderedPrompt(system=system, user=user, sha256=digest, template=template, version=header.version)

    def _path(self, template: str) -> Path:
        try:
            return self._files.path(template)
        except TemplateNotFound as error:
            folders = ", ".join(str(folder) for folder in self._folders)
            raise PromptError(template, f"no such prompt template in {folders}; expected a path below them") from error


def template_values(context: Context) -> dict[str, object]:
    """Return the names a template may use: plain values of `context`, nothing that leads to a feed or a secret."""
    return {
        "trader_id": context.trader_id,
        "trader_name": context.trader_name,
        "now": context.now,
        "symbols": context.symbols,
        "account": context.account,
        "positions": context.positions,
        "performance": context.performance,
        "limits": context.limits,
        "refusals": context.refusals,
        "examples": example_replies(context.limits, context.symbols),
        "market": {
            symbol: SymbolData(
                symbol=symbol,
                mark=view.mark,
                age_s=view.age_s,
                funding_rate=view.funding_rate,
                indicators=view.indicators,
                closes=tuple(view.closes(CLOSES_SHOWN)),
            )
            for symbol, view in context.market.items()
        },
    }


def _block(template: Template, path: Path, name: str, values: Mapping[str, object]) -> str:
    render = template.blocks.get(name)
    if render is None:
        raise PromptError(path, f"has no block {name!r}; add {{% block {name} %}}...{{% endblock %}}")
    return "".join(render(template.new_context(dict(values)))).strip()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(path, f"cannot be read ({error}); expected a readable UTF-8 text file") from error


def _header(path: Path, text: str) -> PromptHeader:
    lines = text.splitlines()
    if not lines or lines[0].strip() != _FENCE:
        mend = "begin the file with a line of three dashes, `version: 1`, `description: ...` and three dashes again"
        raise PromptError(path, f"has no header; {mend}", line=1)
    fields: dict[str, str] = {}
    for number, line in enumerate(lines[1:], start=2):
        if line.strip() == _FENCE:
            return _checked_header(path, fields, number)
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or name not in _HEADER_FIELDS or name in fields or not value:
            expected = "expected `version: <whole number>` and `description: <text>`, once each"
            raise PromptError(path, f"header line {line[:80]!r} is not understood; {expected}", line=number)
        fields[name] = value
    raise PromptError(path, "the header is not closed; end it with a line of three dashes", line=len(lines))


def _checked_header(path: Path, fields: Mapping[str, str], line: int) -> PromptHeader:
    for name in _HEADER_FIELDS:
        if name not in fields:
            raise PromptError(path, f"the header has no `{name}`; add a line `{name}: ...`", line=line)
    if not re.fullmatch(r"[1-9]\d{0,8}", fields["version"], re.ASCII):
        given = fields["version"][:40]
        raise PromptError(path, f"version is {given!r}; expected a whole number from 1, such as 1", line=line)
    return PromptHeader(version=int(fields["version"]), description=fields["description"])


def _failure(path: Path, error: Exception) -> PromptError:
    """Point at the innermost template line; compiled templates keep the numbers of their source."""
    place, line = str(path), None
    for frame, number in walk_tb(error.__traceback__):
        template = frame.f_globals.get("__jinja_template__")
        if isinstance(template, Template):
            place, line = template.filename or place, template.get_corresponding_lineno(number)
    mend = "correct the template; the names it may use are listed in prompts/README.md"
    return PromptError(place, f"{type(error).__name__}: {error}; {mend}", line=line)


def _number(value: Decimal | float | None, digits: int = 7) -> str:
    """Write a number plainly with at most `digits` significant digits, and a missing one as n/a."""
    if value is None:
        return "n/a"
    rounded = Decimal(f"{value:.{digits}g}")
    return f"{rounded.normalize():f}" if rounded.is_finite() else "n/a"


def _line(text: str) -> str:
    """Fold text that others wrote into one short line, so that it cannot pass for a section of the prompt."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:_LONGEST_LINE]


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
