"""The executor that asks a language model: prompt, one call, one more when the reply is invalid, one deadline."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import anyio

from executor.contract import Context, FullDecision, ItemError, Outcome, RenderedPrompt
from executor.errors import ExecutorConfigError, ModelError, PromptError, RecordingMissing
from executor.models.chain import Asked, ModelChain
from executor.models.chat import ChatModel, Completion, Finish, Message
from executor.models.metering import Charge, billed, charges
from executor.prompts.library import PromptLibrary
from executor.reply.parser import json_schema, parse_reply
from executor.reply.reask import Answers, correction
from executor.reply.text import clean_text

_ANSWER_S: Final = 1.0
_MORE_OUTPUT: Final = "raise max_tokens under the model's extra_body, or let the prompt ask for a shorter answer"


@dataclass(slots=True, kw_only=True)
class _Progress:
    """Hold what is known so far, so that a deadline in the middle loses nothing that was paid for."""

    started: float
    model: str
    prompt: RenderedPrompt | None = None
    attempts: int = 0
    answers: Answers = field(default_factory=Answers)
    charges: list[Charge]
    asked: Asked = field(default_factory=Asked)


class LLMExecutor:
    """Decide by the first of its language models that answers, within `timeout_s`, all attempts included.

    A call that fails, or a reply that stays invalid, is a decision without orders that says why; nothing is raised.
    `monotonic` gives seconds for the latency; prompts are rendered in `turn`, one by one.
    """

    def __init__(
        self,
        *,
        models: Sequence[ChatModel],
        prompts: PromptLibrary,
        template: str,
        timeout_s: float,
        monotonic: Callable[[], float],
        turn: anyio.Lock | None = None,
    ) -> None:
        self._model = ModelChain(models)
        self._prompts = prompts
        self._template = template
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._turn = turn or anyio.Lock()

    async def decide(self, context: Context) -> FullDecision:
        """Return the model's decision; everything but DECIDED has no decisions and a reason in `errors`.

        Raises RecordingMissing in a replay that may make no call.
        """
        with charges() as made:
            progress = _Progress(started=self._monotonic(), model=self._model.name, charges=made)
            return await self._decided(context, progress)

    async def ping(self) -> None:
        """Raise ExecutorUnavailable if no endpoint answers, PromptError if the template cannot be used."""
        self._prompts.check(self._template)
        await self._model.ping()

    async def close(self) -> None:
        """Close the models."""
        await self._model.close()

    async def _decided(self, context: Context, progress: _Progress) -> FullDecision:
        try:
            with anyio.fail_after(within_s := self._time()):
                return await self._ask(context, progress)
        except TimeoutError:
            message = f"no decision within {within_s:.3g} s; raise the timeout or use a faster model"
            return self._ended(progress, Outcome.TIMEOUT, "deadline", message)
        except RecordingMissing as error:
            raise error.asked_by(context.trader_id, context.now) from error
        except ModelError as error:
            return self._ended(progress, error.outcome, "model", str(error))
        except PromptError as error:
            return self._ended(progress, Outcome.UNAVAILABLE, "prompt", str(error))
        except ExecutorConfigError as error:
            return self._ended(progress, Outcome.UNAVAILABLE, "config", str(error))
        except Exception as error:  # noqa: BLE001 - no fault of one trader's call may end without a decision on record
            # The text is left out, for it may quote anything, a key too.
            message = f"failed unexpectedly ({type(error).__name__}); nothing was decided, please report it"
            return self._ended(progress, Outcome.UNAVAILABLE, "executor", message)

    def _time(self) -> float:
        """Return the seconds for a decision; a caller with an earlier deadline gets what is known by then."""
        left_s = anyio.current_effective_deadline() - anyio.current_time()
        return max(0.0, min(self._timeout_s, left_s - min(_ANSWER_S, left_s / 5)))

    async def _ask(self, context: Context, progress: _Progress) -> FullDecision:
        async with self._turn:
            prompt = self._prompts.render(self._template, context)
        progress.prompt = prompt
        symbols = context.known_symbols
        schema: Mapping[str, Any] = json_schema(symbols)
        messages = [Message(role="system", text=prompt.system), Message(role="user", text=prompt.user)]
        while True:
            completion = await self._complete(messages, schema, progress)
            if completion.finish is Finish.LENGTH:
                message = f"the reply was cut at the model's output limit; {_MORE_OUTPUT}"
                return self._ended(progress, Outcome.TRUNCATED, "reply", message)
            if completion.finish is Finish.REFUSED:
                message = f"the model refused: {clean_text(completion.detail, 300)}"
                return self._ended(progress, Outcome.REFUSED, "reply", message)
            reply = parse_reply(completion.text, symbols)
            progress.answers.judged(reply)
            if progress.answers.complete:
                outcome, message = progress.answers.verdict(completion.detail)
                return self._ended(progress, outcome, "reply", message)
            messages = [*messages, *correction(completion.text, reply)]

    async def _complete(self, messages: list[Message], schema: Mapping[str, Any], progress: _Progress) -> Completion:
        progress.attempts += 1
        completion = await self._model.complete(messages, schema, progress.asked)
        progress.answers.heard(completion.text)
        progress.model = completion.model or progress.model
        return completion

    def _ended(self, progress: _Progress, outcome: Outcome, path: str = "", message: str = "") -> FullDecision:
        """Return the decision; what went wrong is its outcome only if no usable reply was heard, else an error in it.

        What ended it comes first.
        """
        reply = progress.answers.counting
        reasons = [(path, message)] if message else []
        reasons += [("model", str(error)) for error in progress.asked.failures]
        told = tuple(ItemError(path=place, message=clean_text(text, 1_000)) for place, text in reasons)
        found = progress.answers.errors
        return FullDecision(
            decisions=reply.decisions if reply is not None else (),
            outcome=Outcome.DECIDED if reply is not None else outcome,
            errors=(*told, *found) if message and reply is None else (*found, *told),
            reasoning=reply.reasoning if reply is not None else "",
            model=clean_text(progress.model, 200),
            prompt_hash=progress.prompt.sha256 if progress.prompt is not None else "",
            prompt=progress.prompt,
            reply=progress.answers.text,
            usage=billed(progress.charges),
            latency_s=self._monotonic() - progress.started,
            attempts=progress.attempts,
        )
