"""Check an account's invariants on the real rows against the venue, about once a minute, in constant statements.

What is found twice in a row is an incident; for money the account takes no more entries. What the desk is about to
settle, or has told already in words of its own, is left to it.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Final

from exchanges.types import ZERO
from manager.desk.plan.external_overlap import overlaps
from manager.desk.reconcile.news import LOOK_BACK, LOOK_BACK_DIFFERING, News
from manager.desk.session import Session
from manager.monitor.invariants.account import (
    cash_difference,
    no_orphan_protection,
    positions_match,
    positions_protected,
)
from manager.monitor.invariants.facts import AccountFacts, Violation
from manager.monitor.invariants.fills import fills_split_exactly
from manager.state.kinds import EventKind, TradingState
from manager.state.records import EventRow, FillPartRow, FillRow
from manager.state.store import Search

EVERY_S: Final = 55.0
MONEY: Final = "money"
_OF_MONEY: Final = (MONEY, "attribution", "cross")
_FILLS_BACK: Final = timedelta(minutes=15)


class LiveInvariants:
    """Check one session's account if the last check is long enough ago."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._state = session.state

    async def check(self) -> None:
        """Read rows and venue, and tell what is broken as it was at the check before."""
        session, now = self._session, self._session.clock.now()
        last = self._state.account.checked_at
        if last is not None and now - last < timedelta(seconds=EVERY_S):
            return
        await session.flush()
        facts, found = await self._look()
        difference = self._difference(facts)
        if difference:
            await News(session).book(LOOK_BACK_DIFFERING)
            await session.flush()
            facts, found = await self._look()
            difference = self._difference(facts)
        sizes = {f"{one.invariant}/{one.subject}": ZERO for one in found}
        if difference:
            detail = f"the venue has {difference} USD more than the books; below zero, it has less"
            found.append(Violation(invariant=MONEY, subject=session.runtime.account_id, detail=detail))
            sizes[f"{MONEY}/{session.runtime.account_id}"] = difference
        before, moved = self._state.account.suspicions, self._state.account.cash_since
        cash_moves = moved is not None and now - moved < LOOK_BACK and moved != self._state.account.books_since
        self._state.put_account(replace(self._state.account, checked_at=now, suspicions=sizes))
        for one in found:
            key = f"{one.invariant}/{one.subject}"
            if key in before and _stands(sizes[key], before[key], cash_moves=cash_moves):
                self._tell(one)

    async def _look(self) -> tuple[AccountFacts, list[Violation]]:
        """Return the facts of now and what is broken in them, but for the money."""
        session, account_id = self._session, self._session.runtime.account_id
        since, of_account = session.clock.now() - _FILLS_BACK, {"account_id": account_id}
        async with session.reading() as tx:
            rows = await tx.account_rows(account_id)
            fills, parts = await tx.search(
                *(
                    Search(kind=kind, where=of_account, newest_first="at", since=since)
                    for kind in (FillRow, FillPartRow)
                )
            )
        positions = {report.symbol: report for report in await session.exchange.fetch_positions()}
        facts = AccountFacts(
            rows=rows,
            positions=positions,
            balance=await session.exchange.fetch_balance(),
            contract_sizes={symbol: session.instrument(symbol).contract_size for symbol in positions},
        )
        found = [*fills_split_exactly(fills, parts), *no_orphan_protection(facts), *self._unmatched(facts)]
        return facts, [*found, *self._unprotected(facts)]

    def _unmatched(self, facts: AccountFacts) -> Iterable[Violation]:
        return (one for one in positions_match(facts) if one.subject not in self._session.unresolved)

    def _unprotected(self, facts: AccountFacts) -> Iterable[Violation]:
        """Leave out what the desk follows already, and what EXTERNAL forbids to protect."""
        followed = {f"{row.trader_id}/{row.symbol}" for row in facts.rows.positions if row.unprotected_since}
        for overlap in overlaps(self._session.view()):
            followed |= {f"{trader_id}/{overlap.symbol}" for trader_id in overlap.books}
        return (one for one in positions_protected(facts) if one.subject not in followed)

    def _difference(self, facts: AccountFacts) -> Decimal:
        """Return what the venue's cash has more than the books, 0 while news of it may be pending or is not told."""
        pending = bool(positions_match(facts)) or any(order.state.unresolved for order in facts.live_orders())
        if pending or not self._session.exchange.capabilities.reports_cash:
            return ZERO
        return cash_difference(facts)

    def _tell(self, one: Violation) -> None:
        session, account = self._session, self._state.account
        which = f"{one.invariant}/{one.subject}"
        stood = session.keep_incident("INVARIANT_BROKEN", which=which)
        session.incident("INVARIANT_BROKEN", f"{one.invariant}: {one.subject}: {one.detail}", which=which)
        if stood or one.invariant not in _OF_MONEY or account.trading_state is not TradingState.ACTIVE:
            return
        reason = f"the books are not the venue's: {one.invariant} of {one.subject}: {one.detail}"
        self._state.put_account(replace(account, trading_state=TradingState.REDUCING, state_reason=reason))
        self._state.insert(
            EventRow(
                tenant_id=account.tenant_id,
                event_id=f"invariants/{account.account_id}/{session.round_id}/{which}",
                at=session.clock.now(),
                actor="desk",
                kind=EventKind.TRADING_STATE,
                account_id=account.account_id,
                before=account.trading_state,
                after=TradingState.REDUCING,
                reason=reason,
            )
        )


def _stands(now: Decimal, before: Decimal, *, cash_moves: bool) -> bool:
    """Tell whether a difference is the one of before, or has grown; while cash moves, others may follow one another."""
    return now == before or (not cash_moves and now * before > ZERO and abs(now) > abs(before))
