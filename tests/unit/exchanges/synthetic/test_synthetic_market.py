"""The synthetic market: a pure function, correlated, moving, with outages; path and feed agree with it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from exchanges.clock import EPOCH, ManualClock
from exchanges.errors import ExchangeConfigError, MarketDataError
from exchanges.synthetic.config import DEFAULT_SYMBOLS, SyntheticConfig
from exchanges.synthetic.feed import SyntheticFeed
from exchanges.synthetic.model import BLOCK_S, SyntheticModel
from exchanges.synthetic.noise import lattice, stream, uniform
from exchanges.synthetic.path import SyntheticPath
from exchanges.types import Symbol
from paper_market import BTC, ETH

NOW = datetime(2025, 11, 20, 12, 0, 3, tzinfo=UTC)
SECOND = int((NOW - EPOCH).total_seconds())
CALM = SyntheticConfig(outages_per_day=0, jumps_per_day=0)
SECONDS = timedelta(seconds=1)


def prices(model: SyntheticModel, blocks: int) -> np.ndarray:
    first = SECOND // BLOCK_S
    return np.concatenate([model.block(first + number).prices[:, :-1] for number in range(blocks)], axis=1)


def first_outage(model: SyntheticModel) -> tuple[int, int]:
    for second in range(SECOND, SECOND + 10 * 86_400, 15):
        found = model.outage(BTC, second)
        if found is not None:
            return found
    raise AssertionError("ten days without an outage")


def test_a_price_depends_on_nothing_but_config_symbol_and_time() -> None:
    one, two = SyntheticModel(SyntheticConfig()), SyntheticModel(SyntheticConfig())
    asked = [SECOND + offset for offset in (0, 5_000, 17, 900_000, 3)]
    forwards = [one.price(BTC, second) for second in asked]
    assert [two.price(BTC, second) for second in reversed(asked)] == forwards[::-1]
    assert SyntheticModel(SyntheticConfig(seed=8)).price(BTC, SECOND) != forwards[0]


def test_the_last_digits_of_one_price_are_pinned() -> None:
    assert SyntheticModel(SyntheticConfig()).price(BTC, 1_763_640_000) == pytest.approx(97145.3, rel=1e-9)


def test_blocks_join() -> None:
    model = SyntheticModel(SyntheticConfig())
    for number in range(SECOND // BLOCK_S, SECOND // BLOCK_S + 20):
        assert model.block(number).prices[:, -1].tolist() == model.block(number + 1).prices[:, 0].tolist()


def test_symbols_move_together_and_enough_for_second_to_minute_traders() -> None:
    logs = np.log(prices(SyntheticModel(CALM), 120))
    minute = logs[:, 60::60] - logs[:, :-60:60]
    correlation = np.corrcoef(minute)
    assert (correlation > 0.3).all()
    assert (correlation[~np.eye(len(correlation), dtype=bool)] < 0.97).all()
    annual = minute.std(axis=1) * np.sqrt(525_600)
    assert ((annual > 0.3) & (annual < 4)).all()
    second = np.diff(logs, axis=1)
    assert (second != 0).mean() > 0.5


def test_volatility_comes_in_regimes() -> None:
    logs = np.log(prices(SyntheticModel(CALM), 1_000)[0])
    hourly = np.diff(logs)[: 3600 * (len(logs) // 3600 - 1)].reshape(-1, 3600).std(axis=1)
    assert hourly.max() > 2 * hourly.min()


def test_jumps_are_seen_and_fade() -> None:
    calm, jumpy = SyntheticModel(CALM), SyntheticModel(replace(CALM, jumps_per_day=24))
    ratio = np.log(prices(jumpy, 60)[0] / prices(calm, 60)[0])
    steps = np.abs(np.diff(ratio))
    assert 2 <= (steps > 5e-4).sum() <= 8
    assert np.abs(ratio).max() < 0.1


def test_prices_stay_near_their_level_for_years() -> None:
    model = SyntheticModel(SyntheticConfig())
    for year in range(10):
        for one in DEFAULT_SYMBOLS:
            price = model.price(one.symbol, SECOND + year * 31_536_000)
            assert one.level / 4 < price < one.level * 4


def test_an_outage_stops_the_price_and_trades_nothing() -> None:
    model = SyntheticModel(SyntheticConfig())
    path = SyntheticPath(model)
    begin, end = first_outage(model)
    opened, closed = EPOCH + begin * SECONDS, EPOCH + end * SECONDS
    inside = opened + (closed - opened) / 2
    mark = path.mark(BTC, inside)
    assert mark == (path.mark(BTC, opened)[0], opened)  # type: ignore[index]  # the feed has quoted by then
    assert path.execution_price(BTC, inside) is None
    assert path.execution_price(BTC, opened) is None
    assert path.execution_price(BTC, closed) is not None
    assert path.bars(BTC, opened, closed) == []
    assert path.last_bar(BTC, inside) is None
    assert path.next_price(BTC, opened - SECONDS, closed + SECONDS) == closed
    assert path.bars(BTC, opened - SECONDS, opened)[0].close == mark[0]


def test_bars_hold_every_mark_between_their_ends() -> None:
    path = SyntheticPath(SyntheticModel(CALM))
    for bar in path.bars(BTC, NOW, NOW + 30 * SECONDS):
        for part in (0, 0.25, 0.999, 1):
            mark = path.mark(BTC, bar.begin + part * SECONDS)
            assert mark is not None
            assert bar.low <= mark[0] <= bar.high
            assert mark[1] == bar.begin + part * SECONDS


def test_touches_and_sums_are_found_where_the_bars_have_them() -> None:
    path = SyntheticPath(SyntheticModel(SyntheticConfig()))
    until = NOW + timedelta(minutes=40)
    bars = path.bars(ETH, NOW, until)
    level = sorted(bar.low for bar in bars)[5]
    expected = next(bar.end for bar in bars if bar.low <= level)
    assert path.next_touch(ETH, NOW, until, level, None) == expected
    assert path.next_touch(ETH, expected, until, level, None) == next(
        bar.end for bar in bars if bar.low <= level and bar.end > expected
    )
    lowest = min(bar.low for bar in bars)
    assert path.next_touch(ETH, NOW, until, lowest - 1, None) is None
    sums = [path.mark(BTC, bar.end)[0] + 3 * bar.close for bar in bars]  # type: ignore[index]  # as above
    threshold = sorted(sums)[3]
    weights = {BTC: Decimal(1), ETH: Decimal(3)}
    found = path.next_below(weights, threshold, NOW, until)
    assert found == next(bar.end for bar, value in zip(bars, sums, strict=True) if value <= threshold)
    assert path.next_below(weights, min(sums) - 1, NOW, until) is None


def test_an_order_is_live_from_the_next_whole_second() -> None:
    path = SyntheticPath(SyntheticModel(CALM))
    assert path.live_from(NOW) == NOW
    assert path.live_from(NOW + timedelta(milliseconds=1)) == NOW + SECONDS


def test_funding_comes_at_the_interval() -> None:
    path = SyntheticPath(SyntheticModel(SyntheticConfig(funding_interval_s=3600)))
    start = NOW.replace(minute=0, second=0)
    found = path.funding(start, start + timedelta(hours=2))
    assert len(found) == 2 * len(DEFAULT_SYMBOLS)
    assert {at for _, at, _ in found} == {start + timedelta(hours=1), start + timedelta(hours=2)}
    assert path.next_funding(BTC, start, start + timedelta(hours=1)) == start + timedelta(hours=1)
    assert path.next_funding(BTC, start, start + timedelta(minutes=59)) is None
    assert all(abs(rate) < Decimal("0.0005") for _, _, rate in found)
    assert path.funding_rate(BTC, start + timedelta(hours=1)) == next(r for s, _, r in found if s == BTC)


def test_open_interest_moves_slowly_and_depends_on_nothing_but_seed_symbol_and_time() -> None:
    path, again = (SyntheticPath(SyntheticModel(SyntheticConfig())) for _ in range(2))
    hours = [path.open_interest(BTC, NOW + timedelta(hours=hour)) for hour in range(48)]
    assert hours == [again.open_interest(BTC, NOW + timedelta(hours=hour)) for hour in range(48)]
    assert len(set(hours)) > 40
    assert all(abs(later / earlier - 1) < Decimal("0.5") for earlier, later in pairwise(hours))
    assert all(Decimal(50_000) < value < Decimal(400_000) for value in hours)
    other = SyntheticPath(SyntheticModel(SyntheticConfig(seed=8)))
    assert other.open_interest(BTC, NOW) != path.open_interest(BTC, NOW)


async def test_the_feed_shows_marks_and_indicators() -> None:
    model = SyntheticModel(CALM)
    clock = ManualClock(NOW)
    snapshot = await SyntheticFeed(model, clock).snapshot(frozenset({BTC, ETH}))
    view = snapshot.symbols[BTC]
    assert view.mark == Decimal(str(model.price(BTC, SECOND)))
    assert (view.age_s, view.interval_s) == (0.0, 15.0)
    assert view.open_interest == SyntheticPath(model).open_interest(BTC, NOW)
    closed = SECOND // 15 * 15
    assert list(view.closes(3)) == [model.price(BTC, closed - 30 + 15 * number) for number in range(3)]
    for name in view.indicators.__slots__:
        assert getattr(view.indicators, name) is not None, name
    low, high = view.last_range or (Decimal(0), Decimal(0))
    assert low <= view.mark <= high


async def test_indicators_do_not_depend_on_when_one_asked_before() -> None:
    clock = ManualClock(NOW - timedelta(minutes=10))
    early = SyntheticFeed(SyntheticModel(CALM), clock)
    await early.snapshot(frozenset({BTC}))
    clock.set(NOW)
    late = SyntheticFeed(SyntheticModel(CALM), clock)
    one, two = [(await feed.snapshot(frozenset({BTC}))).symbols[BTC] for feed in (early, late)]
    assert one.indicators == two.indicators


async def test_in_an_outage_the_mark_ages() -> None:
    model = SyntheticModel(SyntheticConfig())
    begin, _ = first_outage(model)
    clock = ManualClock(EPOCH + (begin + 10) * SECONDS)
    view = (await SyntheticFeed(model, clock).snapshot(frozenset({BTC}))).symbols[BTC]
    assert view.age_s == 10.0


async def test_an_unknown_symbol_is_an_error() -> None:
    feed = SyntheticFeed(SyntheticModel(CALM), ManualClock(NOW))
    with pytest.raises(MarketDataError, match="NONE is not in the synthetic market; it offers BNB"):
        await feed.snapshot(frozenset({Symbol("NONE")}))


def test_noise_agrees_with_itself_and_is_spread() -> None:
    start = stream(7, 1, 2)
    values = lattice(np.array([start], dtype=np.uint64), np.arange(20_000, dtype=np.uint64))
    assert values[5] == pytest.approx((2 * uniform(start, 5) - 1) * 3**0.5)
    assert abs(values.mean()) < 0.03
    assert values.std() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("field", ["annual_volatility", "indicator_interval_s", "funding_interval_s"])
def test_settings_that_make_no_market(field: str) -> None:
    values: dict[str, Any] = {field: 0}
    with pytest.raises(ExchangeConfigError, match=f"{field} is 0, expected"):
        SyntheticConfig(**values)
