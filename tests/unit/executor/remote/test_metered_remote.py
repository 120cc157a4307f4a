"""What a question to a remote executor is charged: what it told, its worst case where nobody told, or nothing."""

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from executor.contract import Context, FullDecision, Outcome, Usage
from executor.errors import (
    BudgetExhausted,
    BudgetUnknown,
    CallRejected,
    ModelOverloaded,
    ModelTimeout,
    ModelUnreachable,
    RateLimited,
    Unauthorized,
    UnreadableAnswer,
)
from executor.models.metering import Charge, Hold, Quote
from executor.prompts.sample import sample_context
from executor.remote.endpoint import Asking, RemoteEndpoint, lost
from executor.remote.executor import RemoteExecutor

WORST = Decimal("0.5")
ENDPOINT = RemoteEndpoint(url="https://executor.example.com:8443", key="k", timeout_s=0.2, max_usd_per_decision=WORST)
USED = Usage(input_tokens=100, output_tokens=5, cost_usd=Decimal("0.02"))
MAYBE = replace(USED, unknown_usd=Decimal("0.1"))


class Source:
    """Answer as told."""

    def __init__(self, answer: FullDecision | Exception | None) -> None:
        self._answer = answer
        self.asked = 0

    def asking(self, endpoint: RemoteEndpoint) -> Asking:
        """Return itself."""
        assert endpoint is ENDPOINT
        return self

    async def ask(self, context: Context) -> FullDecision:
        """Answer, fail, or hang."""
        del context
        self.asked += 1
        if isinstance(self._answer, Exception):
            raise self._answer
        if self._answer is None:
            await asyncio.Event().wait()
        assert self._answer is not None
        return self._answer

    async def greet(self, trader: str) -> None:
        """Answer."""

    async def close(self) -> None:
        """Hold nothing."""


class Meter:
    """Note what is set aside and what is charged."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self._refused = refusal
        self.quotes: list[Quote] = []
        self.charges: list[Charge] = []

    async def reserve(self, quote: Quote) -> Hold:
        """Note the quote, or refuse it."""
        self.quotes.append(quote)
        if self._refused is not None:
            raise self._refused
        return Hold(model=quote.model, usd=quote.worst_usd)

    async def settle(self, hold: Hold, charge: Charge) -> None:
        """Note the charge."""
        assert hold.usd == WORST
        self.charges.append(charge)


def decided(answer: FullDecision | Exception | None, meter: Meter) -> tuple[FullDecision, int]:
    source = Source(answer)
    executor = RemoteExecutor(ENDPOINT, source, lambda: 0.0, meter=meter)
    return asyncio.run(executor.decide(sample_context())), source.asked


CHARGES = [
    (FullDecision(usage=USED), Charge(calls=1, usage=USED)),
    (FullDecision(outcome=Outcome.INVALID_REPLY, usage=USED), Charge(calls=1, usage=USED)),
    (FullDecision(outcome=Outcome.TIMEOUT, usage=USED), Charge(calls=1, usage=USED, unknown_usd=Decimal("0.48"))),
    (
        FullDecision(outcome=Outcome.TIMEOUT, usage=MAYBE),
        Charge(calls=1, usage=MAYBE, unknown_usd=Decimal("0.1")),
    ),
    (
        FullDecision(outcome=Outcome.UNAVAILABLE, usage=Usage(unknown_usd=Decimal("0.1"))),
        Charge(usage=Usage(unknown_usd=Decimal("0.1")), unknown_usd=Decimal("0.1")),
    ),
    (FullDecision(), Charge()),
    (None, Charge(unknown_usd=WORST)),
    (ModelTimeout("late"), Charge(unknown_usd=WORST)),
    (lost("cut"), Charge(unknown_usd=WORST)),
    (UnreadableAnswer("what"), Charge(unknown_usd=WORST)),
    (ModelOverloaded("500"), Charge(unknown_usd=WORST)),
    (ModelUnreachable("no connection"), Charge()),
    (RateLimited("429"), Charge()),
    (Unauthorized("401"), Charge()),
    (CallRejected("422"), Charge()),
    (ValueError("no UTF-8"), Charge()),
]


@pytest.mark.parametrize(("answer", "charge"), CHARGES, ids=[repr(row[0])[:40] for row in CHARGES])
def test_a_question_is_charged_what_it_may_have_cost(answer: FullDecision | Exception | None, charge: Charge) -> None:
    meter = Meter()
    decision, _ = decided(answer, meter)
    assert meter.charges == [charge]
    assert decision.usage == replace(charge.usage, unknown_usd=charge.unknown_usd)
    (quote,) = meter.quotes
    assert (quote.model, quote.worst_usd, quote.limit_usd) == ("remote executor.example.com:8443", WORST, None)
    assert quote.lasts_s == ENDPOINT.timeout_s


@pytest.mark.parametrize(
    ("refusal", "outcome"),
    [(BudgetExhausted("nothing left"), Outcome.BUDGET_EXHAUSTED), (BudgetUnknown("no database"), Outcome.UNAVAILABLE)],
)
def test_without_a_budget_nobody_is_asked(refusal: Exception, outcome: Outcome) -> None:
    meter = Meter(refusal)
    decision, asked = decided(FullDecision(), meter)
    assert (decision.outcome, asked, meter.charges) == (outcome, 0, [])
    assert str(refusal) in decision.errors[0].message
