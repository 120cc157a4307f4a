"""docs/risk-codes.md is what the registry says, and the registry is complete."""

from pathlib import Path

from manager.desk.risk.registry import ACCOUNT_RULES, ADJUST_RULES, LOCAL_RULES, OTHER_CODES, WIDENING_RULES
from manager.desk.risk.rule import Stage
from pages import risk_codes as codes

ROOT = Path(__file__).parents[5]
WRITTEN_DOWN = """
TRADING_DISABLED HALTED REDUCING TRADER_NOT_RUNNING TRADER_ISOLATED COOLDOWN ENTRY_RATE SAFE_MODE INTENT_STALE
MARKET_STALE ACCOUNT_STALE SYMBOL_NOT_ALLOWED INSTRUMENT_HALTED OUTSIDE_HOURS SYMBOL_UNRESOLVED CONFIDENCE_TOO_LOW
RISK_REWARD_TOO_LOW STOP_LOSS_MISSING STOP_LOSS_WRONG_SIDE TAKE_PROFIT_WRONG_SIDE STOP_BEYOND_LIQUIDATION
OPPOSITE_OWN_POSITION REDUCE_INCOMPLETE ENTRY_PRICE_MOVED MAX_POSITIONS_TRADER MAX_POSITION_SIZE MARGIN_USAGE_TRADER
ALLOCATION_EXCEEDED MARGIN_USAGE_GLOBAL MAX_POSITIONS_GLOBAL SYMBOL_EXPOSURE UNREALIZED_LOSS MAX_DRAWDOWN
BELOW_MIN_NOTIONAL OPEN_ORDERS_LIMIT INSUFFICIENT_MARGIN FX_SIZE FX_DAILY_COUNT LIQUIDATION_BLOCKED DIRECTION
BOOK_LIQUIDATED
"""


def test_the_page_is_current() -> None:
    page = (ROOT / "docs" / "risk-codes.md").read_text(encoding="utf-8")
    assert page == codes.render(), "run: make docs"


def test_every_code_of_the_rules_is_registered() -> None:
    registered = {rule.code for rule in LOCAL_RULES} | {rule.code for rule in ACCOUNT_RULES}
    registered |= {code.code for code in OTHER_CODES}
    assert set(WRITTEN_DOWN.split()) <= registered
    assert all(f"| {code}" in codes.render() for code in registered)


def test_a_stage_lists_a_code_once() -> None:
    for codes_of_stage in ([rule.code for rule in LOCAL_RULES], [rule.code for rule in ACCOUNT_RULES]):
        assert len(set(codes_of_stage)) == len(codes_of_stage)
    assert {rule.stage for rule in LOCAL_RULES} == {Stage.LOCAL}
    assert {rule.stage for rule in ACCOUNT_RULES} == {Stage.ACCOUNT}


def test_whatever_refuses_every_change_refuses_widening() -> None:
    assert set(ADJUST_RULES) < set(WIDENING_RULES)
