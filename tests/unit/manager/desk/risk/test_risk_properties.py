"""Whatever arrives in whatever order: no limit is exceeded, no reduction is blocked, no book flips."""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from desk_factory import (
    AT,
    BTC,
    ETH,
    PRICES,
    SOL,
    make_book,
    make_candidate,
    make_intent,
    make_position,
    make_trader,
    make_view,
)
from exchanges.precision import floor_to_lot, quantity_for
from exchanges.types import Side, Symbol
from executor.contract import CLOSES, Action, Decision
from manager.desk.plan.outcomes import Reduce, SizedEntry
from manager.desk.plan.risk_manager import check_account, check_local
from manager.desk.plan.values import AccountRules, AccountView, GlobalLimits, Reservation
from manager.state.records import IntentRow, TraderState, TradingState
from traders.book import EXTERNAL, Book
from traders.spec import TraderId

D = Decimal
SYMBOLS = (BTC, ETH, SOL)
TRADERS = ("a", "b", "c")
MOVES = (D("0.8"), D(1), D(1), D("1.1"))
NOISE = D("1e-18")
symbols = st.sampled_from(SYMBOLS)
sides = st.sampled_from((1, -1))
leverages = st.integers(1, 10)
quantities = st.decimals("0.001", "8", places=3)


@st.composite
def positions(draw: st.DrawFn) -> list[Any]:
    """Draw up to three positions, one a symbol."""
    held = draw(st.sets(symbols, max_size=3))
    entries = {s: D(PRICES[s]) * draw(st.sampled_from(MOVES)) for s in held}
    return [
        make_position(s, draw(sides) * draw(quantities), price=entries[s], leverage=draw(leverages))
        for s in sorted(held)
    ]


@st.composite
def accounts(draw: st.DrawFn) -> AccountView:
    """Draw an account with three books, external positions and an order without an outcome."""
    capital = st.sampled_from((300, 1000, 3000))
    traders = [make_trader(name, *draw(positions()), capital=draw(capital)) for name in TRADERS]
    limits = GlobalLimits(
        max_margin_usage_pct=draw(st.decimals(1, 150, places=1)),
        max_positions=draw(st.integers(0, 10)),
        max_symbol_exposure_pct=draw(st.decimals(1, 200, places=1)),
        max_unrealized_loss_pct=draw(st.decimals(1, 100, places=1)),
    )
    amount = draw(quantities) * draw(sides)
    reserved = Reservation(
        trader_id=TraderId("a"), symbol=draw(symbols), quantity=amount, notional=abs(amount), margin=abs(amount) / 4
    )
    return make_view(
        *traders, rules=AccountRules(limits=limits), equity=draw(st.decimals(0, 6000, places=2)),
        external=make_book(EXTERNAL, *draw(positions()), capital=0),
        reservations=draw(st.sampled_from(((), (reserved,)))),
    )  # fmt: skip


@st.composite
def wanted(draw: st.DrawFn, view: AccountView) -> list[SizedEntry]:
    """Draw entries that add to positions or open new ones, never against their own book."""
    entries = []
    pairs = draw(st.lists(st.tuples(st.sampled_from(TRADERS), symbols), max_size=7, unique=True))
    for trader_id, symbol in pairs:
        held = view.traders[TraderId(trader_id)].book.quantity(symbol)
        direction = draw(sides) if not held else (1 if held > 0 else -1)
        leverage, price = draw(leverages), view.marks[symbol].price
        amount = quantity_for(draw(st.decimals(1, 5000, places=2)), price, view.instruments[symbol])
        worth = amount * price
        candidate = make_candidate(trader_id, direction, worth, symbol=symbol, leverage=leverage)
        entries.append(SizedEntry(candidate=candidate, quantity=amount, notional=worth, margin=worth / leverage))
    return entries


def after(view: AccountView, reduces: Iterable[Reduce], entries: Iterable[SizedEntry]) -> dict[Any, tuple[D, int]]:
    """Recompute all positions, signed and with their leverage, once everything has filled."""
    held: dict[Any, tuple[D, int]] = {}
    for trader_id, trader in view.traders.items():
        for symbol, position in trader.book.positions.items():
            held[trader_id, symbol] = (position.quantity, position.leverage)
    for reduce in reduces:
        amount, leverage = held[reduce.trader_id, reduce.symbol]
        held[reduce.trader_id, reduce.symbol] = (amount + reduce.side.sign * reduce.quantity, leverage)
    for entry in entries:
        candidate = entry.candidate
        amount, _ = held.get((candidate.trader_id, candidate.symbol), (D(0), 1))
        held[candidate.trader_id, candidate.symbol] = (
            amount + candidate.direction * entry.quantity,
            candidate.leverage,
        )
    return {key: value for key, value in held.items() if value[0]}


