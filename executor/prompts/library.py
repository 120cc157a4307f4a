"""Prompt templates: Jinja2 in a sandbox, strict about names, with a header that carries version and description.

A template's block `system` holds what stays the same from decision to decision (so that providers' prefix caches hit),
its block `user` what changes. A prompt over its token budget is cut step by step (values.CUTS); what was cut is told
with it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from traceback import walk_tb
from typing import Final

import structlog
from jinja2 import Template, TemplateNotFound, TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError

from executor.contract import Context, Limits, RenderedPrompt
from executor.errors import PromptError
from executor.prompts.bounds import LONGEST_TEXT
from executor.prompts.files import (
    FOLDER,
    Place,
    PromptFiles,
    PromptHeader,
    template_name,
    templates_in,
)
from executor.prompts.sample import sample_context
from executor.prompts.sandbox import PromptEnvironment
from executor.prompts.tokens import estimate_tokens
from executor.prompts.values import cut_steps, template_values

_BLOCKS: Final = ("system", "user")
_MEND: Final = "correct the template; what it may use is listed in prompts/README.md"
_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    """Hold one state of a template and of all its parts, as they were read."""

    files: PromptFiles
    environment: PromptEnvironment
    header: PromptHeader
    path: Path | str

    def texts(self, values: Mapping[str, object]) -> tuple[str, str]:
        """Return both blocks; whatever a template raises, which is a program of the user's, becomes a PromptError."""
        self.environment.meter.again()
        try:
            compiled = self.environment.get_template(self.files.main)
            system, user = (self._block(compiled, name, values) for name in _BLOCKS)
        except TemplateSyntaxError as error:
            told = (error.message or "is no Jinja2").rstrip(".")
            raise PromptError(error.filename or self.path, f"{told}; {_MEND}", line=error.lineno) from error
        except TemplateNotFound as error:
            mend = "put the file beside the template or correct the name"
            told = f"includes {error.name!r}, which is in none of the prompt folders; {mend}"
            raise PromptError(self.path, told) from error
        except PromptError:
            raise
        except Exception as error:
            raise self._failure(error) from error
        return system, user

    def _block(self, template: Template, name: str, values: Mapping[str, object]) -> str:
        render = template.blocks.get(name)
        if render is None:
            raise PromptError(self.path, f"has no block {name!r}; add {{% block {name} %}}...{{% endblock %}}")
        parts, length = [], 0
        for part in render(template.new_context(dict(values))):
            parts.append(part)
            length += len(part)
            if length > LONGEST_TEXT:
                told = f"block {name!r} is longer than {LONGEST_TEXT:,} characters; shorten it"
                raise PromptError(self.path, told)
        text = "".join(parts).strip()
        if not text:
            raise PromptError(self.path, f"block {name!r} is empty; write what the model is to read")
        return text

    def _failure(self, error: Exception) -> PromptError:
        """Point at the innermost template line; compiled templates keep the numbers of their source."""
        place, line = str(self.path), None
        for frame, number in walk_tb(error.__traceback__):
            template = frame.f_globals.get("__jinja_template__")
            if isinstance(template, Template):
                place, line = template.filename or place, template.get_corresponding_lineno(number)
        if isinstance(error, RecursionError):
            told = "includes itself, or is nested too deeply"
        else:
            expected = isinstance(error, SecurityError | UndefinedError)
            told = (str(error) if expected else f"{type(error).__name__}: {error}").rstrip(".")
        return PromptError(place, f"{told}; {_MEND}", line=line)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """Hold what is rendered, the files that were looked at last, and why those cannot be rendered, if they cannot."""

    good: _Version
    last: PromptFiles
    fault: PromptError | None = None


