"""How the models of one trader are asked: each behind its endpoint's gate and retried, then the next in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_exponential_jitter

from executor.errors import BudgetExhausted, ExecutorUnavailable, ModelError, ModelTimeout, PassingFailure
from executor.models.chat import ChatModel, Completion, Message
from executor.models.gate import EndpointGate, Pacing, time_left
from executor.models.profile import ModelProfile

ATTEMPTS: Final = 3
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 8.0
_BACKOFF: Final = wait_exponential_jitter(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S, jitter=_FIRST_WAIT_S)


class GuardedModel:
    """Call a model within the limits of its endpoint; each call ends after the model's timeout.

    Only a PassingFailure is tried again, after what the endpoint asks for and never when that is past the deadline of
    the scope around the call.
    """

    def __init__(self, model: ChatModel, profile: ModelProfile, gate: EndpointGate, pacing: Pacing) -> None:
        self._model = model
        self._profile = profile
        self._gate = gate
        self._retrying = AsyncRetrying(
            sleep=pacing.sleep,
            stop=self._is_over,
            wait=self._wait_s,
            retry=retry_if_exception_type(PassingFailure),
            reraise=True,
        )

    @property
    def name(self) -> str:
        """Return the model's name as the endpoint knows it."""
        return self._model.name

    async def complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Completion:
        """Return one completion."""
        completion: Completion = await self._retrying.copy()(self._once, messages, schema)
        return completion

    async def ping(self) -> None:
        """Ask the endpoint whether it is there, outside the gate."""
        await self._model.ping()

    async def close(self) -> None:
        """Do nothing: the endpoint is shared."""

    async def _once(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Completion:
        timeout_s = self._profile.endpoint.timeout_s
        async with self._gate.entered():
            try:
                with anyio.fail_after(timeout_s):
                    return await self._model.complete(messages, schema)
            except TimeoutError:
                raise ModelTimeout(f"model {self.name!r} did not answer within {timeout_s:g} s") from None

    @staticmethod
    def _wait_s(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        asked_s = error.retry_after_s if isinstance(error, PassingFailure) else None
        return max(asked_s or 0.0, _BACKOFF(state))

    @staticmethod
    def _is_over(state: RetryCallState) -> bool:
        return state.attempt_number >= ATTEMPTS or state.upcoming_sleep >= time_left()


@dataclass(slots=True, kw_only=True)
class Asked:
    """Remember during one decision which model is asked, and why those before it are not."""

    place: int = 0
    failures: list[ModelError] = field(default_factory=list)


class ModelChain:
    """Ask the first model that works; a reply, good or bad, is its own and is not put to the next one.

    While others are left, a model gets an equal part of the time until the deadline, so that a silent one leaves time.
    """

    def __init__(self, models: Sequence[ChatModel]) -> None:
        self._models = tuple(models)

    @property
    def name(self) -> str:
        """Return the name of the first model."""
        return self._models[0].name

    async def complete(self, messages: Sequence[Message], schema: Mapping[str, Any], asked: Asked) -> Completion:
        """Return a completion of the model at `asked.place` or after it; raise the last one's ModelError."""
        while True:
            left = len(self._models) - asked.place
            model = self._models[asked.place]
            try:
                if left == 1:
                    return await model.complete(messages, schema)
                return await self._within(time_left() / left, model, messages, schema)
            except ModelError as error:
                if left == 1 or (isinstance(error, BudgetExhausted) and not error.of_model):
                    raise
                asked.failures.append(error)
                asked.place += 1

    async def ping(self) -> None:
        """Raise ExecutorUnavailable unless one of the models can be reached."""
        failures = []
        for model in self._models:
            try:
                return await model.ping()
            except ExecutorUnavailable as error:
                failures.append(error)
        raise failures[0]

    async def close(self) -> None:
        """Close the models."""
        for model in self._models:
            await model.close()

    @staticmethod
    async def _within(
        limit_s: float, model: ChatModel, messages: Sequence[Message], schema: Mapping[str, Any]
    ) -> Completion:
        try:
            with anyio.fail_after(limit_s):
                return await model.complete(messages, schema)
        except TimeoutError:
            told = f"model {model.name!r} did not answer within its part of the time, {limit_s:.1f} s"
            raise ModelTimeout(told) from None
