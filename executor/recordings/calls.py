"""How one call of a model is recorded: under which key, how it ended, and what each of its attempts was billed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from executor import errors
from executor.contract import Usage
from executor.errors import BudgetExhausted, ModelError, PassingFailure
from executor.models.chat import Completion, Finish, Message, ModelEndpoint
from executor.models.usage import MOST_TOKENS
from executor.prompts.library import prompt_digest
from executor.reply.text import encodable


@dataclass(frozen=True, slots=True, kw_only=True)
class CallKey:
    """Identify a call by its messages, its model and its parameters, wherever the endpoint is.

    `digest` covers everything that is asked, `prompt_hash` is that of the first two messages.
    """

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
    """Hold the tokens that an endpoint counted for one attempt."""

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

    @staticmethod
    def of(error: ModelError) -> "_Failure":
        return _Failure(
            type=type(error).__name__,
            message=encodable(str(error)),
            retry_after_s=error.retry_after_s if isinstance(error, PassingFailure) else None,
            of_model=error.of_model if isinstance(error, BudgetExhausted) else None,
        )

    def error(self) -> ModelError:
        kind = getattr(errors, self.type, None)
        if not (isinstance(kind, type) and issubclass(kind, ModelError)):
            return ModelError(self.message)
        if issubclass(kind, BudgetExhausted):
            return kind(self.message, of_model=bool(self.of_model))
        if issubclass(kind, PassingFailure):
            return kind(self.message, retry_after_s=self.retry_after_s)
        return kind(self.message)


class RecordedCall(_Strict):
    """Hold how one call ended: with a reply, with a failure, or cut off at the deadline of its decision.

    `bills` are its attempts that cost something, a reply's own the last; None stands for one whose tokens are not
    known. A recording without `bills` was made when a call was one attempt.
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
            text=encodable(completion.text),
            finish=completion.finish,
            detail=encodable(completion.detail),
            model=encodable(completion.model),
            **Bill.of(completion.usage).model_dump(),
        )
        return RecordedCall._of(key, bills, reply=reply)

    @staticmethod
    def failed(key: CallKey, error: ModelError, bills: Sequence[Bill | None] | None = None) -> "RecordedCall":
        """Return the record of a call that failed."""
        return RecordedCall._of(key, bills, failure=_Failure.of(error))

    @staticmethod
    def cut_off(key: CallKey, bills: Sequence[Bill | None] | None = None) -> "RecordedCall":
        """Return the record of a call that its decision did not wait for any longer."""
        return RecordedCall._of(key, bills, cut=True)

    @staticmethod
    def _of(key: CallKey, bills: Sequence[Bill | None] | None, **end: Any) -> "RecordedCall":
        told = None if bills is None else tuple(bills)
        return RecordedCall(key=key.digest, prompt_hash=key.prompt_hash, model=key.model, bills=told, **end)

    def attempts(self) -> tuple[Completion | ModelError, ...]:
        """Return what was billed, one after the other, each with its tokens; a reply is the last.

        A call that ended without one has no more than its bills, or a free attempt: `again` tells its end.
        """
        bills = self.bills or ()
        unanswered = tuple(
            ModelError("a billed attempt without a reply").told(ran=True, usage=None if bill is None else bill.usage)
            for bill in (bills[:-1] if self.reply is not None else (None,) if self.bills is None else bills)
        )
        if self.reply is not None:
            return (*unanswered, self.again())
        if self.bills is None and self.failure is not None:
            return (self.failure.error(),)
        return unanswered or (ModelError("nothing was billed").told(ran=False),)

    def again(self) -> Completion:
        """Return the reply, or raise what ended the call: its ModelError, or TimeoutError as its deadline did."""
        if self.failure is not None:
            raise self.failure.error()
        reply = self.reply
        if reply is None:
            raise TimeoutError("the recorded call was cut off at the deadline of its decision")
        return Completion(
            text=reply.text, finish=reply.finish, detail=reply.detail, model=reply.model, usage=reply.usage
        )
