"""An executor elsewhere as an executor: one deadline, one budget, and every failure an outcome."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import anyio

from executor.budget import Meter, Unmetered, billed, charges
from executor.contract import Context, FullDecision, ItemError, Outcome
from executor.errors import (
    BudgetExhausted,
    ExecutorUnavailable,
    ModelError,
    ModelTimeout,
    RateLimited,
    RecordingMissing,
    Unauthorized,
)
from executor.remote.connections import RemoteEndpoint, RemoteSource
from executor.remote.metered import MeteredAsking
from executor.reply.parser import clean_text

_OUTCOMES: Final[Mapping[type[ModelError], Outcome]] = MappingProxyType(
    {
        ModelTimeout: Outcome.TIMEOUT,
        Unauthorized: Outcome.UNAUTHORIZED,
        RateLimited: Outcome.RATE_LIMITED,
        BudgetExhausted: Outcome.BUDGET_EXHAUSTED,
    }
)
_PING_TIMEOUT_S: Final = 10.0
_HIDDEN: Final = "***"


class RemoteExecutor:
    """Ask an executor elsewhere within the endpoint's deadline; what it answers is judged as a model's reply is.

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
            return self._failed(Outcome.BUDGET_EXHAUSTED, str(error))
        except ModelError as error:
            outcome = _OUTCOMES.get(type(error), Outcome.UNAVAILABLE)
            return self._failed(outcome, f"{self._endpoint.shown} {error}")
        except ValueError as error:
            return self._failed(Outcome.UNAVAILABLE, f"the context cannot be sent ({error})")

    def _failed(self, outcome: Outcome, message: str) -> FullDecision:
        error = ItemError(path="executor", message=self._clean(message))
        return FullDecision(outcome=outcome, errors=(error,))

    def _clean(self, message: str) -> str:
        key = self._endpoint.key
        return clean_text(message.replace(key, _HIDDEN) if key else message, 1_000)