def carried(view: AccountView, held: dict[Any, tuple[D, int]]) -> tuple[dict[Symbol, D], D]:
    """Recompute exposure by symbol and margin of the account, from the larger side of each symbol."""
    exposure: dict[Symbol, D] = {}
    margin = D(0)
    outside = {(EXTERNAL, s): (p.quantity, p.leverage) for s, p in view.external.positions.items()}
    for symbol in SYMBOLS:
        price = view.marks[symbol].price
        worth, bound = {1: D(0), -1: D(0)}, {1: D(0), -1: D(0)}
        for (_, name), (amount, leverage) in {**held, **outside}.items():
            if name == symbol:
                side = 1 if amount > 0 else -1
                worth[side] += abs(amount) * price
                bound[side] += abs(amount) * price / leverage
        for reserved in view.reservations:
            if reserved.symbol == symbol:
                side = 1 if reserved.quantity > 0 else -1
                worth[side] += reserved.notional
                bound[side] += reserved.margin
        exposure[symbol] = max(worth.values())
        margin += max(bound.values())
    return exposure, margin


@given(st.data())
def test_no_account_limit_is_exceeded_for_any_order_of_arrivals(data: st.DataObject) -> None:
    view = data.draw(accounts())
    entries = data.draw(st.permutations(data.draw(wanted(view))))
    sizing = check_account(view, entries, ())
    asked = {entry.candidate.intent.intent_id: entry for entry in entries}
    assert len(sizing.entries) + len(sizing.denials) == len(entries)
    if not sizing.entries:
        return
    held = after(view, (), sizing.entries)
    exposure, margin = carried(view, held)
    limits = view.rules.limits
    counted = set(held) | {(r.trader_id, r.symbol) for r in view.reservations}
    before = set(after(view, (), ())) | {(r.trader_id, r.symbol) for r in view.reservations}
    assert len(counted) <= max(limits.max_positions, len(before))
    assert margin <= view.equity * min(limits.max_margin_usage_pct, D(100)) / 100 + NOISE
    for entry in sizing.entries:
        candidate = entry.candidate
        assert exposure[candidate.symbol] <= view.equity * limits.max_symbol_exposure_pct / 100
        assert D(5) <= entry.notional == entry.quantity * view.marks[candidate.symbol].price
        assert entry.quantity <= asked[candidate.intent.intent_id].quantity


@given(st.data())
def test_fewer_fills_than_planned_exceed_no_limit_either(data: st.DataObject) -> None:
    view = data.draw(accounts())
    sizing = check_account(view, data.draw(wanted(view)), ())
    filled = [_partly(view, entry, data.draw(st.sampled_from(("0", "0.3", "1")))) for entry in sizing.entries]
    filled = [entry for entry in filled if entry.quantity]
    if not filled:
        return
    exposure, margin = carried(view, after(view, (), filled))
    room = view.equity * min(view.rules.limits.max_margin_usage_pct, D(100)) / 100
    _, unfilled = carried(view, after(view, (), ()))
    assert margin <= max(room, unfilled) + NOISE
    assert all(
        exposure[e.candidate.symbol] <= view.equity * view.rules.limits.max_symbol_exposure_pct / 100 for e in filled
    )


def _partly(view: AccountView, entry: SizedEntry, share: str) -> SizedEntry:
    quantity = floor_to_lot(entry.quantity * D(share), view.instruments[entry.candidate.symbol].lot)
    return replace(entry, quantity=quantity)


