"""The baseline is deterministic, trades within its limits and leaves when its signal turns."""

import asyncio
import pickle
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from executor.baseline.executor import BaselineExecutor
from executor.baseline.styles import Style
from executor.contract import Action, Context, Decision, FullDecision, Indicators, Limits
from executor_contexts import BTC, SOL, market_context, position

UP = Indicators(
    ema_20=99.0,
    ema_50=97.0,
    macd=0.5,
    macd_signal=0.2,
    rsi_14=66.0,
    atr_14=1.0,
    high_20=100.1,
    low_20=92.0,
    bollinger_upper=101.0,
    bollinger_lower=95.0,
)
DOWN = Indicators(
    ema_20=101.0,
    ema_50=103.0,
    macd=-0.5,
    macd_signal=-0.2,
    rsi_14=34.0,
    atr_14=1.0,
    high_20=108.0,
    low_20=99.9,
    bollinger_upper=105.0,
    bollinger_lower=99.0,
)
OVERSOLD = Indicators(
    ema_20=103.0,
    ema_50=103.0,
    rsi_14=20.0,
    atr_14=1.0,
    bollinger_upper=108.0,
    bollinger_lower=100.5,
    macd=0.0,
    macd_signal=0.0,
    high_20=109.0,
    low_20=98.0,
)
CALM = Indicators(
    ema_20=100.0, ema_50=100.0, macd=0.0, macd_signal=0.0, rsi_14=50.0, atr_14=1.0, high_20=103.0, low_20=97.0,
    bollinger_upper=103.0, bollinger_lower=97.0,
)  # fmt: skip
TRADING = (Style.TREND, Style.MEAN_REVERSION, Style.BREAKOUT, Style.SHORT_BIASED)
SIGNALS = [
    (Style.TREND, UP, Action.OPEN_LONG),
    (Style.TREND, DOWN, Action.OPEN_SHORT),
    (Style.MEAN_REVERSION, OVERSOLD, Action.OPEN_LONG),
    (Style.BREAKOUT, UP, Action.OPEN_LONG),
    (Style.BREAKOUT, DOWN, Action.OPEN_SHORT),
    (Style.SHORT_BIASED, DOWN, Action.OPEN_SHORT),
]
NUMBERS = st.none() | st.floats(0.5, 200.0)
INDICATORS = st.builds(
    Indicators,
    ema_20=NUMBERS,
    ema_50=NUMBERS,
    macd=st.none() | st.floats(-5, 5),
    macd_signal=st.none() | st.floats(-5, 5),
    rsi_14=st.none() | st.floats(0, 100),
    atr_14=st.none() | st.floats(0, 60) | st.just(float("nan")),
    bollinger_upper=NUMBERS,
    bollinger_lower=NUMBERS,
    high_20=NUMBERS,
    low_20=NUMBERS,
)
PRICES = st.decimals("0.00001", "150000", places=5)
LIMITS = st.builds(
    Limits,
    max_positions=st.integers(1, 4),
    max_position_size_usd=st.decimals("10", "100000", places=3),
    major_coin_leverage=st.integers(1, 20),
    altcoin_leverage=st.integers(1, 5),
    min_risk_reward_ratio=st.decimals("0", "12", places=2),
    min_confidence=st.decimals("0", "100", places=2),
)


def scaled(indicators: Indicators, factor: float) -> Indicators:
    prices = {name: getattr(indicators, name) for name in Indicators.__dataclass_fields__ if name != "rsi_14"}
    return replace(indicators, **{name: value * factor for name, value in prices.items() if value is not None})


def plan(style: Style, context: Context) -> FullDecision:
    return BaselineExecutor(style).plan(context)


def only(style: Style, context: Context) -> Decision:
    (decision,) = plan(style, context).decisions
    return decision


@pytest.mark.parametrize(("style", "indicators", "action"), SIGNALS)
def test_each_style_opens_on_its_signal(style: Style, indicators: Indicators, action: Action) -> None:
    assert only(style, market_context({BTC: indicators})).action is action


@pytest.mark.parametrize("style", Style)
@pytest.mark.parametrize("indicators", [CALM, Indicators()], ids=["calm", "no history"])
def test_without_a_signal_nothing_is_done(style: Style, indicators: Indicators) -> None:
    assert plan(style, market_context({BTC: indicators})).decisions == ()


def test_hold_never_trades() -> None:
    assert plan(Style.HOLD, market_context({BTC: UP, SOL: DOWN}, positions=(position(BTC, "-1"),))).decisions == ()


