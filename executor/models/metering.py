"""Between a model and its bill: the worst case is set aside before a call, the real cost booked after it."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, Protocol

import anyio
import structlog

from executor.contract import ZERO, Usage
from executor.errors import ExecutorConfigError, ModelError
from executor.models.chat import ChatModel, Completion, Message
from executor.models.profile import ModelProfile
from executor.models.usage import asked_tokens
from executor.prompts.tokens import estimate_tokens

ASSUMED_OUTPUT_TOKENS: Final = 8_000
SETTLE_S: Final = 5.0
_OUTPUT_CAPS: Final = ("max_completion_tokens", "max_tokens")
_LOG = structlog.get_logger(__name__)


def output_cap(extra_body: Mapping[str, Any]) -> int | None:
    """Return the most tokens that a reply may have, None where nothing usable limits them."""
    given = [extra_body.get(name) for name in _OUTPUT_CAPS]
    return max((cap for cap in given if isinstance(cap, int) and not isinstance(cap, bool) and cap > 0), default=None)


class Quote(Protocol):
    """Say what something can cost at most, and for how long that has to be set aside.

    `limit_usd` is the own budget of a day of what `model` names, None for none.
    """

    @property
    def model(self) -> str: ...
    @property
    def lasts_s(self) -> float: ...
    @property
    def limit_usd(self) -> Decimal | None: ...
    @property
    def worst_usd(self) -> Decimal: ...


class CallQuote:
    """Quote one call of a model; counted when it is asked for, because most calls have no budget.

    `model` is the name in the config; after `lasts_s` the call has ended, whatever became of it.
    """

    def __init__(
        self, profile: ModelProfile, messages: Sequence[Message], schema: Mapping[str, Any] | None = None
    ) -> None:
        self.model = profile.name
        self.lasts_s = profile.endpoint.timeout_s
        self.limit_usd = profile.budget_usd_per_day
        self._profile = profile
        self._messages = messages
        self._schema = schema or {}

    @cached_property
    def input_tokens(self) -> int:
        """Return an estimate of the tokens that are sent."""
        return asked_tokens(self._profile.endpoint, self._messages, self._schema)

    @property
    def worst_usd(self) -> Decimal:
        """Return the price of what is sent and of the longest reply: the cap in extra_body, else 8,000 tokens."""
        prices = self._profile.prices
        if prices is None:
            return ZERO
        output = output_cap(self._profile.endpoint.extra_body) or ASSUMED_OUTPUT_TOKENS
        return prices.worst(self.input_tokens, output)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Remember what was set aside for one call, and on which day; without an `id` nothing was.

    `limit_usd` is the model's own budget.
    """

    model: str
    limit_usd: Decimal | None = None
    day: datetime | None = None
    id: str = ""
    usd: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Say what one call cost; `unknown_usd` is its worst case where it may have run and nobody told the cost."""

    calls: int = 0
    usage: Usage = field(default_factory=Usage)
    unknown_usd: Decimal = ZERO

    @property
    def nothing(self) -> bool:
        """Tell whether there is nothing to book."""
        return not self.calls and not self.unknown_usd


# Many decisions are under way in one executor, and no call knows of which it is a part.
_MADE: ContextVar[list[Charge] | None] = ContextVar("charges", default=None)


@contextmanager
def charges() -> Iterator[list[Charge]]:
    """Collect what the calls made in the block are charged, also for a block around it."""
    made: list[Charge] = []
    around = _MADE.get()
    token = _MADE.set(made)
    try:
        yield made
    finally:
        _MADE.reset(token)
        if around is not None:
            around.extend(made)


def billed(made: Iterable[Charge]) -> Usage:
    """Return the sum of charges."""
    total = Usage()
    for one in made:
        total = Usage(
            input_tokens=total.input_tokens + one.usage.input_tokens,
            cached_tokens=total.cached_tokens + one.usage.cached_tokens,
            output_tokens=total.output_tokens + one.usage.output_tokens,
            cost_usd=total.cost_usd + one.usage.cost_usd,
            unknown_usd=total.unknown_usd + one.unknown_usd,
        )
    return total


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


class Bookings:
    """Book what calls cost without holding up who asked: what the database does not take at once is not given up."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._under_way: set[asyncio.Task[None]] = set()

    async def settle(self, hold: Hold, charge: Charge) -> None:
        """Wait for the booking for SETTLE_S at most, however the caller ends; never raises for it.

        The `charges` around it have it at once. A booking that takes longer goes on by itself; what is late, or cannot
        be booked, is logged with its amounts.
        """
        made = _MADE.get()
        if made is not None and not charge.nothing:
            made.append(charge)
        booking = asyncio.create_task(self._book(hold, charge))
        self._under_way.add(booking)
        booking.add_done_callback(self._under_way.discard)
        with anyio.move_on_after(SETTLE_S, shield=True):
            await asyncio.wait({booking})
        if not booking.done():
            self._late(hold, charge, f"the database has not taken it within {SETTLE_S:g} s; still being tried")

    async def _book(self, hold: Hold, charge: Charge) -> None:
        try:
            await self._meter.settle(hold, charge)
        except asyncio.CancelledError:
            self._late(hold, charge, "the process ended before the database had taken it")
            raise
        except Exception as error:  # noqa: BLE001 - whatever a booking meets, the reply that was paid for is kept
            self._late(hold, charge, repr(error))

    @staticmethod
    def _late(hold: Hold, charge: Charge, why: str) -> None:
        _LOG.error(
            "model_cost_not_booked",
            model=hold.model,
            usd=charge.usage.cost_usd,
            unknown_usd=charge.unknown_usd,
            input_tokens=charge.usage.input_tokens,
            output_tokens=charge.usage.output_tokens,
            error=why,
        )