@st.composite
def batches(draw: st.DrawFn) -> list[IntentRow]:
    """Draw intents of all kinds over several batches of three traders."""
    intents = []
    for number in range(draw(st.integers(1, 8))):
        trader_id, batch = draw(st.sampled_from(TRADERS)), draw(st.integers(0, 1))
        symbol, action = draw(symbols), draw(st.sampled_from(sorted(Action)))
        wanted = draw(st.decimals(-80, 80, places=4))
        up = action is Action.OPEN_LONG or (action is Action.TARGET and wanted > 0)
        far, near = D(PRICES[symbol]) * D("1.3"), D(PRICES[symbol]) * draw(st.sampled_from([D("0.95"), D("0.7")]))
        mirror = 2 * D(PRICES[symbol])
        decision = Decision(
            symbol=symbol,
            action=action,
            leverage=draw(st.one_of(st.none(), st.integers(1, 60))),
            position_size_usd=draw(st.decimals(0, 3000, places=2)),
            stop_loss=near if up else mirror - near,
            take_profit=far if up else mirror - far,
            confidence=draw(st.sampled_from((None, D(50), D(80)))),
            fraction=draw(st.decimals("0.01", 1, places=2)),
            target_quantity=wanted,
        )
        intents.append(
            make_intent(
                trader_id,
                decision,
                intent_id=f"{trader_id}@{batch}#{number}",
                n=number,
                decision_id=f"{trader_id}@{batch}",
            )
        )
    return intents


@given(accounts(), batches(), st.data())
def test_reducing_is_never_blocked_and_never_flips(
    view: AccountView, intents: list[IntentRow], data: st.DataObject
) -> None:
    states = data.draw(st.tuples(st.sampled_from(TradingState), st.sampled_from(TraderState), st.booleans()))
    traders = {n: replace(t, state=states[1], trading_state=states[0]) for n, t in view.traders.items()}
    shut = replace(
        view, traders=traders, trading_state=states[0], rules=replace(view.rules, trading_enabled=states[2]),
        marks=view.marks if states[2] else {}, truth_at=AT if states[2] else None,
    )  # fmt: skip
    verdict = check_local(shut, intents)
    assert verdict.reduces == check_local(view, intents).reduces
    assert {d.code for d in verdict.denials if _closing(intents, d.intent_id)} <= {"NO_POSITION"}
    left = {(n, s): p.quantity for n, t in view.traders.items() for s, p in t.book.positions.items()}
    for reduce in verdict.reduces:
        key = (reduce.trader_id, reduce.symbol)
        assert reduce.quantity > 0
        assert reduce.side is (Side.SELL if left[key] > 0 else Side.BUY)
        assert reduce.quantity <= abs(left[key])
        left[key] += reduce.side.sign * reduce.quantity
        assert reduce.closes is (left[key] == 0)


def _closing(intents: Iterable[IntentRow], intent_id: str) -> bool:
    return next(i for i in intents if i.intent_id == intent_id).decision.action in CLOSES


@given(accounts(), batches(), st.data())
def test_no_trader_limit_is_exceeded_and_input_order_is_irrelevant(
    view: AccountView, intents: list[IntentRow], data: st.DataObject
) -> None:
    verdict = check_local(view, intents)
    assert verdict == check_local(view, data.draw(st.permutations(intents)))
    for trader_id, trader in view.traders.items():
        mine = [entry for entry in verdict.entries if entry.trader_id == trader_id]
        if not mine:
            continue
        worth, leverage = _worth(view, trader.book, [r for r in verdict.reduces if r.trader_id == trader_id])
        for entry in mine:
            worth[entry.symbol] = worth.get(entry.symbol, D(0)) + entry.size_usd
            leverage[entry.symbol] = entry.leverage
            assert entry.leverage <= trader.spec.limits.max_leverage(entry.symbol)
        equity = trader.book.equity({symbol: mark.price for symbol, mark in view.marks.items()})
        margin = sum((amount / leverage[s] for s, amount in worth.items()), D(0))
        assert margin <= min(equity * trader.spec.limits.max_margin_usage_pct / 100, trader.allocated) + NOISE
        assert all(worth[entry.symbol] <= trader.spec.limits.max_position_size_usd for entry in mine)
        assert len(mine) <= trader.spec.limits.max_entries_per_hour
        held = set(trader.book.positions)
        assert len(worth) <= max(trader.spec.limits.max_positions, len(held))


def _worth(view: AccountView, book: Book, reduces: Iterable[Reduce]) -> tuple[dict[Symbol, D], dict[Symbol, int]]:
    held = {symbol: abs(position.quantity) for symbol, position in book.positions.items()}
    for reduce in reduces:
        held[reduce.symbol] -= reduce.quantity
    worth = {symbol: amount * view.marks[symbol].price for symbol, amount in held.items() if amount}
    return worth, {symbol: position.leverage for symbol, position in book.positions.items()}
