"""The models of one trader in order: the next is asked when one brings no reply."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from executor.errors import BudgetExhausted, ExecutorUnavailable, ModelError, ModelTimeout
from executor.models.chat import ChatModel, Completion, Message
from executor.models.gate import time_left


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
                return await _within(time_left() / left, model, messages, schema)
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


async def _within(
    limit_s: float, model: ChatModel, messages: Sequence[Message], schema: Mapping[str, Any]
) -> Completion:
    try:
        with anyio.fail_after(limit_s):
            return await model.complete(messages, schema)
    except TimeoutError:
        raise ModelTimeout(
            f"model {model.name!r} did not answer within its part of the time, {limit_s:.1f} s"
        ) from None
