"""A remote executor as an executor: one deadline, one budget, and every failure an outcome."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

import anyio

from executor.contract import ZERO, Context, FullDecision, ItemError, Outcome
from executor.errors import BudgetExhausted, ExecutorUnavailable, ModelError, RecordingMissing
from executor.models.metering import Bookings, Charge, Meter, Unmetered, billed, charges
from executor.remote.endpoint import Asking, RemoteEndpoint, RemoteSource
from executor.reply.text import clean_text

_PING_TIMEOUT_S: Final = 10.0
_HIDDEN: Final = "***"


class RemoteExecutor:
    """Ask a remote executor within the endpoint's deadline; what it answers is judged as a model's reply is.

    The connections belong to `source`, so that the traders of one endpoint share them; `close` leaves them open.
    """

    def __init__(
        self,
        endpoint: RemoteEndpoint,
        source: RemoteSource,
        monotonic: Callable[[], float],
        *,
        meter: Meter | None = None,
        trader: str = "",
    ) -> None:
        self._endpoint = endpoint
        self._asking = MeteredAsking(source.asking(endpoint), endpoint, meter or Unmetered())
        self._monotonic = monotonic
        self._trader = trader

    async def decide(self, context: Context) -> FullDecision:
        """Return the decision, or an outcome other than DECIDED with the reason in `errors`.

        Raises RecordingMissing in a replay that may ask nobody.
        """
        started = self._monotonic()
        with charges() as made:
            decision = await self._decided(context)
        return replace(decision, usage=billed(made), latency_s=self._monotonic() - started)

    async def ping(self) -> None:
        """Raise ExecutorUnavailable if the server cannot be reached, refuses the key or cannot decide for the trader.

        Its executor is asked too, which costs nothing.
        """
        timeout_s = min(_PING_TIMEOUT_S, self._endpoint.timeout_s)
        try:
            with anyio.fail_after(timeout_s):
                await self._asking.greet(self._trader)
        except TimeoutError:
            raise ExecutorUnavailable(f"{self._endpoint.shown} did not answer within {timeout_s:g} s") from None
        except ModelError as error:
            raise ExecutorUnavailable(self._clean(f"{self._endpoint.shown} {error}")) from None

    async def close(self) -> None:
        """Do nothing: the connections belong to who made them."""

    async def _decided(self, context: Context) -> FullDecision:
        try:
            with anyio.fail_after(self._endpoint.timeout_s):
                return await self._asking.ask(context)
        except TimeoutError:
            message = f"no decision within {self._endpoint.timeout_s:g} s; raise the timeout, or look at its server"
            return self._failed(Outcome.TIMEOUT, f"{self._endpoint.shown}: {message}")
        except RecordingMissing as error:
            raise error.asked_by(context.trader_id, context.now) from error
        except BudgetExhausted as error:
            return self._failed(error.outcome, str(error))
        except ModelError as error:
            return self._failed(error.outcome, f"{self._endpoint.shown} {error}")
        except ValueError as error:
            return self._failed(Outcome.UNAVAILABLE, f"the context cannot be sent ({error})")

    def _failed(self, outcome: Outcome, message: str) -> FullDecision:
        error = ItemError(path="executor", message=self._clean(message))
        return FullDecision(outcome=outcome, errors=(error,))

    def _clean(self, message: str) -> str:
        key = self._endpoint.key
        return clean_text(message.replace(key, _HIDDEN) if key else message, 1_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionQuote:
    """Quote one remote decision: the most that the config allows for it, nothing if the config does not say."""

    model: str
    lasts_s: float
    worst_usd: Decimal
    limit_usd: Decimal | None = None


class MeteredAsking:
    """Ask within the budgets of a trader: the worst case is set aside before, what the answer tells is booked after.

    A question without an answer is charged its worst case, apart from the costs that are known, and so is what remains
    of it when a server ran out of time and does not say what that may have cost. One that was refused is free.
    """

    def __init__(self, asking: Asking, endpoint: RemoteEndpoint, meter: Meter) -> None:
        self._asking = asking
        worst_usd = endpoint.max_usd_per_decision or ZERO
        self._quote = DecisionQuote(model=endpoint.name, lasts_s=endpoint.timeout_s, worst_usd=worst_usd)
        self._meter = meter
        self._bookings = Bookings(meter)

    async def ask(self, context: Context) -> FullDecision:
        """Return the decision; raise CallNotMade if no budget is left for it, else what the question raises."""
        hold = await self._meter.reserve(self._quote)
        charge = Charge(unknown_usd=self._quote.worst_usd)
        try:
            decision = await self._asking.ask(context)
            charge = self._charge(decision)
            return decision
        except ModelError as error:
            charge = charge if error.ran else Charge()
            raise
        except (ValueError, RecordingMissing):
            charge = Charge()
            raise
        finally:
            await self._bookings.settle(hold, charge)

    async def greet(self, trader: str) -> None:
        """Greet, which costs nothing."""
        await self._asking.greet(trader)

    def _charge(self, decision: FullDecision) -> Charge:
        usage, unknown = decision.usage, decision.usage.unknown_usd
        if decision.outcome is Outcome.TIMEOUT and not unknown:
            unknown = max(self._quote.worst_usd - usage.cost_usd, ZERO)
        asked_models = usage.cost_usd or usage.input_tokens or usage.output_tokens
        return Charge(calls=1 if asked_models else 0, usage=usage, unknown_usd=unknown)
