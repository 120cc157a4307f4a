"""Indicators against values computed the long way, and against looking ahead."""

import math
from collections.abc import Sequence
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.errors import ExchangeConfigError
from exchanges.indicators import IndicatorTable, base_interval_ms, indicator_columns, resample
from exchanges.market import IndicatorRow

HOUR = 3_600_000
QUARTER = 900_000


def frame(closes: Sequence[float], interval: int = QUARTER, spread: float = 1.0) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "ts_ms": [index * interval for index in range(len(closes))],
            "open": list(closes),
            "high": [close + spread for close in closes],
            "low": [close - spread for close in closes],
            "close": list(closes),
            "volume": [float(index + 1) for index in range(len(closes))],
        },
        schema_overrides={"ts_ms": pl.Int64},
    )


def ema(values: Sequence[float], span: int) -> list[float | None]:
    result: list[float | None] = [None] * (span - 1)
    current = sum(values[:span]) / span
    result.append(current)
    for value in values[span:]:
        current += 2 / (span + 1) * (value - current)
        result.append(current)
    return result


def wave(count: int) -> list[float]:
    return [100 + 10 * math.sin(index / 5) + index / 20 for index in range(count)]


def rows(closes: Sequence[float], interval: int = QUARTER) -> list[IndicatorRow]:
    table = IndicatorTable.build(frame(closes, interval), interval, interval)
    return [table.row(count) for count in range(1, len(closes) + 1)]


def test_rsi_smooths_gains_and_losses_as_wilder_did() -> None:
    closes = wave(40)
    moves = [now - before for before, now in pairwise(closes)]
    gain = sum(max(move, 0.0) for move in moves[:14]) / 14
    loss = sum(max(-move, 0.0) for move in moves[:14]) / 14
    found = rows(closes)
    assert found[13].rsi_14 is None
    assert found[14].rsi_14 == pytest.approx(100 - 100 / (1 + gain / loss))
    for move in moves[14:]:
        gain = (13 * gain + max(move, 0.0)) / 14
        loss = (13 * loss + max(-move, 0.0)) / 14
    assert found[39].rsi_14 == pytest.approx(100 - 100 / (1 + gain / loss))


def test_rsi_at_its_ends() -> None:
    assert rows([100.0] * 20)[-1].rsi_14 == 50.0
    assert rows([float(index) for index in range(1, 21)])[-1].rsi_14 == 100.0
    assert rows([float(index) for index in range(40, 20, -1)])[-1].rsi_14 == 0.0


def test_averages_and_macd() -> None:
    closes = wave(80)
    fast, slow = ema(closes, 12), ema(closes, 26)
    macd = [one - two for one, two in zip(fast, slow, strict=True) if one is not None and two is not None]
    found = rows(closes)
    assert found[18].ema_20 is None
    assert found[24].macd is None
    assert found[32].macd_signal is None
    for index in (19, 40, 79):
        assert found[index].ema_20 == pytest.approx(ema(closes, 20)[index])
    assert found[60].ema_50 == pytest.approx(ema(closes, 50)[60])
    assert found[25].macd == pytest.approx(macd[0])
    assert found[33].macd_signal == pytest.approx(ema(macd, 9)[8])
    assert found[79].macd_signal == pytest.approx(ema(macd, 9)[54])


def test_range_bands_and_channel() -> None:
    closes = wave(40)
    found = rows(closes)
    spans = [2.0]
    spans += [max(2.0, abs(now + 1 - before), abs(now - 1 - before)) for before, now in pairwise(closes)]
    atr = sum(spans[:14]) / 14
    assert found[12].atr_14 is None
    assert found[13].atr_14 == pytest.approx(atr)
    for span in spans[14:]:
        atr += (span - atr) / 14
    assert found[39].atr_14 == pytest.approx(atr)
    last = closes[20:]
    mean = sum(last) / 20
    deviation = math.sqrt(sum((close - mean) ** 2 for close in last) / 20)
    assert found[39].bollinger_upper == pytest.approx(mean + 2 * deviation)
    assert found[39].bollinger_lower == pytest.approx(mean - 2 * deviation)
    assert found[39].high_20 == max(closes[19:39]) + 1
    assert found[39].low_20 == min(closes[19:39]) - 1
    assert found[19].high_20 is None


