"""What a prompt says of the desk is what the desk does, and it names nobody else."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from desk_factory import AT, BTC, ETH, SOL, make_candidate, make_intent, make_position, make_trader, make_view
from exchanges.types import Instrument
from executor.contract import Action, Decision
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context
from manager.desk.plan.conflict_resolver import resolve
from manager.desk.plan.outcomes import Clamp
from manager.desk.plan.values import ConflictStrategy
from manager.desk.risk.registry import ACCOUNT_RULES, LOCAL_RULES
from manager.desk.risk.standing import OpenCase, Standing
from manager.desk.risk.trader import cooldown, symbol_unresolved
from manager.state.records import IntentId
from traders.context import told_denial
from traders.spec import TraderId

PROMPTS = PromptLibrary(Path(__file__).parents[4] / "prompts")
HOLDERS = ("secret_whale", "hidden_bear", "quiet")


@pytest.mark.parametrize("strategy", list(ConflictStrategy))
def test_no_conflict_tells_a_trader_who_the_others_are(strategy: ConflictStrategy) -> None:
    desk = make_view(
        make_trader("quiet"),
        make_trader("secret_whale", make_position(BTC, -50)),
        make_trader("hidden_bear", make_position(ETH, 7)),
        strategy=strategy,
    )
    entries = [
        make_candidate(name, direction, confidence=80 + rank, symbol=symbol, after_s=rank)
        for symbol in (BTC, ETH, SOL)
        for rank, (name, direction) in enumerate(zip(HOLDERS, (1, -1, 1), strict=True))
    ]
    denied = resolve(desk, entries, []).denials
    assert bool(denied) == (strategy is not ConflictStrategy.NET)
    for one in denied:
        told = told_denial(one.symbol, "open_long", one.code, one.detail)
        assert not [name for name in HOLDERS if name in told.detail]
        assert not [digit for digit in "0123456789" if digit in told.detail]


def test_a_position_from_outside_tells_no_name_either() -> None:
    external = make_trader("EXTERNAL", make_position(BTC, 9)).book
    desk = make_view(make_trader("quiet"), make_trader("secret_whale", make_position(BTC, -50)), external=external)
    finding = symbol_unresolved(_case(desk.traders[TraderId("quiet")], desk, BTC))
    assert finding is not None
    assert "secret_whale" in finding.detail
    assert "secret_whale" not in told_denial(BTC, "open_long", "SYMBOL_UNRESOLVED", finding.detail).detail


@pytest.mark.parametrize("code", sorted({rule.code for rule in ACCOUNT_RULES} - {rule.code for rule in LOCAL_RULES}))
def test_no_check_of_the_account_tells_its_figures(code: str) -> None:
    figures = ("equity", "margin_after_usd", "other_margin_usd", "limit_usd", "long_usd", "short_usd", "loss_usd")
    numbers = dict.fromkeys((*figures, "positions", "open_orders", "limit"), "98765") | {"size_usd": "500"}
    assert told_denial(BTC, "open_long", code, "too much", numbers).detail == "too much; size_usd 500"


def test_other_denials_are_told_with_their_numbers() -> None:
    numbers = {"before": "900", "after": "800", "equity": "1000"}
    assert told_denial(BTC, "open_long", "COOLDOWN", "900 s left").detail == "900 s left"
    told = told_denial(BTC, "open_long", "MARGIN_USAGE_TRADER", "cut from 900 to 800", numbers)
    assert told.detail == "cut from 900 to 800; equity 1000"


def test_a_cut_is_told_in_plain_figures() -> None:
    exact = Decimal("719.21552772553537300722")
    clamp = Clamp(
        intent_id=IntentId("i"), trader_id=TraderId("one"), symbol=BTC, code="X", before=Decimal("900.0"), after=exact
    )
    assert (clamp.detail, clamp.numbers["after"]) == ("cut from 900 to 719.21552773", str(exact))


@pytest.mark.parametrize("symbol", [BTC, SOL])
def test_the_cooldown_is_printed_as_it_is_enforced(symbol: str) -> None:
    trader = make_trader("one", last_stop_at=AT - timedelta(minutes=1))
    desk = make_view(trader)
    assert cooldown(_case(trader, desk, symbol)) is not None
    printed = PROMPTS.render("general.md", sample_context()).system
    assert "- After any of your stops is hit: no entry in any symbol for 900 seconds.\n" in printed


def test_a_held_symbol_off_the_list_may_be_closed_and_the_prompt_says_so() -> None:
    context = sample_context()
    held = replace(context.positions[0], symbol="DOGE/USDT:USDT")
    printed = PROMPTS.render("general.md", replace(context, positions=(held,))).system
    assert "A symbol that you still hold\nbeside them you may reduce or close" in printed
    assert "A symbol that is neither yours to trade nor held by you" in printed


def _case(trader: object, desk: object, symbol: str) -> OpenCase:
    decision = Decision(symbol=symbol, action=Action.OPEN_LONG)
    return OpenCase(
        standing=Standing(desk, trader),  # type: ignore[arg-type]  # both from the factory
        intent=make_intent("one", decision),
        symbol=symbol,  # type: ignore[arg-type]  # one of the factory's
        direction=1,
        mark=None,
        price=Decimal(10),
        instrument=Instrument(symbol=symbol),  # type: ignore[arg-type]  # one of the factory's
        leverage=1,
    )
