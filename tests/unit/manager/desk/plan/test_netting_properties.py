"""What holds for every mix of reduces and entries on two symbols."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from desk_factory import BTC, ETH, make_candidate, make_position, make_reduce, make_sized, make_trader, make_view
from exchanges.precision import meets_minimum
from exchanges.types import Capabilities, Side, Symbol
from manager.desk.plan.netting import net
from manager.desk.plan.outcomes import NetPlan, Reduce, SizedEntry
from manager.desk.plan.values import AccountView
from manager.state.records import OrderPurpose
from traders.spec import TraderId

ZERO = Decimal(0)
Amount = tuple[str, Symbol, str, Decimal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Hold what one round nets."""

    view: AccountView
    reduces: tuple[Reduce, ...]
    entries: tuple[SizedEntry, ...]

    def plan(self) -> NetPlan:
        return net(self.view, self.reduces, self.entries)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    traders, reduces, entries = [], [], []
    for name in draw(st.lists(st.sampled_from("abcdefg"), unique=True, min_size=1)):
        positions = []
        for symbol in (BTC, ETH):
            held = draw(st.integers(-200, 200))
            if held:
                positions.append(make_position(symbol, Decimal(held) / 100))
                part = Decimal(draw(st.integers(0, abs(held)))) / 100
                reduces.append(make_reduce(name, part, Side.SELL if held > 0 else Side.BUY, symbol))
            if draw(st.booleans()):
                confidence = draw(st.integers(75, 77))
                candidate = make_candidate(name, draw(st.sampled_from([1, -1])), symbol=symbol, confidence=confidence)
                entries.append(make_sized(candidate, Decimal(draw(st.integers(1, 300))) / 100))
        traders.append(make_trader(name, *positions))
    capabilities = Capabilities(reduce_below_minimum=draw(st.booleans()))
    view = make_view(*traders, capabilities=capabilities)
    return Flow(view=view, reduces=tuple(reduces), entries=tuple(entries))


def summed(amounts: Iterable[Amount]) -> Mapping[tuple[str, Symbol, str], Decimal]:
    total: dict[tuple[str, Symbol, str], Decimal] = defaultdict(Decimal)
    for trader_id, symbol, purpose, quantity in amounts:
        total[trader_id, symbol, purpose] += quantity
    return {key: value for key, value in total.items() if value}


def asked(flow: Flow) -> Iterable[Amount]:
    for reduce in flow.reduces:
        yield reduce.trader_id, reduce.symbol, OrderPurpose.REDUCE, reduce.quantity * reduce.side.sign
    for sized in flow.entries:
        candidate = sized.candidate
        yield candidate.trader_id, candidate.symbol, OrderPurpose.ENTRY, sized.quantity * candidate.direction


def traded(plan: NetPlan) -> Iterable[Amount]:
    for cross in plan.crosses:
        for part in cross.parts:
            yield part.share.trader_id, cross.symbol, part.purpose, part.quantity
    for order in plan.orders:
        for share in order.shares:
            yield share.trader_id, order.symbol, order.purpose, share.quantity * order.side.sign


def left(flow: Flow, plan: NetPlan) -> Iterable[Amount]:
    for dust in plan.dust:
        yield dust.trader_id, dust.symbol, OrderPurpose.REDUCE, dust.quantity * dust.side.sign
    direction = {sized.candidate.intent.intent_id: sized.candidate.direction for sized in flow.entries}
    for denial in plan.denials:
        cut = Decimal(denial.numbers["cut"]) * direction[denial.intent_id]
        yield denial.trader_id, denial.symbol, OrderPurpose.ENTRY, cut


@given(flow=flows())
def test_crosses_orders_cuts_and_dust_are_what_was_asked(flow: Flow) -> None:
    plan = flow.plan()
    assert summed([*traded(plan), *left(flow, plan)]) == summed(asked(flow))
    for cross in plan.crosses:
        assert sum(part.quantity for part in cross.parts) == 0
        assert all(part.share.quantity == abs(part.quantity) > 0 for part in cross.parts)
    for order in plan.orders:
        assert sum(share.quantity for share in order.shares) == order.quantity
        assert order.quantity > 0


@given(flow=flows(), data=st.data())
def test_the_order_of_the_input_is_irrelevant(flow: Flow, data: st.DataObject) -> None:
    reduces = data.draw(st.permutations(flow.reduces))
    entries = data.draw(st.permutations(flow.entries))
    assert net(flow.view, reduces, entries) == flow.plan()


@given(flow=flows())
def test_reducing_never_flips_a_book_and_is_never_blocked(flow: Flow) -> None:
    plan = flow.plan()
    for (trader_id, symbol, purpose), quantity in summed(traded(plan)).items():
        held = flow.view.traders[TraderId(trader_id)].book.quantity(symbol)
        if purpose == OrderPurpose.REDUCE:
            assert held * quantity < 0
            assert abs(quantity) <= abs(held)
    if flow.view.capabilities.reduce_below_minimum:
        assert not plan.dust
    for symbol in (BTC, ETH):
        unsent = sum((dust.quantity for dust in plan.dust if dust.symbol == symbol), ZERO)
        assert not meets_minimum(unsent, flow.view.marks[symbol].price, flow.view.instruments[symbol])


@given(flow=flows())
def test_orders_of_a_symbol_go_one_way_and_only_meet_the_minimum(flow: Flow) -> None:
    plan = flow.plan()
    kinds = [(order.symbol, order.purpose) for order in plan.orders]
    assert len(kinds) == len(set(kinds))
    for symbol in (BTC, ETH):
        assert len({order.side for order in plan.orders if order.symbol == symbol}) <= 1
    for order in plan.orders:
        if order.purpose is OrderPurpose.ENTRY or not flow.view.capabilities.reduce_below_minimum:
            assert meets_minimum(
                order.quantity, flow.view.marks[order.symbol].price, flow.view.instruments[order.symbol]
            )


@given(flow=flows())
def test_a_reduce_only_order_fits_the_net_position(flow: Flow) -> None:
    for order in flow.plan().orders:
        if order.reduce_only:
            net_position = sum((t.book.quantity(order.symbol) for t in flow.view.traders.values()), ZERO)
            assert order.quantity <= -order.side.sign * net_position
