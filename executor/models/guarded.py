"""One model as its traders share it: behind the endpoint's gate, and retried on passing failures."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import anyio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_exponential_jitter

from executor.errors import ModelTimeout, PassingFailure
from executor.models.chat import ChatModel, Completion, Message
from executor.models.gate import EndpointGate, Pacing, time_left
from executor.models.profile import ModelProfile

ATTEMPTS: Final = 3
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 8.0


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
            stop=_is_over,
            wait=_wait_s,
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


def _wait_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    asked_s = error.retry_after_s if isinstance(error, PassingFailure) else None
    return max(asked_s or 0.0, _BACKOFF(state))


def _is_over(state: RetryCallState) -> bool:
    return state.attempt_number >= ATTEMPTS or state.upcoming_sleep >= time_left()


_BACKOFF: Final = wait_exponential_jitter(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S, jitter=_FIRST_WAIT_S)