def test_change_of_the_last_hour() -> None:
    closes = [100.0, 101.0, 102.0, 103.0, 110.0, 90.9]
    found = rows(closes)
    assert [row.change_1h_pct for row in found[:4]] == [None] * 4
    assert found[4].change_1h_pct == pytest.approx(10.0)
    assert found[5].change_1h_pct == pytest.approx(-10.0)
    assert rows(closes, HOUR)[1].change_1h_pct == pytest.approx(1.0)
    assert rows(closes, 4 * HOUR)[5].change_1h_pct is None


def test_change_is_unknown_when_the_hour_before_is_missing() -> None:
    candles = frame([100.0] * 12).filter(~pl.col("ts_ms").is_between(2 * QUARTER, 6 * QUARTER))
    table = IndicatorTable(indicator_columns(candles, QUARTER), QUARTER)
    assert [table.row(count).change_1h_pct for count in range(1, 8)] == [None] * 6 + [0.0]


def test_shorter_candles_are_joined_on_the_epoch() -> None:
    minutes = frame([float(value) for value in range(10, 50)], 60_000).with_columns(pl.col("ts_ms") + 10 * 60_000)
    joined = resample(minutes, QUARTER)
    assert joined["ts_ms"].to_list() == [0, QUARTER, 2 * QUARTER, 3 * QUARTER]
    assert joined["close"].to_list() == [14.0, 29.0, 44.0, 49.0]
    assert joined["high"].to_list() == [15.0, 30.0, 45.0, 50.0]
    assert joined["volume"][1] == sum(range(6, 21))


def test_a_joined_candle_is_seen_when_it_has_closed() -> None:
    table = IndicatorTable.build(frame([float(value) for value in range(40)], 60_000), 60_000, QUARTER)
    assert [table.count_at(at) for at in (0, QUARTER - 1, QUARTER, 2 * QUARTER)] == [0, 0, 1, 2]
    assert table.row(0) == IndicatorRow()
    assert list(table.closes(2, 5)) == [14.0, 29.0]
    assert list(table.closes(2, 1)) == [29.0]


@given(st.lists(st.floats(50, 150), min_size=30, max_size=60), st.integers(5, 29))
def test_a_row_depends_on_no_later_candle(closes: list[float], cut: int) -> None:
    table = IndicatorTable.build(frame(closes, 60_000), 60_000, 3 * 60_000)
    early = IndicatorTable.build(frame(closes[: 3 * (cut // 3)], 60_000), 60_000, 3 * 60_000)
    whole = early.count_at(10**15)
    assert early.row(whole) == table.row(whole)


def test_the_base_interval() -> None:
    assert base_interval_ms(60_000) == QUARTER
    assert base_interval_ms(300_000) == QUARTER
    assert base_interval_ms(420_000) == 3 * 420_000
    assert base_interval_ms(HOUR) == HOUR
    assert base_interval_ms(60_000, 300_000) == 300_000
    with pytest.raises(ExchangeConfigError, match="expected a multiple of the candles' 60000 ms"):
        base_interval_ms(60_000, 90_000)


def test_candles_come_closed_and_joined_on_the_epoch() -> None:
    table = IndicatorTable.build(frame([float(value) for value in range(10)]), QUARTER, QUARTER)
    recent = table.candles(7, 2, 1)
    assert [(one.end_ms // QUARTER, one.open, one.high, one.low, one.close, one.volume) for one in recent] == [
        (6, 5.0, 6.0, 4.0, 5.0, 6.0),
        (7, 6.0, 7.0, 5.0, 6.0, 7.0),
    ]
    (hour,) = table.candles(7, 3, 4)
    assert (hour.end_ms, hour.open, hour.high, hour.low, hour.close, hour.volume) == (HOUR, 0.0, 4.0, -1.0, 3.0, 10.0)
    assert [one.end_ms for one in table.candles(10, 3, 4)] == [HOUR, 2 * HOUR]
    assert list(table.candles(0, 5, 1)) == list(table.candles(0, 5, 4)) == list(table.candles(5, 0, 1)) == []


@given(st.integers(0, 30), st.integers(1, 6), st.integers(1, 5))
def test_candles_end_by_the_count_and_begin_with_the_first(count: int, wanted: int, every: int) -> None:
    table = IndicatorTable.build(frame(wave(30)), QUARTER, QUARTER)
    found = table.candles(count, wanted, every)
    assert len(found) == min(wanted, count // every)
    assert [one.end_ms for one in found] == [
        (count // every - back) * every * QUARTER for back in range(len(found) - 1, -1, -1)
    ]
