"""Lots, ticks and minimums."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.precision import (
    ceil_to_tick,
    floor_to_lot,
    floor_to_tick,
    is_whole_lots,
    meets_minimum,
    quantity_for,
)
from exchanges.types import Instrument
from paper_market import BTC

FINE = Instrument(symbol=BTC)
COARSE = Instrument(symbol=BTC, lot=Decimal("0.5"), contract_size=Decimal("0.1"))

sizes = st.decimals(min_value=0, max_value=10_000_000, places=2)
marks = st.decimals(min_value="0.0001", max_value=200_000, places=6).filter(bool)


def test_known_quantities() -> None:
    assert quantity_for(Decimal(1000), Decimal("94270.1"), FINE) == Decimal("0.010607")
    assert quantity_for(Decimal(1000), Decimal(300), COARSE) == Decimal("33.0")
    assert quantity_for(Decimal(1), Decimal(300), COARSE) == 0
    assert quantity_for(Decimal(-5), Decimal(300), COARSE) == 0


@pytest.mark.parametrize("mark", ["0", "-1"])
def test_a_mark_must_be_a_price(mark: str) -> None:
    with pytest.raises(ValueError, match=f"mark of {BTC} is {mark}"):
        quantity_for(Decimal(1), Decimal(mark), FINE)


@given(sizes, marks, st.sampled_from([FINE, COARSE]))
def test_the_quantity_is_the_largest_that_the_size_buys(size: Decimal, mark: Decimal, instrument: Instrument) -> None:
    quantity = quantity_for(size, mark, instrument)
    unit = mark * instrument.contract_size
    assert is_whole_lots(quantity, instrument.lot)
    assert quantity * unit <= size < (quantity + instrument.lot) * unit


@given(st.decimals(min_value=-1000, max_value=1000, places=7), st.sampled_from(["0.000001", "0.5", "3"]))
def test_flooring_goes_towards_zero(quantity: Decimal, lot: str) -> None:
    floored = floor_to_lot(quantity, Decimal(lot))
    assert abs(floored) <= abs(quantity) < abs(floored) + Decimal(lot)
    assert floored * quantity >= 0


def test_the_minimum_counts_the_contract_size() -> None:
    assert meets_minimum(Decimal("0.05"), Decimal(100), FINE)
    assert not meets_minimum(Decimal("0.049999"), Decimal(100), FINE)
    assert not meets_minimum(Decimal("0.05"), Decimal(100), COARSE)
    assert meets_minimum(Decimal("-0.5"), Decimal(100), COARSE)


def test_ticks() -> None:
    price, tick = Decimal("100.26"), Decimal("0.1")
    assert floor_to_tick(price, tick) == Decimal("100.2")
    assert ceil_to_tick(price, tick) == Decimal("100.3")
    assert floor_to_tick(price, None) == ceil_to_tick(price, None) == price
