"""What is configured about a model: where it is, how it may be used and what it costs."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from executor.contract import Usage
from executor.models.chat import ModelEndpoint

MAX_CONCURRENCY: Final = 64
_MILLION: Final = Decimal(1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrices:
    """Hold what a million tokens cost in USD; cached ones are a part of the input."""

    input: Decimal
    cached_input: Decimal
    output: Decimal

    def cost(self, usage: Usage) -> Decimal:
        """Return what `usage` costs in USD, exactly."""
        cached = min(usage.cached_tokens, usage.input_tokens)
        fresh = usage.input_tokens - cached
        return (fresh * self.input + cached * self.cached_input + usage.output_tokens * self.output) / _MILLION

    def worst(self, input_tokens: int, output_tokens: int) -> Decimal:
        """Return what so many tokens can cost at most, whichever of them are cached."""
        return (input_tokens * max(self.input, self.cached_input) + output_tokens * self.output) / _MILLION


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProfile:
    """Define one entry of `models:`; its limits count for the endpoint, whoever uses it.

    Without a `max_concurrency` of any of its names an endpoint has MAX_CONCURRENCY places.
    The budget is for a UTC day and all traders of the tenant.
    """

    name: str
    endpoint: ModelEndpoint
    max_concurrency: int | None = None
    requests_per_minute: int | None = None
    prices: TokenPrices | None = None
    budget_usd_per_day: Decimal | None = None
