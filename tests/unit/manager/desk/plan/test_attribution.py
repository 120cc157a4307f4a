"""Attribution against docs/rules.md 9 worded as a loop, and its properties."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager.desk.plan.attribution import MAX_LOTS, attribute, liquidation_parts, split_fee
from manager.state.records import Share
from traders.book import EXTERNAL
from traders.spec import TraderId

ONE = Decimal(1)
MICRO = Decimal("0.000001")


def shares_of(*requests: tuple[str, Decimal | int | str]) -> list[Share]:
    return [Share(trader_id=TraderId(name), quantity=Decimal(quantity)) for name, quantity in requests]


def by_the_rule(shares: Sequence[Share], lots: int, lot: Decimal) -> tuple[Decimal, ...]:
    """Deal lot by lot, as docs/rules.md 9 says it."""
    total = Fraction(sum(share.quantity for share in shares))
    received = [Fraction(0)] * len(shares)
    for count in range(1, lots + 1):
        due = [
            (received[index] - Fraction(share.quantity) / total * count * Fraction(lot), share.trader_id, index)
            for index, share in enumerate(shares)
            if received[index] + Fraction(lot) <= Fraction(share.quantity)
        ]
        received[min(due)[2]] += Fraction(lot)
    return tuple(Decimal(part.numerator) / Decimal(part.denominator) for part in received)


@st.composite
def plain_orders(draw: st.DrawFn) -> list[Share]:
    names = draw(st.lists(st.sampled_from("abcde"), unique=True, min_size=1))
    return [Share(trader_id=TraderId(name), quantity=Decimal(draw(st.integers(1, 40)))) for name in names]


@st.composite
def any_orders(draw: st.DrawFn) -> list[Share]:
    names = draw(st.lists(st.sampled_from("abcde"), unique=True, min_size=1))
    sizes = st.integers(1, 50) | st.integers(1, 30_000) | st.integers(1, 10**11)
    return [Share(trader_id=TraderId(name), quantity=draw(sizes) * MICRO) for name in names]


@pytest.mark.parametrize(
    ("filled", "parts"),
    [(0, (0, 0, 0)), (1, (1, 0, 0)), (2, (1, 1, 0)), (3, (2, 1, 0)), (4, (2, 1, 1)), (6, (3, 2, 1))],
)
def test_each_lot_goes_to_who_is_due_most(filled: int, parts: tuple[int, ...]) -> None:
    shares = shares_of(("a", 3), ("b", 2), ("c", 1))
    assert attribute(shares, Decimal(0), Decimal(filled), ONE) == tuple(Decimal(part) for part in parts)


def test_ties_go_by_trader_id_whatever_the_order_of_shares() -> None:
    assert attribute(shares_of(("b", 1), ("a", 1)), Decimal(0), ONE, ONE) == (Decimal(0), ONE)


@given(shares=plain_orders(), data=st.data())
def test_it_is_the_rule_lot_by_lot(shares: list[Share], data: st.DataObject) -> None:
    total = int(sum(share.quantity for share in shares))
    filled = data.draw(st.integers(0, total))
    assert attribute(shares, Decimal(0), Decimal(filled), ONE) == by_the_rule(shares, filled, ONE)


@settings(deadline=None, max_examples=60)
@given(shares=any_orders(), data=st.data())
def test_fills_however_cut_give_what_one_would(shares: list[Share], data: st.DataObject) -> None:
    total = sum((share.quantity for share in shares), Decimal(0))
    units = int(total / MICRO)
    late = st.integers(0, min(units, units // 1000 + 5)).map(lambda short: units - short)
    cuts = sorted(data.draw(st.lists(st.integers(0, units) | late, max_size=3)))
    received = [Decimal(0)] * len(shares)
    done = Decimal(0)
    for cut in [*cuts, units]:
        fill = cut * MICRO - done
        parts = attribute(shares, done, fill, MICRO)
        done += fill
        assert sum(parts) == fill
        assert all(part >= 0 for part in parts)
        received = [have + part for have, part in zip(received, parts, strict=True)]
        assert tuple(received) == attribute(shares, Decimal(0), done, MICRO)
        assert all(have <= share.quantity for have, share in zip(received, shares, strict=True))
    assert received == [share.quantity for share in shares]


@settings(deadline=None, max_examples=60)
@given(shares=any_orders(), data=st.data())
def test_the_order_of_shares_is_irrelevant(shares: list[Share], data: st.DataObject) -> None:
    total = sum((share.quantity for share in shares), Decimal(0))
    filled = data.draw(st.integers(0, int(total / MICRO))) * MICRO
    shuffled = data.draw(st.permutations(shares))
    one = dict(zip((share.trader_id for share in shares), attribute(shares, Decimal(0), filled, MICRO), strict=True))
    other = attribute(shuffled, Decimal(0), filled, MICRO)
    assert one == dict(zip((share.trader_id for share in shuffled), other, strict=True))


@settings(deadline=None, max_examples=60)
@given(shares=any_orders(), data=st.data())
def test_nobody_is_far_from_its_fair_part(shares: list[Share], data: st.DataObject) -> None:
    total = sum((share.quantity for share in shares), Decimal(0))
    filled = data.draw(st.integers(0, int(total / MICRO))) * MICRO
    coarse = MICRO
    while total > coarse * MAX_LOTS:
        coarse *= 10
    for share, part in zip(shares, attribute(shares, Decimal(0), filled, MICRO), strict=True):
        assert abs(part - share.quantity * filled / total) <= coarse * (len(shares) + 1)


def test_a_large_order_is_dealt_in_coarse_lots_and_ends_exact() -> None:
    shares = shares_of(("a", "30000.5"), ("b", "20000.25"))
    lot = Decimal("0.01")
    first = attribute(shares, Decimal(0), Decimal(15), lot)
    assert first == (Decimal(10), Decimal(5))
    rest = attribute(shares, Decimal(15), Decimal("49985.75"), lot)
    assert [sum(parts) for parts in zip(first, rest, strict=True)] == [Decimal("30000.5"), Decimal("20000.25")]
    tail = attribute(shares, Decimal(50000), Decimal("0.03"), lot)
    assert tail == (Decimal("0.02"), Decimal("0.01"))


def test_a_coarse_lot_never_exceeds_a_request() -> None:
    shares = shares_of(("a", "10009"), ("b", "80000.5"))
    lot = Decimal("0.1")
    assert attribute(shares, Decimal(0), Decimal(90000), lot) == (Decimal(10000), Decimal(80000))
    assert attribute(shares, Decimal(90000), Decimal(9), lot) == (Decimal("8.5"), Decimal("0.5"))


def test_more_than_the_order_is_in_no_part() -> None:
    assert attribute(shares_of(("a", 3)), Decimal(2), Decimal(5), ONE) == (ONE,)
    assert attribute(shares_of(("a", 3), ("b", 1)), Decimal(0), Decimal(5), ONE) == (Decimal(3), ONE)
    assert attribute(shares_of(("a", 3), ("b", 1)), Decimal(4), ONE, ONE) == (Decimal(0), Decimal(0))


def test_requests_that_are_not_whole_lots_are_met_exactly() -> None:
    shares = shares_of(("a", "2.5"), ("b", "1.5"))
    steps = [attribute(shares, Decimal(done), ONE, ONE) for done in range(4)]
    assert [sum(part) for part in zip(*steps, strict=True)] == [Decimal("2.5"), Decimal("1.5")]
    assert all(sum(step) == 1 for step in steps)


def test_an_endless_quantity_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        attribute(shares_of(("a", "Infinity"), ("b", 1)), Decimal(0), ONE, ONE)


def test_a_fee_follows_the_quantities_to_the_last_digit() -> None:
    assert split_fee(Decimal("0.10"), [ONE, ONE, ONE]) == (
        Decimal("0.033333333334"),
        Decimal("0.033333333333"),
        Decimal("0.033333333333"),
    )
    assert split_fee(Decimal("0.3"), [Decimal(-1), Decimal(2)]) == (Decimal("0.1"), Decimal("0.2"))
    assert split_fee(Decimal("1.5"), [ONE]) == (Decimal("1.5"),)
    assert split_fee(Decimal(0), [Decimal(0), ONE]) == (Decimal(0), Decimal(0))


def test_a_fee_without_a_part_is_refused() -> None:
    with pytest.raises(ValueError, match="no part to go to"):
        split_fee(ONE, [])


@given(
    fee=st.decimals(min_value=-10, max_value=1000, places=14),
    parts=st.lists(st.decimals(min_value=0, max_value=10**6, places=6), min_size=1).filter(any),
)
def test_fees_add_up_exactly(fee: Decimal, parts: list[Decimal]) -> None:
    fees = split_fee(fee, parts)
    assert sum(fees) == fee
    total = sum(parts)
    for part, share in zip(parts, fees, strict=True):
        assert abs(share - fee * part / total) <= Decimal("1E-12") * len(parts)


def test_a_liquidation_reduces_books_pro_rata_by_largest_remainder() -> None:
    held = {TraderId("b"): Decimal(5), TraderId("a"): Decimal(3), TraderId("c"): Decimal(2)}
    assert liquidation_parts(held, Decimal(7), ONE) == (("a", Decimal(2)), ("b", Decimal(4)), ("c", ONE))
    assert liquidation_parts({TraderId("a"): Decimal(1), TraderId("b"): Decimal(1)}, ONE, ONE) == (("a", ONE),)


def test_what_no_book_holds_is_externals() -> None:
    assert liquidation_parts({TraderId("a"): Decimal(3)}, Decimal(4), ONE) == (("a", Decimal(3)), (EXTERNAL, ONE))
    assert liquidation_parts({}, Decimal(4), ONE) == ((EXTERNAL, Decimal(4)),)
    assert liquidation_parts({EXTERNAL: Decimal(9), TraderId("a"): ONE}, Decimal(2), ONE) == (
        ("a", ONE),
        (EXTERNAL, ONE),
    )


@given(
    held=st.dictionaries(st.sampled_from([*"abcdef", EXTERNAL]), st.integers(0, 500)),
    quantity=st.integers(1, 2000),
    lot=st.sampled_from([1, 10]),
)
def test_liquidation_parts_add_up_and_never_flip(held: dict[str, int], quantity: int, lot: int) -> None:
    books = {TraderId(name): Decimal(size) for name, size in held.items()}
    parts = liquidation_parts(books, Decimal(quantity), Decimal(lot))
    assert sum(part for _, part in parts) == quantity
    assert all(part > 0 for _, part in parts)
    assert all(part <= books[name] for name, part in parts if name != EXTERNAL)
    assert parts == liquidation_parts(dict(reversed(books.items())), Decimal(quantity), Decimal(lot))