@pytest.mark.parametrize(
    ("style", "quantity", "indicators", "action"),
    [
        (Style.TREND, "1", DOWN, Action.CLOSE_LONG),
        (Style.TREND, "-1", UP, Action.CLOSE_SHORT),
        (Style.BREAKOUT, "1", DOWN, Action.CLOSE_LONG),
        (Style.SHORT_BIASED, "-1", UP, Action.CLOSE_SHORT),
        (Style.MEAN_REVERSION, "1", UP, Action.CLOSE_LONG),
    ],
)
def test_a_position_is_closed_when_the_signal_turns(
    style: Style, quantity: str, indicators: Indicators, action: Action
) -> None:
    context = market_context({BTC: indicators}, positions=(position(BTC, quantity),))
    assert only(style, context) == Decision(symbol=BTC, action=action, reasoning="the signal turned")


@pytest.mark.parametrize(("style", "indicators", "action"), SIGNALS)
def test_a_held_symbol_is_not_added_to(style: Style, indicators: Indicators, action: Action) -> None:
    held = position(BTC, "1" if action is Action.OPEN_LONG else "-1")
    assert plan(style, market_context({BTC: indicators}, positions=(held,))).decisions == ()


def test_the_strongest_signal_is_taken_with_more_confidence() -> None:
    mild = Indicators(ema_20=99.0, ema_50=98.0, macd=0.5, macd_signal=0.2, atr_14=1.0)
    strong = only(Style.TREND, market_context({BTC: mild, SOL: UP}))
    weak = only(Style.TREND, market_context({BTC: mild}))
    assert strong.symbol == SOL
    assert strong.confidence is not None
    assert weak.confidence is not None
    assert 75 < weak.confidence < strong.confidence <= 100


def test_no_entry_beyond_the_allowed_positions() -> None:
    full = market_context({BTC: UP, SOL: CALM}, positions=(position(SOL, "1"),), limits=Limits(max_positions=1))
    assert plan(Style.TREND, full).decisions == ()


@pytest.mark.parametrize("style", TRADING)
@given(first=INDICATORS, second=INDICATORS, limits=LIMITS, price=PRICES)
def test_any_indicators_are_decided_alike_twice(
    style: Style, first: Indicators, second: Indicators, limits: Limits, price: Decimal
) -> None:
    context = market_context({BTC: first, SOL: second}, marks={BTC: price}, limits=limits)
    decision = plan(style, context)
    assert len(decision.decisions) <= 1
    assert decision == plan(style, pickle.loads(pickle.dumps(context)))


@pytest.mark.parametrize(("style", "indicators", "action"), SIGNALS)
@given(limits=LIMITS, scene=st.tuples(PRICES, st.floats(0.001, 2.2), st.sampled_from([BTC, SOL])))
def test_every_open_is_protected_and_within_its_limits(
    style: Style, indicators: Indicators, action: Action, limits: Limits, scene: tuple[Decimal, float, str]
) -> None:
    price, atr, symbol = scene
    at = scaled(replace(indicators, atr_14=atr), float(price) / 100)
    context = market_context({symbol: at}, marks={symbol: price}, limits=limits)
    entries = plan(style, context).decisions
    assume(entries)
    (entry,) = entries
    assert entry.action is action
    mark, side = price, 1 if action is Action.OPEN_LONG else -1
    assert entry.stop_loss is not None
    assert entry.take_profit is not None
    assert min(entry.stop_loss, entry.take_profit) > 0
    assert side * (mark - entry.stop_loss) > 0
    assert side * (entry.take_profit - mark) >= limits.min_risk_reward_ratio * side * (mark - entry.stop_loss)
    assert entry.confidence is not None
    assert limits.min_confidence <= entry.confidence <= 100
    assert entry.leverage is not None
    assert 1 <= entry.leverage <= limits.max_leverage(entry.symbol)
    assert entry.position_size_usd is not None
    assert 10 <= entry.position_size_usd <= limits.max_position_size_usd
    assert entry.position_size_usd / entry.leverage <= context.account.available


def test_no_money_means_no_entry() -> None:
    poor = market_context({BTC: UP}, limits=Limits(max_margin_usage_pct=Decimal(1)))
    assert plan(Style.TREND, poor).decisions == ()


def test_deciding_is_planning() -> None:
    context = market_context({BTC: UP})
    executor = BaselineExecutor(Style.TREND)
    assert asyncio.run(executor.decide(context)) == executor.plan(context)
    assert executor.plan(context).model == "baseline:trend"


def test_rounding_never_takes_confidence_below_the_minimum() -> None:
    mild = Indicators(ema_20=99.0, ema_50=98.1, macd=0.5, macd_signal=0.2, atr_14=1.0)
    lowest = Decimal("99.92")
    assert only(Style.TREND, market_context({BTC: mild}, limits=Limits(min_confidence=lowest))).confidence == lowest
