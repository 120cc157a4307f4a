"""Whatever a model says, parsing neither fails nor invents a decision."""

import json
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from executor.contract import Action, Decision
from executor.reply.parser import parse_reply
from executor_contexts import BTC, SOL, open_item, reply_text

SYMBOLS = frozenset({BTC, SOL})
FIELDS = sorted(Decision.__dataclass_fields__)
TEXT = st.text(st.characters(), max_size=12)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    TEXT,
    st.sampled_from([BTC, SOL, *Action, "~100", "1,000", "1e5", "-0", "NaN"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)
ITEMS = st.dictionaries(st.sampled_from(FIELDS) | TEXT, VALUES, max_size=9)
NEAR_MISSES = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3).map(lambda changes: open_item(**changes))


@settings(max_examples=300)
@given(st.text())
def test_any_text_is_survived_without_a_decision(text: str) -> None:
    assert parse_reply(text, SYMBOLS).decisions == ()


@settings(max_examples=300)
@given(VALUES)
def test_any_json_is_survived_without_a_decision(value: object) -> None:
    assert parse_reply(json.dumps(value), SYMBOLS).decisions == ()


@settings(max_examples=500)
@given(st.lists(ITEMS | NEAR_MISSES | VALUES, max_size=4))
def test_each_decision_says_what_its_item_said(items: list[Any]) -> None:
    reply = parse_reply(reply_text(*items), SYMBOLS)
    spoiled = {int(error.path[10 : error.path.index("]")]) for error in reply.errors}
    stood = [item for index, item in enumerate(items) if index not in spoiled]
    assert len(stood) == len(reply.decisions)
    for decision, item in zip(reply.decisions, stood, strict=True):
        _assert_said(decision, item)
    assert reply.usable == (bool(reply.decisions) or not items)


@settings(max_examples=300)
@given(st.integers(0, 400), st.text(max_size=6))
def test_a_damaged_reply_opens_nothing_else(cut: int, put: str) -> None:
    good = reply_text(open_item(), {"symbol": SOL, "action": "hold"})
    for decision in parse_reply(good[:cut] + put + good[cut + len(put) :], SYMBOLS).decisions:
        assert decision.symbol in SYMBOLS
        assert decision.position_size_usd is None or decision.position_size_usd > 0


def _assert_said(decision: Decision, item: dict[str, Any]) -> None:
    assert (decision.symbol, decision.action) == (item["symbol"], item["action"])
    for name in ("leverage", "position_size_usd", "stop_loss", "take_profit", "confidence", "risk_usd"):
        value = getattr(decision, name)
        if value is not None:
            assert value == Decimal(str(item[name]))
    if decision.action in (Action.OPEN_LONG, Action.OPEN_SHORT):
        assert decision.leverage is not None
        assert decision.leverage >= 1
        assert decision.position_size_usd is not None
        assert decision.position_size_usd > 0
    assert 0 < decision.fraction <= 1
    assert decision.fraction == Decimal(str(item.get("fraction") or 1)) or decision.action not in (
        "close_long",
        "close_short",
    )
    for text in (decision.reasoning, decision.invalidation):
        text.encode("utf-8")
