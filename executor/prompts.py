"""Prompt templates: Jinja2 in a sandbox, strict about names, with a header that carries version and description.

A template is a file below one of the library's folders. Its block `system` holds what stays the same from decision to
decision (so that providers' prefix caches hit), its block `user` what changes. Includes are relative to the file. A
prompt over its token budget is cut step by step (prompt_values.CUTS); what was cut is told with it.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from traceback import walk_tb
from typing import Any, Final

from jinja2 import BaseLoader, Environment, StrictUndefined, Template, TemplateNotFound, TemplateSyntaxError
from jinja2.loaders import split_template_path
from jinja2.sandbox import ImmutableSandboxedEnvironment

from executor.contract import Context, RenderedPrompt
from executor.errors import PromptError
from executor.prompt_values import FILTERS, PLAIN_FIELDS, cut_steps, template_values
from executor.sample import sample_context
from executor.tokens import estimate_tokens

__all__ = ["TOKEN_BUDGET", "PromptHeader", "PromptLibrary", "RenderedPrompt"]

TOKEN_BUDGET: Final = 12_000
_BLOCKS: Final = ("system", "user")
_REQUIRED_FIELDS: Final = ("version", "description")
_HEADER_FIELDS: Final = (*_REQUIRED_FIELDS, "token_budget")
_GLOBALS: Final = ("range", "dict", "namespace")
_FENCE: Final = "---"
_WHOLE_NUMBER: Final = re.compile(r"[1-9]\d{0,8}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptHeader:
    """Describe a template: its whole-number version, one line on what it is for, and how long its prompts may be."""

    version: int
    description: str
    token_budget: int = TOKEN_BUDGET


_Stamp = tuple[int, int, int]


class _Prompts(ImmutableSandboxedEnvironment):
    """Read the fields of plain values at once; what else a template asks for goes the careful way."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        return (
            getattr(obj, attribute) if attribute in PLAIN_FIELDS.get(type(obj), ()) else super().getattr(obj, attribute)
        )

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
        seen = _stamp(path)
        text = _read(path)

        def unchanged() -> bool:
            return path.is_file() and _stamp(path) == seen

        return text, str(path), unchanged


class PromptLibrary:
    """Render the templates below `root`, then below `fallbacks`; a template changed on disk is read again.

    Raises PromptError, which names file and line, for a template that is missing, malformed or fails to render.
    """

    def __init__(self, root: Path, *fallbacks: Path) -> None:
        self._files = _Files((root, *fallbacks))
        self._folders = (root, *fallbacks)
        self._counted: dict[str, tuple[str, int]] = {}
        self._headers: dict[Path, tuple[_Stamp, PromptHeader]] = {}
        self._environment = _Prompts(
            loader=self._files,
            undefined=StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
        self._environment.filters.update(FILTERS)
        known = self._environment.globals
        self._environment.globals = {name: known[name] for name in _GLOBALS}

    def templates(self, below: str = "prompts") -> tuple[str, ...]:
        """Return the names of all templates below that folder of each library folder; parts and notes are left out."""
        found = {
            path.relative_to(folder).as_posix()
            for folder in self._folders
            for path in (folder / below).rglob("[!_]*.md")
            if _read(path).startswith(_FENCE)
        }
        return tuple(sorted(found))

    def header(self, template: str) -> PromptHeader:
        """Return the header of `template`."""
        path = self._path(template)
        changed = _stamp(path)
        known = self._headers.get(path)
        if known is None or known[0] != changed:
            known = self._headers[path] = (changed, _header(path, _read(path)))
        return known[1]

    def check(self, template: str) -> PromptHeader:
        """Render `template` once with made-up values, so that a mistake in it shows before a decision needs it."""
        self.render(template, sample_context())
        return self.header(template)

    def render(self, template: str, context: Context, *, token_budget: int | None = None) -> RenderedPrompt:
        """Return the two texts of `template` for `context`, cut until they keep the budget.

        The budget is `token_budget`, else that of the template's header; what keeps it in no way is a PromptError.
        """
        header = self.header(template)
        path = self._path(template)
        budget = token_budget or header.token_budget
        for cuts, shown in cut_steps():
            system, user = self._texts(template, path, template_values(context, shown))
            tokens = self._static_tokens(template, system) + estimate_tokens(user)
            if tokens <= budget:
                digest = prompt_digest(system, user)
                return RenderedPrompt(
                    system=system,
                    user=user,
                    sha256=digest,
                    template=template,
                    version=header.version,
                    tokens=tokens,
                    cuts=cuts,
                )
        mend = "raise `token_budget` in its header, or give the trader fewer symbols"
        raise PromptError(path, f"is about {tokens} tokens long with everything cut, over its {budget}; {mend}")

    def _static_tokens(self, template: str, system: str) -> int:
        """Count the text that rarely changes once for all prompts in a row that share it."""
        counted = self._counted.get(template)
        if counted is None or counted[0] != system:
            counted = self._counted[template] = (system, estimate_tokens(system))
        return counted[1]

    def _texts(self, template: str, path: Path, values: Mapping[str, object]) -> tuple[str, str]:
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
        return system, user

    def _path(self, template: str) -> Path:
        try:
            return self._files.path(template)
        except TemplateNotFound as error:
            folders = ", ".join(str(folder) for folder in self._folders)
            raise PromptError(template, f"no such prompt template in {folders}; expected a path below them") from error


def prompt_digest(system: str, user: str) -> str:
    """Return the hash by which a pair of texts is kept."""
    return hashlib.sha256(f"{system}\0{user}".encode("utf-8", "replace")).hexdigest()


def _block(template: Template, path: Path, name: str, values: Mapping[str, object]) -> str:
    render = template.blocks.get(name)
    if render is None:
        raise PromptError(path, f"has no block {name!r}; add {{% block {name} %}}...{{% endblock %}}")
    return "".join(render(template.new_context(dict(values)))).strip()


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


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
            expected = (
                "expected `version: <whole number>`, `description: <text>` and perhaps `token_budget:`, once each"
            )
            raise PromptError(path, f"header line {line[:80]!r} is not understood; {expected}", line=number)
        fields[name] = value
    raise PromptError(path, "the header is not closed; end it with a line of three dashes", line=len(lines))


def _checked_header(path: Path, fields: Mapping[str, str], line: int) -> PromptHeader:
    for name in _REQUIRED_FIELDS:
        if name not in fields:
            raise PromptError(path, f"the header has no `{name}`; add a line `{name}: ...`", line=line)
    for name in ("version", "token_budget"):
        if name in fields and not _WHOLE_NUMBER.fullmatch(fields[name]):
            given = fields[name][:40]
            raise PromptError(path, f"{name} is {given!r}; expected a whole number from 1, such as 1", line=line)
    return PromptHeader(
        version=int(fields["version"]),
        description=fields["description"],
        token_budget=int(fields.get("token_budget", TOKEN_BUDGET)),
    )


def _failure(path: Path, error: Exception) -> PromptError:
    """Point at the innermost template line; compiled templates keep the numbers of their source."""
    place, line = str(path), None
    for frame, number in walk_tb(error.__traceback__):
        template = frame.f_globals.get("__jinja_template__")
        if isinstance(template, Template):
            place, line = template.filename or place, template.get_corresponding_lineno(number)
    mend = "correct the template; the names it may use are listed in prompts/README.md"
    return PromptError(place, f"{type(error).__name__}: {error}; {mend}", line=line)
