"""Between a remote executor and its bill: the worst case is set aside before it is asked, what it told booked after."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from executor.budget import Bookings, Charge, Meter
from executor.contract import Context, FullDecision, Outcome
from executor.errors import ModelError, RecordingMissing
from executor.remote.connections import Asking, RemoteEndpoint

_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionQuote:
    """Quote one decision elsewhere: it costs at most what the config says, nothing if it says nothing."""

    model: str
    lasts_s: float
    worst_usd: Decimal
    limit_usd: Decimal | None = None


class MeteredAsking:
    """Ask within the budgets of a trader.

    What the answer says it cost, or may have cost, is booked. A question without an answer is charged its worst case,
    apart from the costs that are known, and so is what remains of it when a server ran out of time and does not say
    what that may have cost; one that was refused is free.
    """

    def __init__(self, asking: Asking, endpoint: RemoteEndpoint, meter: Meter) -> None:
        self._asking = asking
        worst_usd = endpoint.max_usd_per_decision or _ZERO
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
            unknown = max(self._quote.worst_usd - usage.cost_usd, _ZERO)
        asked_models = usage.cost_usd or usage.input_tokens or usage.output_tokens
        return Charge(calls=1 if asked_models else 0, usage=usage, unknown_usd=unknown)
