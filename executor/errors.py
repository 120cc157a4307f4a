"""Errors of the executor package.

    ExecutorError
    |-- ExecutorConfigError       a value given by the user must change before anything can run
    |   |-- FileError             ... in a file, named with its line
    |   |   |-- PromptError       a template is missing, malformed or names what does not exist
    |   |   `-- RecordedError     a file of recorded decisions or calls is unreadable
    |   `-- RecordingMissing      a call was never recorded, and none may be made
    |-- ReplySyntaxError          a text is not JSON
    |-- RequestRefused            a request for a decision is not answered with one
    |   |-- RequestInvalid        ... it is not what the contract says
    |   |-- RequestTooLarge       ... it is longer than is taken
    |   |-- KeyRefused            ... it carries no key that is known here
    |   |-- TraderUnknown         ... no executor here decides for its trader
    |   |-- TraderUnable          ... the executor of its trader could not decide now
    |   `-- ServerStopping        ... the server is about to end
    `-- ModelError                one call of a model brought no reply
        |-- ModelTimeout          no answer in time
        |-- ContextOverflow       the prompt is longer than the model takes
        |-- CallNotMade           the desk did not make the call
        |   |-- BudgetExhausted   nothing is left of the day's budget
        |   `-- BudgetUnknown     what is left cannot be read, so nothing is spent
        `-- ExecutorUnavailable   nothing usable answered; the next decision may succeed
            |-- PassingFailure    may be over in a moment: the only errors that are retried
            |   |-- ModelUnreachable   no connection, or it broke
            |   |-- ModelOverloaded    5xx but 501 and 505
            |   `-- RateLimited        429, or the limit configured for the endpoint
            |-- UnreadableAnswer  what answered is no chat completion
            |-- CircuitOpen       the endpoint failed too often just now; it was not asked
            |-- Unauthorized      401, 403
            |-- UnknownModel      the endpoint does not know the model
            |-- OutOfCredit       402, or a used-up quota
            `-- CallRejected      the endpoint refuses this kind of call

`decide` raises none of them but RecordingMissing, which ends a replay: a failed call is an outcome of the returned
value.
"""

from datetime import datetime
from pathlib import Path
from typing import Self

from executor.contract import Outcome, Usage


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
    """Say why a file of recorded decisions or calls cannot be used."""


class RecordingMissing(ExecutorConfigError):
    """Say which call of a model was never recorded: by its prompt, its model and, once known, who asked when."""

    def __init__(self, message: str, *, prompt_hash: str, model: str) -> None:
        self.prompt_hash = prompt_hash
        self.model = model
        super().__init__(message)

    def asked_by(self, trader_id: str, at: datetime) -> "RecordingMissing":
        """Return the error with the trader that asked, and when."""
        where = f"trader {trader_id} at {at.isoformat()}: {self}"
        return RecordingMissing(where, prompt_hash=self.prompt_hash, model=self.model)


class ReplySyntaxError(ExecutorError):
    """Say where a text stops being JSON."""


class RequestRefused(ExecutorError):
    """Say why a request for a decision is not answered with one."""


class RequestInvalid(RequestRefused):
    """Say where a request is not what the contract says."""


class RequestTooLarge(RequestRefused):
    """Say how long a request may be."""


class KeyRefused(RequestRefused):
    """Say that a request carries no key that is known here."""


class TraderUnknown(RequestRefused):
    """Say that no executor here decides for the trader of a request."""


class TraderUnable(RequestRefused):
    """Say why the executor of a trader could not decide now."""


class ServerStopping(RequestRefused):
    """Say that the server is about to end; `cut` tells that a decision under way was given up."""

    def __init__(self, message: str, *, cut: bool = False) -> None:
        self.cut = cut
        super().__init__(message)


class ModelError(ExecutorError):
    """Say why a call of a model brought no reply.

    `outcome` is that of the decision it ends. `ran` tells whether the endpoint may have worked on it, and so charge for
    it; `usage` is what it says that it took.
    """

    outcome: Outcome = Outcome.UNAVAILABLE
    ran: bool = True
    usage: Usage | None = None

    def told(self, *, ran: bool, usage: Usage | None = None) -> Self:
        """Return the error, with what is known of its bill."""
        self.ran, self.usage = ran, usage
        return self


class ModelTimeout(ModelError):
    """Say that the endpoint did not answer in time."""

    outcome = Outcome.TIMEOUT


class ContextOverflow(ModelError):
    """Say that the prompt is longer than the model takes."""

    outcome = Outcome.CONTEXT_OVERFLOW
    ran = False


class CallNotMade(ModelError):
    """Say that the desk did not make the call; the endpoint may be sound."""

    ran = False


class BudgetExhausted(CallNotMade):
    """Say whose budget of the day has no room for the call; another model may have some if it is `of_model`."""

    outcome = Outcome.BUDGET_EXHAUSTED

    def __init__(self, message: str, *, of_model: bool = False) -> None:
        self.of_model = of_model
        super().__init__(message)


class BudgetUnknown(CallNotMade):
    """Say that the budgets cannot be read."""


class ExecutorUnavailable(ModelError):
    """Say that the endpoint could not be reached, refused the call or answered something unusable."""


class PassingFailure(ExecutorUnavailable):
    """Say that the same call may succeed in a moment; `retry_after_s` is what the endpoint asks to wait."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class ModelUnreachable(PassingFailure):
    """Say that there was no connection or that it broke."""

    ran = False


class ModelOverloaded(PassingFailure):
    """Say that the endpoint failed on its side."""


class RateLimited(PassingFailure):
    """Say that more calls were made than the endpoint, or its configured limit, allows."""

    outcome = Outcome.RATE_LIMITED
    ran = False


class UnreadableAnswer(ExecutorUnavailable):
    """Say that what answered is not an endpoint for chat completions."""


class CircuitOpen(ExecutorUnavailable):
    """Say that the endpoint was not asked, because it failed too often just now."""

    ran = False


class Unauthorized(ExecutorUnavailable):
    """Say that the endpoint does not accept the key."""

    outcome = Outcome.UNAUTHORIZED
    ran = False


class UnknownModel(ExecutorUnavailable):
    """Say that the endpoint does not know the model."""

    outcome = Outcome.UNKNOWN_MODEL
    ran = False


class OutOfCredit(ExecutorUnavailable):
    """Say that the account of the key has nothing left to spend."""

    outcome = Outcome.OUT_OF_CREDIT
    ran = False


class CallRejected(ExecutorUnavailable):
    """Say that the endpoint refuses this kind of call, whoever makes it."""

    ran = False
