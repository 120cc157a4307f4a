"""The shipped templates render, print the limits that are enforced, and show an example that is itself valid."""

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from executor.contract import Action, Context, Indicators, Limits, MarketView, RenderedPrompt
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import PLACEHOLDERS, SampleView, sample_context
from executor.reply.parser import parse_reply

FOLDER = Path(__file__).parents[4] / "prompts"
TEMPLATES = ("aggressive_short.md", "btc_focused.md", "conservative_long.md", "general.md", "grid.md")
ODD = Limits(
    max_positions=7,
    max_position_size_usd=Decimal("1234.5"),
    max_margin_usage_pct=Decimal(41),
    major_coin_leverage=2,
    altcoin_leverage=1,
    min_risk_reward_ratio=Decimal("2.75"),
    min_confidence=Decimal(91),
    max_drawdown_pct=Decimal(13),
    cooldown_after_stop_s=777,
    max_entries_per_hour=9,
)


def render(template: str, context: Context | None = None) -> RenderedPrompt:
    return PromptLibrary(FOLDER).render(template, context or sample_context())


def example_of(prompt: RenderedPrompt) -> str:
    (example,) = re.findall(r"```json\n(.*?)\n```", prompt.system, re.DOTALL)
    return str(example)


def test_every_template_of_the_folder_is_tested() -> None:
    assert sorted(path.name for path in FOLDER.glob("[a-z]*.md")) == list(TEMPLATES)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("limits", [Limits(), ODD], ids=["default", "odd"])
def test_the_example_validates_within_the_limits(template: str, limits: Limits) -> None:
    context = sample_context(limits=limits)
    example = example_of(render(template, context))
    for placeholder, symbol in zip(PLACEHOLDERS, context.symbols, strict=True):
        example = example.replace(placeholder, symbol)
    reply = parse_reply(example, context.symbols)
    assert reply.errors == ()
    opened, closed = reply.decisions
    expected = Action.OPEN_SHORT if template == "aggressive_short.md" else Action.OPEN_LONG
    assert opened.action is expected
    assert closed.fraction == Decimal("0.5")
    assert opened.leverage is not None
    assert opened.leverage <= limits.max_leverage(opened.symbol)
    assert opened.position_size_usd is not None
    assert opened.position_size_usd <= limits.max_position_size_usd
    assert opened.confidence is not None
    assert opened.confidence >= limits.min_confidence
    assert opened.stop_loss is not None
    assert opened.take_profit is not None
    assert (opened.take_profit - 100) / (100 - opened.stop_loss) >= limits.min_risk_reward_ratio


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("form", ["{}", "```json\n{}\n```", "Here is my decision:\n{}"])
def test_the_example_sent_back_trades_nothing(template: str, form: str) -> None:
    context = sample_context()
    reply = parse_reply(form.replace("{}", example_of(render(template, context))), context.symbols)
    assert (reply.usable, reply.decisions) == (False, ())
    assert {error.path for error in reply.errors} == {"decisions[0].symbol", "decisions[1].symbol"}


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_enforced_limits_are_printed(template: str) -> None:
    system = render(template, sample_context(limits=ODD)).system
    for shown in (
        "at most 7.",
        "1234.5 USD",
        "41 %",
        "at most 2 for BTC and ETH, at most 1 for",
        "2.75",
        "91",
        "13 %",
        "777",
        "9 an hour",
    ):
        assert shown in system


@pytest.mark.parametrize("template", TEMPLATES)
def test_only_actions_of_the_contract_are_offered(template: str) -> None:
    prompt = render(template)
    offered = set(re.findall(r"`((?:open|close|adjust)_\w+|hold|wait|target|buy|sell)`", prompt.system))
    assert offered == {*Action} - {Action.TARGET}


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_changes_stays_out_of_the_static_part(template: str) -> None:
    context = sample_context()
    later = replace(
        context,
        now=context.now.replace(hour=15),
        positions=(),
        denials=(),
        account=replace(context.account, equity=Decimal(7)),
        market={symbol: replace_mark(view) for symbol, view in context.market.items()},
    )
    one, other = render(template, context), render(template, later)
    assert one.system == other.system
    assert one.user != other.user
    assert one.sha256 != other.sha256


def replace_mark(view: MarketView) -> SampleView:
    return SampleView(symbol=view.symbol, mark=Decimal(55), indicators=Indicators())


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_data_is_complete(template: str) -> None:
    context = sample_context()
    user = render(template, context).user
    for shown in (
        "958.33",
        "short 1.25 at 101.5",
        "stop 103.5",
        "COOLDOWN",
        "EMA20 99.8",
        "99.9, 100",
        "2025-01-15 12:00:00 UTC",
    ):
        assert shown in user
    assert "RSI14 n/a" in user
    assert "nan" not in user.lower()
    assert "None" not in user.replace("None.", "")


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_symbol_without_a_price_is_said_to_have_none(template: str) -> None:
    context = replace(sample_context(), market={}, positions=(), denials=())
    assert render(template, context).user.count("No price yet") == len(context.symbols)
