"""What an account needs between trades: broken books closed, equity sampled, capital dealt, bad traders isolated."""

from dataclasses import replace

from exchanges.types import Symbol
from manager.desk.incidents.log import Subject
from manager.desk.plan.capital import CapitalMove, RebalanceBasis, basis_of, needs_rebalance, rebalance, utilization
from manager.desk.plan.liquidation import books_to_liquidate
from manager.desk.plan.valuation import book_equity, is_marked
from manager.desk.plan.values import ZERO, AccountView, PlannedOrder, Reduce
from manager.desk.protector import clear_legs, keep_cancels
from manager.desk.sampling import EquitySampler
from manager.desk.session import Session
from manager.desk.submission import order_row, persist, send, was_refused
from manager.state.records import UNALLOCATED, LedgerKind, OrderPurpose, OrderState, PositionKey, Share, TraderState
from traders import performance
from traders.spec import TraderId

ISOLATION_SHARPE = -1.0
ISOLATION_TRADES = 20


async def keep_house(session: Session, sampler: EquitySampler) -> tuple[TraderId, ...]:
    """Liquidate, sample and rebalance; return the traders that earned isolation (RULES.md 1).

    A book waits while one of its own symbols has no mark, capital while any position has none: equity is not known.
    """
    view = session.view()
    if not session.all_marked():
        _keep_unmarked(session, view)
    broken = tuple(r for r in books_to_liquidate(view) if is_marked(view, view.traders[r.trader_id].book))
    if broken:
        await _liquidate(session, broken)
        view = session.view()
    sampler.after(session, view)
    if session.all_marked() and needs_rebalance(view, _basis(session)):
        _rebalance(session, session.view())
    return tuple(
        trader_id
        for trader_id, trader in view.traders.items()
        if trader.state is TraderState.RUNNING
        and trader.closed_trades >= ISOLATION_TRADES
        and trader.sharpe is not None
        and trader.sharpe < ISOLATION_SHARPE
    )


async def _liquidate(session: Session, broken: tuple[Reduce, ...]) -> None:
    waiting, refusals = session.state.outstanding.reduces(), session.runtime.refusals
    for reduce in broken:
        trader_id, symbol = reduce.trader_id, reduce.symbol
        told = session.incidents.keep(_failed(trader_id, symbol))
        planned = PlannedOrder(
            symbol=symbol,
            side=reduce.side,
            purpose=OrderPurpose.LIQUIDATION,
            quantity=reduce.quantity,
            shares=(Share(trader_id=trader_id, quantity=reduce.quantity),),
            reduce_only=not session.state.outstanding.is_shared(PositionKey(trader_id, symbol)),
        )
        if (trader_id, symbol) in waiting or refusals.waits(planned, session.clock.now()):
            keep_cancels(session, trader_id, symbol)
            continue
        gone, filled = await clear_legs(session, trader_id, symbol, stops_too=True)
        if not gone and not filled and session.state.outstanding.must_clear(PositionKey(trader_id, symbol)):
            _tell_failed(session, reduce, "a stop of it that may stand must be gone first")
        elif not filled:
            await _send_liquidation(session, reduce, planned, told=told)


async def _send_liquidation(session: Session, reduce: Reduce, planned: PlannedOrder, *, told: bool) -> None:
    row = order_row(session, planned)
    if not told:
        _tell_liquidated(session, reduce)
    await persist(session, [row])
    sent = await send(session, row)
    session.runtime.refusals.note(planned, session.clock.now(), refused=was_refused(sent))
    if told and sent.filled:
        _tell_liquidated(session, reduce)
    if was_refused(sent) or sent.state is OrderState.UNKNOWN:
        _tell_failed(session, reduce, f"its close is {sent.state}: {sent.reason}")


def _tell_liquidated(session: Session, reduce: Reduce) -> None:
    detail = "equity fell below the maintenance margin: the book is closed"
    session.incident("BOOK_LIQUIDATED", detail, trader_id=reduce.trader_id, symbol=reduce.symbol)


def _tell_failed(session: Session, reduce: Reduce, why: str) -> None:
    detail = f"equity is below the maintenance margin and {reduce.quantity} could not be closed: {why}"
    session.incidents.tell(_failed(reduce.trader_id, reduce.symbol), detail, session.clock.now())


def _keep_unmarked(session: Session, view: AccountView) -> None:
    """Let what was told of books whose equity is not known now stay open."""
    for trader_id, trader in view.traders.items():
        if not is_marked(view, trader.book):
            for symbol in trader.book.positions:
                session.incidents.keep(_failed(trader_id, symbol))


def _failed(trader_id: TraderId, symbol: Symbol) -> Subject:
    return Subject(code="LIQUIDATION_FAILED", trader_id=trader_id, symbol=symbol)


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


def _rebalance(session: Session, view: AccountView) -> None:
    state, now = session.state, session.clock.now()
    moves = rebalance(view, state.books[UNALLOCATED].cash)
    for move in moves:
        _note_move(session, view, move)
    paid = [(move.trader_id, move.amount) for move in moves if move.amount]
    if paid:
        paid.append((UNALLOCATED, -sum((amount for _, amount in paid), ZERO)))
        state.move_capital(LedgerKind.REBALANCE, paid, f"rebalance/{session.round_id}", now)
    basis = basis_of(view)
    for trader_id in view.traders:
        head = state.head(trader_id)
        if head.sharpe_at_rebalance != basis.sharpes.get(trader_id):
            state.set_head(replace(head, sharpe_at_rebalance=basis.sharpes.get(trader_id)))
    members, use = tuple(sorted(basis.members)), utilization(session.view())
    state.put_account(replace(state.account, rebalanced_at=now, rebalance_members=members, utilization=use))


def _note_move(session: Session, view: AccountView, move: CapitalMove) -> None:
    trader = view.traders[move.trader_id]
    head = session.state.head(move.trader_id)
    held = bool(trader.book.positions) or trader.reserved_margin > ZERO
    equity, leaving = book_equity(view, trader.book), held and not move.allocated
    curve = performance.flow(head.performance, equity, move.amount, winding_down=leaving)
    session.state.set_head(replace(head, allocated=move.allocated, performance=curve))
