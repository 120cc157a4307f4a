"""Recorded candles as path and feed: exact touches, gaps, ages, shared views."""

from datetime import timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.clock import ManualClock, from_ms
from exchanges.errors import MarketDataError
from exchanges.price_path import Bar
from exchanges.replay.columns import CandleColumns, FundingColumns, FundingRate
from exchanges.replay.feed import ReplayFeed
from exchanges.replay.loader import load_candles
from exchanges.replay.path import ReplayPath, exact
from exchanges.types import Symbol
from paper_market import BTC, ETH, MINUTE_MS, START_MS, Candle, candle_columns, candle_frame, flat, instant
from shared_data import shared_file

GAPPED: list[Candle] = [(1.0, 4.0, 0.5, 2.0), (2.0, 3.0, 1.5, 2.5), None, None, (9.0, 9.5, 8.5, 9.0)]


def path_of(candles: list[Candle]) -> ReplayPath:
    return ReplayPath(candle_columns({BTC: candles}))


def test_a_mark_stays_through_a_gap() -> None:
    path = path_of(GAPPED)
    assert path.mark(BTC, instant(0)) is None
    assert path.mark(BTC, instant(0.9)) is None
    assert path.mark(BTC, instant(1)) == (Decimal("2.0"), instant(1))
    assert path.mark(BTC, instant(4)) == (Decimal("2.5"), instant(2))
    assert path.mark(BTC, instant(5)) == (Decimal("9.0"), instant(5))
    assert path.mark(ETH, instant(5)) is None


def test_the_price_to_meet_is_the_next_open() -> None:
    path = path_of(GAPPED)
    found = [path.execution_price(BTC, instant(minute)) for minute in range(6)]
    assert found == [Decimal("1.0"), Decimal("2.0"), None, None, Decimal("9.0"), None]
    assert path.next_price(BTC, instant(1), instant(9)) == instant(4)
    assert path.next_price(BTC, instant(1), instant(3)) is None
    assert path.next_price(BTC, instant(4), instant(9)) is None
    assert path.volume(BTC, instant(2)) == 0


def test_bars_end_in_the_window() -> None:
    path = path_of(GAPPED)
    assert [bar.end for bar in path.bars(BTC, instant(1), instant(5))] == [instant(2), instant(5)]
    first = path.bars(BTC, instant(0), instant(1))[0]
    prices = tuple(Decimal(price) for price in ("1.0", "4.0", "0.5", "2.0", "1000.0"))
    assert first == Bar(instant(0), instant(1), *prices)
    assert path.last_bar(BTC, instant(1)) == first
    assert path.last_bar(BTC, instant(3)) is None


def test_a_touch_is_exact_where_floats_are_not() -> None:
    path = path_of([(1.0, 1.0, 1.0, 1.0), (1.0, 1.0, 0.1, 0.3), (1.0, 1.0, 0.1, 0.3)])
    just_below = Decimal("0.09999999999999999")
    assert path.next_touch(BTC, instant(0), instant(3), Decimal("0.1"), None) == instant(2)
    assert path.next_touch(BTC, instant(0), instant(3), just_below, None) is None
    assert path.next_touch(BTC, instant(2), instant(3), Decimal("0.1"), None) == instant(3)
    assert path.next_touch(BTC, instant(0), instant(1), Decimal("0.1"), None) is None
    assert path.next_touch(BTC, instant(0), instant(3), None, Decimal("1.0000000000000001")) is None


lows = st.lists(st.integers(1, 40), min_size=1, max_size=700)


@given(lows, st.integers(1, 40), st.integers(0, 700), st.integers(0, 700))
def test_the_first_touch_is_the_first_one_there_is(values: list[int], level: int, after: int, until: int) -> None:
    path = path_of([(41.0, 41.0 + value / 10, value / 10, 41.0) for value in values])
    window = [(index, value) for index, value in enumerate(values, 1) if after < index <= until]
    low = next((index for index, value in window if value <= level), None)
    high = next((index for index, value in window if value >= level), None)
    below, above = Decimal(level) / 10, 41 + Decimal(level) / 10
    assert path.next_touch(BTC, instant(after), instant(until), below, None) == (low and instant(low))
    assert path.next_touch(BTC, instant(after), instant(until), None, above) == (high and instant(high))
    both = min((one for one in (low, high) if one), default=None)
    assert path.next_touch(BTC, instant(after), instant(until), below, above) == (both and instant(both))


