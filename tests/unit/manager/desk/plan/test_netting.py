"""Crossing, account orders, cuts and dust of docs/rules.md 7."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from desk_factory import (
    BTC,
    ETH,
    SOL,
    Number,
    make_book,
    make_candidate,
    make_position,
    make_reduce,
    make_sized,
    make_trader,
    make_view,
)
from exchanges.types import Capabilities, Side
from manager.desk.plan.netting import net
from manager.desk.plan.outcomes import NetPlan, SizedEntry
from manager.desk.plan.values import AccountView, Reservation
from traders.book import EXTERNAL
from traders.spec import TraderId

STRICT = Capabilities(reduce_below_minimum=False)


def entry(trader_id: str, direction: int, quantity: Number, **changes: Any) -> SizedEntry:
    return make_sized(make_candidate(trader_id, direction, **changes), quantity)


def orders(plan: NetPlan) -> list[tuple[str, str, Decimal, dict[str, Decimal]]]:
    return [
        (order.purpose, order.side, order.quantity, {share.trader_id: share.quantity for share in order.shares})
        for order in plan.orders
    ]


def crossed(plan: NetPlan) -> list[tuple[str, str, Decimal]]:
    return [(part.share.trader_id, part.purpose, part.quantity) for cross in plan.crosses for part in cross.parts]


def test_nothing_in_is_nothing_out() -> None:
    assert net(make_view(), (), ()) == NetPlan()


def test_one_entry_is_one_order_with_its_protection() -> None:
    candidate = make_candidate("a", 1, stop_loss=Decimal(90), take_profit=Decimal(130))
    plan = net(make_view(), (), [make_sized(candidate, 2)])
    assert orders(plan) == [("entry", "buy", Decimal(2), {"a": Decimal(2)})]
    share = plan.orders[0].shares[0]
    assert (share.intent_id, share.leverage, share.stop_loss, share.take_profit) == (
        candidate.intent.intent_id,
        5,
        Decimal(90),
        Decimal(130),
    )
    assert not plan.orders[0].reduce_only


def test_one_side_and_kind_is_one_order_reduces_first() -> None:
    view = make_view(make_trader("a", make_position(BTC, -2)), make_trader("b", make_position(BTC, -1)))
    reduces = [make_reduce("b", 1, Side.BUY), make_reduce("a", 2, Side.BUY)]
    plan = net(view, reduces, [entry("c", 1, 3), entry("d", 1, 1, confidence=90)])
    assert orders(plan) == [
        ("reduce", "buy", Decimal(3), {"a": Decimal(2), "b": Decimal(1)}),
        ("entry", "buy", Decimal(4), {"d": Decimal(1), "c": Decimal(3)}),
    ]
    assert plan.orders[0].reduce_only


def test_reduces_are_crossed_before_entries_each_by_rank() -> None:
    view = make_view(make_trader("a", make_position(BTC, 2)))
    plan = net(view, [make_reduce("a", 2)], [entry("c", -1, 3), entry("x", 1, 1), entry("y", 1, "3.5", confidence=90)])
    assert crossed(plan) == [
        ("y", "entry", Decimal("3.5")),
        ("x", "entry", Decimal(1)),
        ("a", "reduce", Decimal(-2)),
        ("c", "entry", Decimal("-2.5")),
    ]
    assert plan.crosses[0].price == 100
    assert orders(plan) == [("entry", "sell", Decimal("0.5"), {"c": Decimal("0.5")})]


def test_equal_flow_crosses_whole_and_sends_nothing() -> None:
    plan = net(make_view(make_trader("a", make_position(BTC, 1))), [make_reduce("a", 1)], [entry("b", 1, 1)])
    assert crossed(plan) == [("b", "entry", Decimal(1)), ("a", "reduce", Decimal(-1))]
    assert not plan.orders


def test_an_unsendable_rest_is_cut_from_the_lowest_rank() -> None:
    view = make_view(make_trader("a", make_position(BTC, "1.98")))
    plan = net(view, [make_reduce("a", "1.98")], [entry("low", 1, 1, confidence=76), entry("top", 1, 1)])
    assert crossed(plan)[:2] == [("top", "entry", Decimal(1)), ("low", "entry", Decimal("0.98"))]
    assert not plan.orders
    assert [(denial.trader_id, denial.code) for denial in plan.denials] == [("low", "BELOW_MIN_NOTIONAL")]
    numbers = {name: Decimal(number) for name, number in plan.denials[0].numbers.items()}
    assert numbers == {
        "cut": Decimal("0.02"),
        "crossed": Decimal("0.98"),
        "notional": Decimal(2),
        "min_notional": Decimal(5),
    }


def test_each_entry_meets_the_minimum_alone() -> None:
    plan = net(make_view(), (), [entry("a", 1, "0.04"), entry("b", 1, "0.04"), entry("c", 1, "0.05")])
    assert orders(plan) == [("entry", "buy", Decimal("0.05"), {"c": Decimal("0.05")})]
    assert {(denial.trader_id, denial.numbers["cut"]) for denial in plan.denials} == {("a", "0.04"), ("b", "0.04")}


def test_an_unsendable_rest_of_a_reduce_is_dust() -> None:
    view = make_view(make_trader("a", make_position(BTC, "1.02")), capabilities=STRICT)
    reduce = make_reduce("a", "1.02")
    plan = net(view, [reduce], [entry("b", 1, 1)])
    assert plan.dust == (replace(reduce, quantity=Decimal("0.02")),)
    assert not plan.orders
    assert orders(net(replace(view, capabilities=Capabilities()), [reduce], [entry("b", 1, 1)])) == [
        ("reduce", "sell", Decimal("0.02"), {"a": Decimal("0.02")})
    ]


def test_reduces_come_before_entries_across_symbols_and_entries_by_rank() -> None:
    view = make_view(make_trader("a", make_position(SOL, 5)))
    plan = net(view, [make_reduce("a", 5, symbol=SOL)], [entry("b", 1, 1), entry("c", 1, 1, symbol=ETH, confidence=95)])
    assert [order.symbol for order in plan.orders] == [SOL, ETH, BTC]


def reduce_only(view: AccountView) -> bool:
    return net(view, [make_reduce("a", 1)], ()).orders[0].reduce_only


def test_a_reduce_is_reduce_only_unless_something_stands_against_it() -> None:
    holder = make_trader("a", make_position(BTC, 1))
    short = Reservation(
        trader_id=TraderId("b"), symbol=BTC, quantity=Decimal(-1), notional=Decimal(100), margin=Decimal(20)
    )
    assert reduce_only(make_view(holder, make_trader("b", make_position(BTC, 3), make_position(ETH, -1))))
    assert not reduce_only(make_view(holder, make_trader("b", make_position(BTC, "-0.1"))))
    assert not reduce_only(make_view(holder, external=make_book(EXTERNAL, make_position(BTC, "-0.1"))))
    assert reduce_only(make_view(holder, external=make_book(EXTERNAL, make_position(BTC, "0.1"))))
    assert not reduce_only(make_view(holder, reservations=(short,)))


def test_without_a_mark_reduces_still_go() -> None:
    view = make_view(
        make_trader("a", make_position(BTC, 1)), make_trader("b", make_position(BTC, -1)), marks={}, capabilities=STRICT
    )
    plan = net(view, [make_reduce("a", 1), make_reduce("b", 1, Side.BUY)], ())
    assert not plan.crosses
    assert {(order.side, order.quantity) for order in plan.orders} == {("buy", Decimal(1)), ("sell", Decimal(1))}
