"""What an account needs between trades: broken books closed, equity sampled, capital dealt, bad traders isolated."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from exchanges.types import ZERO
from manager.desk.closing import DeskCloses
from manager.desk.legs import Legs
from manager.desk.plan.capital import CapitalMove, RebalanceBasis, basis_of, needs_rebalance, rebalance, utilization
from manager.desk.plan.isolation import Isolation, unfit
from manager.desk.plan.liquidation import books_to_liquidate
from manager.desk.plan.outcomes import PlannedOrder, Reduce
from manager.desk.plan.solvency import deficit
from manager.desk.plan.values import AccountView
from manager.desk.sampling import EquitySampler
from manager.desk.session import Session
from manager.desk.submission import Submission, was_refused
from manager.state.kinds import EventKind, LedgerKind, OrderPurpose, OrderState, StateCode, TradingState
from manager.state.records import UNALLOCATED, EventRow, PositionKey, Share
from traders import performance
from traders.spec import TraderId

_LISTED_MOVES = 20


class Housekeeping:
    """Keep one session's account in order."""

    def __init__(self, session: Session, sampler: EquitySampler) -> None:
        self._session = session
        self._state = session.state
        self._submission = Submission(session)
        self._sampler = sampler
        self._legs = Legs(session)

    async def keep_house(self) -> None:
        """Liquidate, sample and test the account.

        A book waits while one of its own symbols has no mark, the account while any position has none: equity is not
        known.
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
        self._test_account(view)

    def judge(self) -> tuple[Isolation, ...]:
        """Mark the books that are bankrupt, and return the traders to be isolated before capital is dealt."""
        found = unfit(self._session.view())
        for one in found:
            self._mark(one)
        return found

    async def deal(self) -> None:
        """Rebalance if it is due, once those that are to be isolated are, and close what the config says."""
        session = self._session
        due = session.all_marked() and needs_rebalance(session.view(), self._basis())
        if due:
            self._rebalance(session.view())
        await DeskCloses(session).relieve(rebalanced=due)

    def _mark(self, isolation: Isolation) -> None:
        """Keep in the book that it is bankrupt, and begin a new count of what a trader is isolated for."""
        head, now = self._state.head(isolation.trader_id), self._session.clock.now()
        if isolation.code is StateCode.BANKRUPT:
            equity = self._session.view().equity_of(self._state.books[isolation.trader_id])
            curve = performance.sample(head.performance, equity, now)
            head = replace(head, bankrupt_at=head.bankrupt_at or now, performance=curve)
        self._state.set_head(replace(head, violations=()))

    def _test_account(self, view: AccountView) -> None:
        """Halt an account whose money is used up, and tell what books below zero lack, once as long as they do."""
        session = self._session
        if not session.all_marked():
            for code in ("ACCOUNT_BANKRUPT", "DEFICIT"):
                session.keep_incident(code)
            return
        if view.equity < ZERO or (view.equity == ZERO and any(book.cash for book in self._state.books.values())):
            reason = f"the account's equity is {view.equity:,.2f} USD"
            session.incident("ACCOUNT_BANKRUPT", f"{reason}: it is halted, and no capital moves")
            if self._state.account.trading_state is not TradingState.HALTED:
                halted = replace(self._state.account, trading_state=TradingState.HALTED, state_reason=reason)
                self._state.put_account(replace(halted, equity=view.equity))
        lacking = deficit(view)
        if lacking:
            below = [name for name, trader in sorted(view.traders.items()) if view.equity_of(trader.book) < ZERO]
            gone = ["traders that were removed"] if view.departed_deficit else []
            session.incident("DEFICIT", f"books below zero lack {lacking:,.2f} USD: {', '.join([*below, *gone])}")

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
            ref = f"rebalance/{self._session.round_id}"
            state.move_capital(LedgerKind.REBALANCE, paid, ref, now)
            state.insert(self._moved(paid, ref))
        basis = basis_of(view)
        for trader_id in view.traders:
            head = state.head(trader_id)
            if head.sharpe_at_rebalance != basis.sharpes.get(trader_id):
                state.set_head(replace(head, sharpe_at_rebalance=basis.sharpes.get(trader_id)))
        members, use = tuple(sorted(basis.members)), utilization(self._session.view())
        state.put_account(replace(state.account, rebalanced_at=now, rebalance_members=members, utilization=use))

    def _moved(self, paid: Sequence[tuple[TraderId, Decimal]], ref: str) -> EventRow:
        """Return the event of a rebalance in cents; of many it names the largest, the ledger has all exactly."""
        account, [*moves, (_, change)] = self._state.account, paid
        after = self._state.books[UNALLOCATED].cash
        moves.sort(key=lambda move: -abs(move[1]))
        told = [f"{trader_id} {amount:+,.2f}" for trader_id, amount in moves[:_LISTED_MOVES]]
        more = [f"and {len(moves) - _LISTED_MOVES} more"] if len(moves) > _LISTED_MOVES else []
        return EventRow(
            tenant_id=account.tenant_id,
            event_id=f"{account.account_id}/{ref}",
            at=self._session.clock.now(),
            actor="desk",
            kind=EventKind.REBALANCE,
            account_id=account.account_id,
            before=f"unallocated {after - change:,.2f}",
            after=f"unallocated {after:,.2f}",
            reason=", ".join([*told, *more]),
        )

    def _note_move(self, view: AccountView, move: CapitalMove) -> None:
        trader = view.traders[move.trader_id]
        head = self._state.head(move.trader_id)
        held = bool(trader.book.positions) or trader.reserved_margin > ZERO
        equity, leaving = view.equity_of(trader.book), held and not move.allocated
        curve = performance.flow(head.performance, equity, move.amount, winding_down=leaving)
        self._state.set_head(replace(head, allocated=move.allocated, performance=curve))