def test_a_weighted_sum_of_marks_is_searched_over_gaps() -> None:
    columns = candle_columns({BTC: GAPPED, ETH: [(5.0 - n, 5.0 - n, 4.0 - n, 4.0 - n) for n in range(4)]})
    path = ReplayPath(columns)
    weights = {BTC: Decimal(2), ETH: Decimal(1)}
    assert path.next_below(weights, Decimal("6.5"), instant(1), instant(9)) == instant(4)
    assert path.next_below(weights, Decimal("5.9"), instant(1), instant(9)) is None
    assert path.next_below(weights, Decimal("6.5"), instant(1), instant(3)) is None
    assert path.next_below({ETH: Decimal(-1)}, Decimal("-3.5"), instant(0), instant(9)) == instant(1)


def feed_of(clock: ManualClock, candles: dict[Symbol, list[Candle]], rates: list[FundingRate]) -> ReplayFeed:
    return ReplayFeed(candle_columns(candles), clock, funding=FundingColumns(rates), indicator_interval_ms=MINUTE_MS)


async def test_a_snapshot_shows_what_was_known_then() -> None:
    clock = ManualClock(instant(0))
    rates = [FundingRate(START_MS + MINUTE_MS, BTC, Decimal("0.0001"))]
    feed = feed_of(clock, {BTC: GAPPED, ETH: flat(7.0, 5)}, rates)
    both = frozenset({BTC, ETH})
    assert (await feed.snapshot(both)).symbols == {}
    clock.set(instant(4))
    snapshot = await feed.snapshot(both)
    view = snapshot.symbols[BTC]
    assert snapshot.marks() == {BTC: Decimal("2.5"), ETH: Decimal("7.0")}
    assert (view.age_s, view.interval_s, view.funding_rate) == (120.0, 60.0, Decimal("0.0001"))
    assert (view.last_range, snapshot.symbols[ETH].last_range) == (None, (Decimal("7.0"), Decimal("7.0")))
    assert list(view.closes(9)) == [2.0, 2.5]
    assert view.indicators.volume == 1000.0
    assert snapshot.symbols[ETH].funding_rate is None


async def test_open_interest_is_shown_where_it_was_recorded() -> None:
    frame = candle_frame(flat(7.0, 2)).with_columns(open_interest=pl.Series([81234.5, None], dtype=pl.Float64))
    clock = ManualClock(instant(1))
    feed = ReplayFeed(CandleColumns({BTC: frame, ETH: candle_frame(flat(7.0, 2))}, MINUTE_MS), clock)
    symbols = (await feed.snapshot(frozenset({BTC, ETH}))).symbols
    assert (symbols[BTC].open_interest, symbols[ETH].open_interest) == (Decimal("81234.5"), None)
    clock.set(instant(2))
    assert (await feed.snapshot(frozenset({BTC}))).symbols[BTC].open_interest is None


async def test_views_of_one_instant_are_shared() -> None:
    clock = ManualClock(instant(1))
    feed = feed_of(clock, {BTC: GAPPED, ETH: flat(7.0, 5)}, [])
    wide = await feed.snapshot(frozenset({BTC, ETH}))
    narrow = await feed.snapshot(frozenset({BTC}))
    assert narrow.symbols[BTC] is wide.symbols[BTC]
    assert await feed.snapshot(frozenset({BTC})) is narrow
    clock.set(instant(2))
    assert (await feed.snapshot(frozenset({BTC}))).marks() == {BTC: Decimal("2.5")}
    assert narrow.marks() == {BTC: Decimal("2.0")}


async def test_a_symbol_that_was_not_recorded_is_an_error() -> None:
    feed = feed_of(ManualClock(instant(1)), {BTC: GAPPED}, [])
    with pytest.raises(MarketDataError, match=f"{ETH} is not in the candle file; it holds {BTC}"):
        await feed.snapshot(frozenset({ETH}))


async def test_recorded_gaps_age_the_mark_and_fill_nothing() -> None:
    gaps = shared_file("candles", "gaps", "XRP_ETH-1m.parquet")
    columns = load_candles(gaps)
    symbol = columns.symbols[0]
    path, minute = ReplayPath(columns), timedelta(minutes=1)
    frame = pl.read_parquet(gaps)
    steps = frame.with_columns(missing=pl.col("ts_ms").diff() // MINUTE_MS - 1).filter(pl.col("missing") > 0)
    clock = ManualClock(from_ms(columns.instants[0]))
    feed = ReplayFeed(columns, clock)
    for ts_ms, missing, opened in steps.select("ts_ms", "missing", "open").iter_rows():
        resumed = from_ms(ts_ms)
        clock.set(max(clock.now(), resumed - minute))
        view = (await feed.snapshot(frozenset({symbol}))).symbols[symbol]
        assert view.age_s == 60.0 * (missing - 1)
        assert path.execution_price(symbol, resumed - minute) is None
        assert path.execution_price(symbol, resumed) == exact(opened)
    assert steps["missing"].sum() == 1_091
