"""What commands print of the cost of models."""

from dataclasses import replace
from decimal import Decimal

import pytest

from executor.contract import Usage
from manager.cli.status import cost_text, show_model_costs
from manager.cli.why import StoryText
from manager.state.records import DecisionId, IntentId
from manager.views.costs import ModelCost
from manager.views.why import ExplainedIntent, Story
from state_rows import AT
from traders.spec import TraderId

TENANT = ModelCost(
    scope="tenant",
    name="",
    calls=3,
    input_tokens=700,
    cached_tokens=300,
    output_tokens=50,
    spent_usd=Decimal("0.5"),
    unknown_usd=Decimal("0.1"),
    reserved_usd=Decimal("0.2"),
    budget_usd=Decimal(9),
)


def test_models_are_shown_with_all_that_counts_against_their_budget(capsys: pytest.CaptureFixture[str]) -> None:
    show_model_costs([TENANT, replace(TENANT, scope="model", name="big", budget_usd=None)])
    title, head, tenant, big = capsys.readouterr().out.splitlines()
    assert title == "Models today (UTC)"
    assert head.split("  ")[0] == "model"
    assert tenant.split() == ["all", "3", "700", "300", "50", "0.5000", "0.1000", "0.2000", "9.0000"]
    assert big.split() == ["big", "3", "700", "300", "50", "0.5000", "0.1000", "0.2000", "-"]


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (TENANT, "0.5000 + 0.2000 reserved + 0.1000 unknown of 9.0000"),
        (replace(TENANT, unknown_usd=Decimal(0), budget_usd=None), "0.5000 + 0.2000 reserved"),
        (
            replace(TENANT, spent_usd=Decimal("0.0029"), reserved_usd=Decimal(0), unknown_usd=Decimal(0)),
            "0.0029 of 9.0000",
        ),
        (replace(TENANT, reserved_usd=Decimal(0), budget_usd=Decimal("0.004")), "0.5000 + 0.1000 unknown of 0.0040"),
    ],
)
def test_what_is_only_held_is_told_beside_what_was_spent(cost: ModelCost, text: str) -> None:
    assert cost_text(cost) == text


def test_without_models_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show_model_costs([])
    assert capsys.readouterr().out == ""


def test_why_tells_the_tokens_of_a_decision(capsys: pytest.CaptureFixture[str]) -> None:
    usage = Usage(
        input_tokens=700, cached_tokens=300, output_tokens=50, cost_usd=Decimal("0.0025"), unknown_usd=Decimal("0.5")
    )
    intent = ExplainedIntent(
        intent_id=IntentId("i"),
        trader_id=TraderId("t"),
        decision_id=DecisionId("d"),
        decided_at=AT,
        usage=usage,
    )
    nothing: tuple[()] = ()
    story = Story(
        kind="intent",
        order=None,
        other_orders=nothing,
        round=None,
        intents=(intent,),
        origins=nothing,
        verdicts=nothing,
        conflicts=nothing,
        fills=nothing,
        parts=nothing,
    )
    StoryText(story).show()
    assert "700 tokens in (300 cached), 50 out, 0.0025 USD and up to 0.5 USD of unknown cost" in capsys.readouterr().out
