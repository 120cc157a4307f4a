"""What an account needs between trades: broken books closed, equity sampled, capital dealt, bad traders isolated."""

from dataclasses import replace
from decimal import Decimal

from manager.desk.capital import CapitalMove, RebalanceBasis, basis_of, needs_rebalance, rebalance, utilization
from manager.desk.liquidation import books_to_liquidate
from manager.desk.protector import clear_legs
from manager.desk.sampling import EquitySampler
from manager.desk.session import Session, is_shared, must_clear, outstanding_reduces
from manager.desk.submission import order_row, persist, send
from manager.desk.valuation import book_equity, is_marked
from manager.desk.values import Desk, PlannedOrder, Reduce
from manager.state.records import UNALLOCATED, LedgerKind, OrderPurpose, Share, TraderState
from traders import performance

ZERO = Decimal(0)
ISOLATION_SHARPE = -1.0
ISOLATION_TRADES = 20


async def keep_house(session: Session, sampler: EquitySampler) -> tuple[str, ...]:
    """Liquidate, sample and rebalance; return the traders that earned isolation (RULES.md 1).

    A book waits while one of its own symbols has no mark, capital while any position has none: equity is not known.
    """
    desk = session.desk()
    broken = tuple(r for r in books_to_liquidate(desk) if is_marked(desk, desk.traders[r.trader_id].book))
    if broken:
        await _liquidate(session, broken)
        desk = session.desk()
    sampler.after(session, desk)
    if session.all_marked() and needs_rebalance(desk, _basis(session)):
        _rebalance(session, session.desk())
    return tuple(
        trader_id
        for trader_id, trader in desk.traders.items()
        if trader.state is TraderState.RUNNING
        and trader.closed_trades >= ISOLATION_TRADES
        and trader.sharpe is not None
        and trader.sharpe < ISOLATION_SHARPE
    )


async def _liquidate(session: Session, broken: tuple[Reduce, ...]) -> None:
    waiting = outstanding_reduces(session.state)
    for reduce in broken:
        if (reduce.trader_id, reduce.symbol) in waiting:
            continue
        gone, filled = await clear_legs(session, reduce.trader_id, reduce.symbol, stops_too=True)
        if filled or (not gone and must_clear(session.state, reduce.trader_id, reduce.symbol)):
            continue
        session.incident(
            "BOOK_LIQUIDATED",
            "equity fell below the maintenance margin: the book is closed",
            trader_id=reduce.trader_id,
            symbol=reduce.symbol,
        )
        planned = PlannedOrder(
            symbol=reduce.symbol,
            side=reduce.side,
            purpose=OrderPurpose.LIQUIDATION,
            quantity=reduce.quantity,
            shares=(Share(trader_id=reduce.trader_id, quantity=reduce.quantity),),
            reduce_only=not is_shared(session.state, reduce.trader_id, reduce.symbol),
        )
        row = order_row(session, planned)
        await persist(session, [row])
        await send(session, row)


def _basis(session: Session) -> RebalanceBasis | None:
    account = session.state.account
    if account.rebalanced_at is None:
        return None
    return RebalanceBasis(
        at=account.rebalanced_at,
        members=frozenset(account.rebalance_members),
        sharpes={
            head.trader_id: head.sharpe_at_rebalance
            for head in session.state.heads.values()
            if head.sharpe_at_rebalance is not None
        },
    )


def _rebalance(session: Session, desk: Desk) -> None:
    state, now = session.state, session.clock.now()
    moves = rebalance(desk, state.books[UNALLOCATED].cash)
    for move in moves:
        _note_move(session, desk, move)
    paid = [(move.trader_id, move.amount) for move in moves if move.amount]
    if paid:
        paid.append((UNALLOCATED, -sum((amount for _, amount in paid), ZERO)))
        state.move_capital(LedgerKind.REBALANCE, paid, f"rebalance/{session.round_id}", now)
    basis = basis_of(desk)
    for trader_id in desk.traders:
        head = state.head(trader_id)
        if head.sharpe_at_rebalance != basis.sharpes.get(trader_id):
            state.set_head(replace(head, sharpe_at_rebalance=basis.sharpes.get(trader_id)))
    members, use = tuple(sorted(basis.members)), utilization(session.desk())
    state.put_account(replace(state.account, rebalanced_at=now, rebalance_members=members, utilization=use))


def _note_move(session: Session, desk: Desk, move: CapitalMove) -> None:
    trader = desk.traders[move.trader_id]
    head = session.state.head(move.trader_id)
    held = bool(trader.book.positions) or trader.reserved_margin > ZERO
    equity, leaving = book_equity(desk, trader.book), held and not move.allocated
    curve = performance.flow(head.performance, equity, move.amount, winding_down=leaving)
    session.state.set_head(replace(head, allocated=move.allocated, performance=curve))