class MeteredModel:
    """Call a model within the budgets of a trader, and tell what each call cost.

    Free is only a call that surely never ran (ModelError.ran). One that ended badly is charged what the endpoint says
    that it took, else its worst case, apart from the costs that are known. Tokens that nobody counts are estimated.
    """

    def __init__(self, model: ChatModel, profile: ModelProfile, meter: Meter) -> None:
        self._model = model
        self._profile = profile
        self._meter = meter
        self._bookings = Bookings(meter)

    @property
    def name(self) -> str:
        """Return the model's name as the endpoint knows it."""
        return self._model.name

    async def complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Completion:
        """Return one completion with its cost; raise CallNotMade if no budget is left for it."""
        quote = CallQuote(self._profile, messages, schema)
        hold = await self._meter.reserve(quote)
        charge = Charge()
        try:
            answered = await self._model.complete(messages, schema)
            completion = replace(answered, usage=self._costed(quote, answered.usage, answered.text))
            charge = Charge(calls=1, usage=completion.usage)
            return completion
        except ModelError as error:
            if error.usage is not None:
                charge = Charge(calls=1, usage=self._costed(quote, error.usage))
            elif error.ran:
                charge = Charge(unknown_usd=quote.worst_usd)
            raise
        except ExecutorConfigError:
            raise
        except BaseException:
            charge = Charge(unknown_usd=quote.worst_usd)
            raise
        finally:
            await self._bookings.settle(hold, charge)

    async def ping(self) -> None:
        """Ask the endpoint whether it is there, which costs nothing."""
        await self._model.ping()

    async def close(self) -> None:
        """Close the model."""
        await self._model.close()

    def _costed(self, quote: CallQuote, told: Usage, text: str = "") -> Usage:
        given = told.input_tokens or quote.input_tokens
        counted = Usage(
            input_tokens=given,
            cached_tokens=min(told.cached_tokens, given),
            output_tokens=told.output_tokens or estimate_tokens(text),
        )
        prices = self._profile.prices
        return counted if prices is None else replace(counted, cost_usd=prices.cost(counted))
