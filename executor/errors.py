"""Errors of the executor package.

    ExecutorError
    |-- ExecutorConfigError       a value given by the user must change before anything can run
    |   `-- FileError             ... in a file, named with its line
    |       |-- PromptError       a template is missing, malformed or names what does not exist
    |       `-- RecordedError     a file of recorded decisions is unreadable
    |-- ReplySyntaxError          a text is not JSON
    `-- ModelError                one call of a model brought no reply
        |-- ExecutorUnavailable   nothing usable answered; the next decision may succeed
        `-- ModelTimeout          no answer in time

`decide` raises none of them: a failed call is an outcome of the returned value.
"""

from pathlib import Path


class ExecutorError(Exception):
    """Stand above every error of this package."""


class ExecutorConfigError(ExecutorError):
    """Say which configured value is wrong and how to mend it."""


class FileError(ExecutorConfigError):
    """Name the file and, where one is known, the line that is wrong."""

    def __init__(self, path: Path | str, message: str, *, line: int | None = None) -> None:
        self.path = str(path)
        self.line = line
        super().__init__(f"{path}{'' if line is None else f', line {line}'}: {message}")


class PromptError(FileError):
    """Say why a prompt template cannot be used."""


class RecordedError(FileError):
    """Say why a file of recorded decisions cannot be used."""


class ReplySyntaxError(ExecutorError):
    """Say where a text stops being JSON."""


class ModelError(ExecutorError):
    """Say why a call of a model brought no reply."""


class ExecutorUnavailable(ModelError):
    """Say that the endpoint could not be reached, refused the call or answered something unusable."""


class ModelTimeout(ModelError):
    """Say that the endpoint did not answer in time."""