class PromptLibrary:
    """Render the templates of prompts folders, the first that has a file wins; names may begin with `prompts/`.

    A changed template, parts included, is taken when it passes its check; while it does not, the last good state stays
    in use and a warning names file and line. Raises PromptError, with both, for a template that was never good or fails
    to render. Any thread may ask.
    """

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._one_by_one = Lock()
        self._held: dict[str, _Held] = {}
        self._counted: dict[str, tuple[str, int]] = {}
        self._fitting: dict[tuple[str, int], _Version] = {}

    def templates(self) -> tuple[str, ...]:
        """Return the names of all templates as a config names them."""
        return tuple(sorted({f"{FOLDER}/{name}" for folder in self._folders for name in templates_in(folder)}))

    def header(self, template: str) -> PromptHeader:
        """Return the header of `template`."""
        return self._current(template).good.header

    def check(self, template: str, symbols: Sequence[str] = (), limits: Limits | None = None) -> PromptHeader:
        """Render `template` with made-up values, so that a mistake in it shows before a decision needs it.

        With a trader's symbols and limits its prompt must keep the token budget, too; tried once for each number
        of symbols.
        """
        with self._one_by_one:
            held = self._current(template)
            if held.fault is not None:
                raise held.fault.with_traceback(None)
            tried = template_name(template), len(symbols)
            if symbols and self._fitting.get(tried) is not held.good:
                self._render(held.good, template, sample_context(symbols, limits), None)
                self._fitting[tried] = held.good
            return held.good.header

    def render(self, template: str, context: Context, *, token_budget: int | None = None) -> RenderedPrompt:
        """Return the two texts of `template` for `context`, cut until they keep the budget.

        The budget is `token_budget`, else that of the template's header. Raises PromptError if every cut is not enough.
        """
        with self._one_by_one:
            return self._render(self._current(template).good, template, context, token_budget)

    def _current(self, template: str) -> _Held:
        name = template_name(template)
        held = self._held.get(name)
        if held is not None and held.last.unchanged():
            return held
        known: Mapping[str, Place] = held.good.files.seen if held is not None else {}
        files = PromptFiles(self._folders, name, known)
        try:
            found = _Held(good=self._taken(template, files), last=files)
            if held is not None:
                _LOG.info("prompt_change_taken", template=template, version=found.good.header.version)
        except PromptError as error:
            if held is None:
                raise
            _LOG.warning("prompt_change_not_taken", template=template, reason=str(error))
            found = _Held(good=held.good, last=files, fault=error)
        self._held[name] = found
        return found

    def _taken(self, template: str, files: PromptFiles) -> _Version:
        """Read and try a template; it is compiled anew, so that no part of an earlier state is left in it."""
        try:
            text = files.text(files.main)
        except TemplateNotFound as error:
            folders = ", ".join(str(folder) for folder in self._folders)
            gone = "is gone; put it back, or restart to use" if files.known else "no such prompt template in"
            expected = "" if files.known else "; expected a path below them that ends in .md"
            raise PromptError(template, f"{gone} {folders}{expected}") from error
        path = files.path(files.main)
        version = _Version(
            files=files, environment=PromptEnvironment(files), header=PromptHeader.read(path, text), path=path
        )
        self._render(version, template, sample_context(), None)
        return version

    def _render(self, version: _Version, template: str, context: Context, token_budget: int | None) -> RenderedPrompt:
        if not context.symbols:
            raise PromptError(template, "cannot be rendered for a context without symbols; give it at least one")
        budget = token_budget or version.header.token_budget
        version.environment.meter.restart()
        for cuts, shown in cut_steps():
            system, user = version.texts(template_values(context, shown, cuts))
            tokens = self._static_tokens(template, system) + estimate_tokens(user)
            if tokens <= budget:
                return RenderedPrompt(
                    system=system,
                    user=user,
                    sha256=prompt_digest(system, user),
                    template=template,
                    version=version.header.version,
                    tokens=tokens,
                    cuts=cuts,
                )
        mend = "raise `token_budget` in its header, or give the trader fewer symbols"
        told = f"is about {tokens} tokens long for {len(context.symbols)} symbols with everything cut"
        raise PromptError(version.path, f"{told}, over its {budget}; {mend}")

    def _static_tokens(self, template: str, system: str) -> int:
        """Count the text that rarely changes once for all prompts in a row that share it."""
        counted = self._counted.get(template)
        if counted is None or counted[0] != system:
            counted = self._counted[template] = (system, estimate_tokens(system))
        return counted[1]


def prompt_digest(system: str, user: str) -> str:
    """Return the hash by which a pair of texts is kept."""
    return hashlib.sha256(f"{system}\0{user}".encode("utf-8", "replace")).hexdigest()
