"""What an account needs between trades: broken books closed, equity sampled, capital dealt, bad traders isolated."""

from dataclasses import replace

from exchanges.types import ZERO
from manager.desk.legs import Legs
from manager.desk.plan.capital import CapitalMove, RebalanceBasis, basis_of, needs_rebalance, rebalance, utilization
from manager.desk.plan.liquidation import books_to_liquidate
from manager.desk.plan.outcomes import PlannedOrder, Reduce
from manager.desk.plan.values import AccountView
from manager.desk.sampling import EquitySampler
from manager.desk.session import Session
from manager.desk.submission import Submission, was_refused
from manager.state.records import UNALLOCATED, LedgerKind, OrderPurpose, OrderState, PositionKey, Share, TraderState
from traders import performance
from traders.spec import TraderId

ISOLATION_SHARPE = -1.0
ISOLATION_TRADES = 20


class Housekeeping:
    """Keep one session's account in order."""

    def __init__(self, session: Session, sampler: EquitySampler) -> None:
        self._session = session
        self._state = session.state
        self._submission = Submission(session)
        self._sampler = sampler
        self._legs = Legs(session)

    async def keep_house(self) -> tuple[TraderId, ...]:
        """Liquidate, sample and rebalance; return the traders that earned isolation (docs/rules.md 1).

        A book waits while one of its own symbols has no mark, capital while any position has none: equity is not known.
        """
        session = self._session
        view = session.view()
        if not session.all_marked():
            self._keep_unmarked(view)
        broken = tuple(r for r in books_to_liquidate(view) if view.is_marked(view.traders[r.trader_id].book))
        if broken:
            await self._liquidate(broken)
            view = session.view()
        self._sampler.after(session, view)
        if session.all_marked() and needs_rebalance(view, self._basis()):
            self._rebalance(session.view())
        return tuple(
            trader_id
            for trader_id, trader in view.traders.items()
            if trader.state is TraderState.RUNNING
            and trader.closed_trades >= ISOLATION_TRADES
            and trader.sharpe is not None
            and trader.sharpe < ISOLATION_SHARPE
        )

    async def _liquidate(self, broken: tuple[Reduce, ...]) -> None:
        outstanding, back_off = self._state.outstanding, self._session.runtime.back_off
        waiting = outstanding.reduces()
        for reduce in broken:
            key = reduce.key
            told = self._keep_failed(key)
            planned = PlannedOrder(
                symbol=reduce.symbol,
                side=reduce.side,
                purpose=OrderPurpose.LIQUIDATION,
                quantity=reduce.quantity,
                shares=(Share(trader_id=reduce.trader_id, quantity=reduce.quantity),),
                reduce_only=not outstanding.is_shared(key),
            )
            if key in waiting or back_off.waits(planned, self._session.clock.now()):
                self._legs.keep_cancels(key)
                continue
            cleared = await self._legs.clear(key, stops_too=True)
            if not cleared.gone and not cleared.filled and outstanding.must_clear(key):
                self._tell_failed(reduce, "a stop of it that may stand must be gone first")
            elif not cleared.filled:
                await self._send_liquidation(reduce, planned, told=told)

    async def _send_liquidation(self, reduce: Reduce, planned: PlannedOrder, *, told: bool) -> None:
        session = self._session
        row = self._submission.order_row(planned)
        if not told:
            self._tell_liquidated(reduce)
        await self._submission.persist([row])
        sent = await self._submission.send(row)
        session.runtime.back_off.note(planned, session.clock.now(), refused=was_refused(sent))
        if told and sent.filled:
            self._tell_liquidated(reduce)
        if was_refused(sent) or sent.state is OrderState.UNKNOWN:
            self._tell_failed(reduce, f"its close is {sent.state}: {sent.reason}")

    def _tell_liquidated(self, reduce: Reduce) -> None:
        detail = "equity fell below the maintenance margin: the book is closed"
        self._session.incident("BOOK_LIQUIDATED", detail, trader_id=reduce.trader_id, symbol=reduce.symbol)

    def _tell_failed(self, reduce: Reduce, why: str) -> None:
        detail = f"equity is below the maintenance margin and {reduce.quantity} could not be closed: {why}"
        self._session.incident("LIQUIDATION_FAILED", detail, trader_id=reduce.trader_id, symbol=reduce.symbol)

    def _keep_failed(self, key: PositionKey) -> bool:
        return self._session.keep_incident("LIQUIDATION_FAILED", trader_id=key.trader_id, symbol=key.symbol)

    def _keep_unmarked(self, view: AccountView) -> None:
        """Let what was told of books whose equity is not known now stay open."""
        for trader_id, trader in view.traders.items():
            if not view.is_marked(trader.book):
                for symbol in trader.book.positions:
                    self._keep_failed(PositionKey(trader_id, symbol))

    def _basis(self) -> RebalanceBasis | None:
        account = self._state.account
        if account.rebalanced_at is None:
            return None
        return RebalanceBasis(
            at=account.rebalanced_at,
            members=frozenset(account.rebalance_members),
            sharpes={
                head.trader_id: head.sharpe_at_rebalance
                for head in self._state.heads.values()
                if head.sharpe_at_rebalance is not None
            },
        )

    def _rebalance(self, view: AccountView) -> None:
        state, now = self._state, self._session.clock.now()
        moves = rebalance(view, state.books[UNALLOCATED].cash)
        for move in moves:
            self._note_move(view, move)
        paid = [(move.trader_id, move.amount) for move in moves if move.amount]
        if paid:
            paid.append((UNALLOCATED, -sum((amount for _, amount in paid), ZERO)))
            state.move_capital(LedgerKind.REBALANCE, paid, f"rebalance/{self._session.round_id}", now)
        basis = basis_of(view)
        for trader_id in view.traders:
            head = state.head(trader_id)
            if head.sharpe_at_rebalance != basis.sharpes.get(trader_id):
                state.set_head(replace(head, sharpe_at_rebalance=basis.sharpes.get(trader_id)))
        members, use = tuple(sorted(basis.members)), utilization(self._session.view())
        state.put_account(replace(state.account, rebalanced_at=now, rebalance_members=members, utilization=use))

    def _note_move(self, view: AccountView, move: CapitalMove) -> None:
        trader = view.traders[move.trader_id]
        head = self._state.head(move.trader_id)
        held = bool(trader.book.positions) or trader.reserved_margin > ZERO
        equity, leaving = view.equity_of(trader.book), held and not move.allocated
        curve = performance.flow(head.performance, equity, move.amount, winding_down=leaving)
        self._state.set_head(replace(head, allocated=move.allocated, performance=curve))
