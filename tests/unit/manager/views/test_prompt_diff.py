"""Two templates on the same contexts: every intent is shown, only what both decided is compared."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from executor.contract import Action, Context, Decision, FullDecision, Outcome, RenderedPrompt, Usage
from executor.prompts.sample import sample_context
from executor_contexts import BTC, SOL
from manager.views.prompt_diff import Comparison, Side, compare

LONG = Decision(symbol=BTC, action=Action.OPEN_LONG, leverage=3, position_size_usd=Decimal(500), stop_loss=Decimal(98))
HOLD = Decision(symbol=BTC, action=Action.HOLD)
CLOSE = Decision(symbol=SOL, action=Action.CLOSE_SHORT, fraction=Decimal("0.5"))
PROMPT = RenderedPrompt(system="s", user="u", sha256="h", template="t", version=1, tokens=100, cuts=("closes",))


@dataclass
class Scripted:
    """Answer the contexts in their order."""

    answers: dict[str, FullDecision]

    async def decide(self, context: Context) -> FullDecision:
        """Return the answer for the context's trader."""
        return self.answers[context.trader_id]

    async def ping(self) -> None:
        """Answer."""

    async def close(self) -> None:
        """Hold nothing."""


async def compared(first: Sequence[FullDecision], second: Sequence[FullDecision]) -> Comparison:
    contexts = [replace(sample_context(), trader_id=f"t{number}") for number in range(len(first))]
    one, other = (
        Side(template=name, executor=Scripted({f"t{number}": full for number, full in enumerate(answers)}))
        for name, answers in (("a.md", first), ("b.md", second))
    )
    return await compare(contexts, one, other, lambda fraction: None)


def decided(*items: Decision) -> FullDecision:
    usage = Usage(input_tokens=10, cached_tokens=4, output_tokens=2, cost_usd=Decimal("0.25"))
    return FullDecision(decisions=items, usage=usage, latency_s=2.0, prompt=PROMPT)


async def test_the_same_action_agrees_whatever_its_size() -> None:
    found = await compared([decided(LONG)], [decided(replace(LONG, position_size_usd=Decimal(9)))])
    assert [row.same for row in found.rows] == [True, True]
    assert (found.agreement_pct, found.compared) == (100.0, 2)
    assert found.rows[0].first == "open_long 500 USD x3 stop 98"


async def test_holding_waiting_and_silence_are_the_same() -> None:
    found = await compared([decided(HOLD)], [decided()])
    assert (found.agreement_pct, [row.first for row in found.rows]) == (100.0, ["-", "-"])


async def test_another_action_differs() -> None:
    found = await compared([decided(LONG, CLOSE)], [decided(LONG)])
    assert [(row.symbol, row.same) for row in found.rows] == [(BTC, True), (SOL, False)]
    assert found.rows[1].first == "close_short fraction 0.5"
    assert found.agreement_pct == 50.0


async def test_what_one_side_failed_to_decide_is_shown_and_not_compared() -> None:
    failed = FullDecision(outcome=Outcome.TIMEOUT)
    found = await compared([failed, decided()], [decided(), decided()])
    assert (found.rows[0].first, found.rows[0].verdict, found.rows[2].verdict) == ("(timeout)", "failed", "same")
    assert (found.compared, found.agreement_pct) == (2, 100.0)
    nothing = await compared([failed], [failed])
    assert (nothing.compared, nothing.agreement_pct) == (0, None)


async def test_costs_are_summed_by_template() -> None:
    found = await compared([decided(LONG), decided()], [decided(), FullDecision(outcome=Outcome.REFUSED)])
    totals = found.first
    assert (totals.input_tokens, totals.cached_tokens, totals.output_tokens) == (20, 8, 4)
    assert (totals.cost_usd, totals.latency_s, totals.prompt_tokens, totals.cut_prompts) == (
        Decimal("0.50"),
        2.0,
        200,
        2,
    )
    assert totals.actions == {"open_long": 1}
    assert found.second.outcomes == {"decided": 1, "refused": 1}
