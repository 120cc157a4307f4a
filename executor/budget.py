"""Between a model and its bill: the worst case is set aside before a call, the real cost booked after it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Protocol

import anyio

from executor.contract import Usage
from executor.errors import ModelTimeout
from executor.models.chat import ChatModel, Completion, Message
from executor.models.profile import ModelProfile
from executor.tokens import estimate_tokens

ASSUMED_OUTPUT_TOKENS: Final = 8_000
SETTLE_S: Final = 5.0
_OUTPUT_CAPS: Final = ("max_completion_tokens", "max_tokens")
_ZERO: Final = Decimal(0)


class Quote:
    """Say what one call can cost at most; counted when it is asked for, because most calls have no budget."""

    def __init__(self, profile: ModelProfile, messages: Sequence[Message]) -> None:
        self._profile = profile
        self._messages = messages
        self._worst_usd: Decimal | None = None

    @property
    def model(self) -> str:
        """Return the name that the model has in the config."""
        return self._profile.name

    @property
    def lasts_s(self) -> float:
        """Return the seconds after which the call has ended, whatever became of it."""
        return self._profile.endpoint.timeout_s

    @property
    def limit_usd(self) -> Decimal | None:
        """Return the model's own budget of a day."""
        return self._profile.budget_usd_per_day

    @property
    def worst_usd(self) -> Decimal:
        """Return the price of the prompt and of the longest reply: the cap in extra_body, else 8,000 tokens."""
        if self._worst_usd is None:
            prices = self._profile.prices
            body = self._profile.endpoint.extra_body
            caps = [body[name] for name in _OUTPUT_CAPS if isinstance(body.get(name), int)]
            output = max(caps, default=ASSUMED_OUTPUT_TOKENS)
            self._worst_usd = _ZERO if prices is None else prices.worst(_tokens(self._messages), output)
        return self._worst_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Remember what was set aside for one call, and on which day; without an `id` nothing was.

    `limit_usd` is the model's own budget.
    """

    model: str
    limit_usd: Decimal | None = None
    day: datetime | None = None
    id: str = ""
    usd: Decimal = _ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Say what one call cost; `unknown_usd` is its worst case where it was cut off, so that nobody told the cost."""

    calls: int = 0
    usage: Usage = field(default_factory=Usage)
    unknown_usd: Decimal = _ZERO

    @property
    def nothing(self) -> bool:
        """Tell whether there is nothing to book."""
        return not self.calls and not self.unknown_usd


class Meter(Protocol):
    """Watch the budgets of one trader; every `reserve` that returns is followed by one `settle`."""

    async def reserve(self, quote: Quote) -> Hold:
        """Set the worst case aside; raise CallNotMade if the call must not be made."""
        ...

    async def settle(self, hold: Hold, charge: Charge) -> None:
        """Give back what was set aside and book what the call cost; never raises for a store that fails."""
        ...


class Unmetered:
    """Let every call through and book nothing."""

    async def reserve(self, quote: Quote) -> Hold:
        """Set nothing aside."""
        return Hold(model=quote.model)

    async def settle(self, hold: Hold, charge: Charge) -> None:
        """Book nothing."""


class MeteredModel:
    """Call a model within the budgets of a trader, and tell what each call cost.

    A call that is cut off without an answer is charged its worst case, apart from the costs that are known; one that
    the endpoint refused is free. Tokens that the endpoint does not count are estimated.
    """

    def __init__(self, model: ChatModel, profile: ModelProfile, meter: Meter) -> None:
        self._model = model
        self._profile = profile
        self._meter = meter

    @property
    def name(self) -> str:
        """Return the model's name as the endpoint knows it."""
        return self._model.name

    async def complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Completion:
        """Return one completion with its cost; raise CallNotMade if no budget is left for it."""
        quote = Quote(self._profile, messages)
        hold = await self._meter.reserve(quote)
        charge = Charge()
        try:
            completion = self._costed(messages, await self._model.complete(messages, schema))
            charge = Charge(calls=1, usage=completion.usage)
            return completion
        except (ModelTimeout, TimeoutError, anyio.get_cancelled_exc_class()):
            charge = Charge(unknown_usd=quote.worst_usd)
            raise
        finally:
            with anyio.move_on_after(SETTLE_S, shield=True):
                await self._meter.settle(hold, charge)

    async def ping(self) -> None:
        """Ask the endpoint whether it is there, which costs nothing."""
        await self._model.ping()

    async def close(self) -> None:
        """Close the model."""
        await self._model.close()

    def _costed(self, messages: Sequence[Message], completion: Completion) -> Completion:
        usage, prices = completion.usage, self._profile.prices
        if not usage.input_tokens and not usage.output_tokens:
            usage = Usage(input_tokens=_tokens(messages), output_tokens=estimate_tokens(completion.text))
        cost = _ZERO if prices is None else prices.cost(usage)
        return replace(completion, usage=replace(usage, cost_usd=cost))


def _tokens(messages: Sequence[Message]) -> int:
    return sum(estimate_tokens(message.text) for message in messages)
