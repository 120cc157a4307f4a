"""The paper venue as an Exchange: each call first catches up with the clock, and commits before it answers."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta

from exchanges import types
from exchanges.client_ids import AS_IT_IS
from exchanges.clock import EPOCH, Clock
from exchanges.errors import ExchangeConfigError, OrderDenied, OrderRejected
from exchanges.paper.account import AccountReports, PaperVenue, report_account
from exchanges.paper.config import PaperConfig
from exchanges.paper.engine import Outlook, advance, expire_waiting, finish, fund, settle
from exchanges.paper.ledger import PaperLedger
from exchanges.paper.placing import MARKET_LIKE, Placement, Rejection
from exchanges.paper.state import PaperAccountId, PaperOrder, PaperState, Phase
from exchanges.registry import Venue, VenueRequest

CLIENT_IDS = AS_IT_IS
_MOVE_ON = timedelta(seconds=60)
_JOB = timedelta(seconds=1)
# An order is taken, and its expiry judged, in a transaction that a lookup waits for; no cash moves but by trades.
CAPABILITIES = types.Capabilities(reports_cash=True, enforces_expiry=True, lookup_authoritative=True)


def open_paper(request: VenueRequest, ledger: PaperLedger) -> Venue:
    """Return the paper venue of an account that lives in `ledger`, on the requested market."""
    config, market = request.settings, request.market
    if not isinstance(config, PaperConfig) or market is None:
        raise ExchangeConfigError(f"exchange {request.name}: a paper venue needs PaperConfig and a market to trade on")
    venue, account = PaperVenue.build(config, market.path), PaperAccountId(request.name)
    exchange = PaperExchange(account, venue, ledger, request.clock, lookahead=market.lookahead)
    return Venue(exchange=exchange, feed=market.feed, begin=exchange.begin)


class PaperExchange:
    """Trade one paper account; several processes may hold the same one, the ledger serialises them.

    Touches of one symbol in one bar come by stops before take-profits, then by bracket, then as placed: a caller that
    wants them by trader begins its brackets with the trader. Market orders fill at the instant, touches at the end of
    the bar. Client order ids are taken as they are, those of earlier versions too.
    """

    def __init__(
        self,
        account: PaperAccountId,
        venue: PaperVenue,
        ledger: PaperLedger,
        clock: Clock,
        *,
        lookahead: timedelta = timedelta(0),
    ) -> None:
        self._account = account
        self._venue = venue
        self._ledger = ledger
        self._clock = clock
        self._outlook = Outlook(venue, lookahead)
        self._opened = False
        self._finished_early = False
        self._loaded = self._moved_on = EPOCH
        self._known: PaperState | None = None
        self._in_job = False
        self._asked: datetime | None = None
        self._fills: tuple[tuple[int, datetime], Sequence[types.Fill]] | None = None
        self._funding: tuple[tuple[int, datetime], Sequence[types.FundingPayment]] | None = None
        self._reports: AccountReports | None = None
        self._open_orders: tuple[int, tuple[types.OrderReport, ...]] | None = None

    def begin(self, at: datetime, revision: int | None = None) -> None:
        """Note that a job begins which nobody else writes beside: it asks once whether the account is as last seen.

        Not even once where the job found it at that `revision` itself, after `at`.
        """
        known = self._known
        self._in_job = True
        self._asked = at if known is not None and revision == known.revision else None

    @property
    def capabilities(self) -> types.Capabilities:
        """Return what the paper venue can do."""
        return CAPABILITIES

    async def instruments(self) -> Mapping[types.Symbol, types.Instrument]:
        """Return what can be traded, by symbol."""
        return self._venue.instruments

    async def fetch_balance(self) -> types.Balance:
        """Return equity and cash in USD."""
        return self._report(await self._seen()).balance

    async def fetch_positions(self) -> Sequence[types.PositionReport]:
        """Return the non-zero net positions."""
        return self._report(await self._seen()).positions

    async def fetch_open_orders(self) -> Sequence[types.OrderReport]:
        """Return every resting or waiting order, oldest first."""
        state = await self._seen()
        if self._open_orders is None or self._open_orders[0] != state.revision:
            orders = sorted(state.orders.values(), key=_placed)
            self._open_orders = (state.revision, tuple(order.report() for order in orders))
        return self._open_orders[1]

    async def fetch_fills(self, since: datetime) -> Sequence[types.Fill]:
        """Return the fills at or after `since`, oldest first."""
        revision = (await self._seen()).revision
        if self._fills is None or self._fills[0] != (revision, since):
            self._fills = ((revision, since), await self._ledger.fills_since(self._account, since))
        return self._fills[1]

    async def fetch_funding(self, since: datetime) -> Sequence[types.FundingPayment]:
        """Return the funding payments at or after `since`, oldest first."""
        revision = (await self._seen()).revision
        if self._funding is None or self._funding[0] != (revision, since):
            self._funding = ((revision, since), await self._ledger.funding_since(self._account, since))
        return self._funding[1]

    async def fetch_cash(self, since: datetime) -> Sequence[types.CashMovement]:
        """Return nothing: cash moves by fills and funding only."""
        del since
        return ()

    async def fetch_time(self) -> datetime:
        """Return the clock's instant: orders expire by it."""
        return self._clock.now()

    async def create_order(self, request: types.OrderRequest) -> types.OrderReport:
        """Take one order; raise OrderDenied past its expiry, OrderRejected when the venue does not take it.

        A client order id is good for one request: a repeated one is rejected (DUPLICATE) and changes nothing.
        """
        self._deny_late(request)
        async with await self._begin(request.client_order_id) as state:
            self._arrive(state)
            self._deny_late(request)
            if request.type in MARKET_LIKE and not request.liquidation:
                self._finished_early = finish(self._venue, state) or self._finished_early
            outcome = Placement(self._venue, state, request, state.advanced_to).place()
            fills = [fill for fill in state.journal.fills if fill.client_order_id == request.client_order_id]
        if isinstance(outcome, Rejection):
            raise OrderRejected(outcome.reason, code=outcome.code)
        return outcome.report(fills)

    async def cancel_order(self, client_order_id: types.ClientOrderId, symbol: types.Symbol) -> types.OrderReport:
        """Cancel an open order and return its final report; raise OrderRejected (UNKNOWN_ORDER) without one."""
        async with await self._begin(client_order_id) as state:
            self._arrive(state)
            order = _find(state, client_order_id, symbol)
            if order is not None and not order.status.terminal:
                order = state.end_order(order, types.OrderStatus.CANCELED, state.advanced_to, "canceled on request")
        if order is None:
            raise OrderRejected(f"there is no order {client_order_id} on {symbol}", code="UNKNOWN_ORDER")
        return order.report()

    async def lookup_order(
        self, client_order_id: types.ClientOrderId, symbol: types.Symbol
    ) -> types.OrderReport | None:
        """Return the last report of an order, rejected ones included; its fills come with it."""
        async with await self._begin(client_order_id) as state:
            self._arrive(state)
            order = _find(state, client_order_id, symbol)
        if order is None:
            return None
        fills = await self._ledger.fills_since(self._account, order.created_at)
        return order.report(fill for fill in fills if fill.client_order_id == client_order_id)

    async def set_leverage(self, symbol: types.Symbol, leverage: int) -> None:
        """Set the leverage of `symbol`; raise OrderRejected outside 1 to the instrument's maximum."""
        instrument = self._venue.instruments.get(symbol)
        if instrument is None:
            raise OrderRejected(f"{symbol} is not traded here; see instruments()", code="UNKNOWN_SYMBOL")
        if not 1 <= leverage <= instrument.max_leverage:
            raise OrderRejected(
                f"leverage {leverage} of {symbol}: expected 1 to {instrument.max_leverage}", code="LEVERAGE"
            )
        async with await self._begin() as state:
            self._arrive(state)
            if state.leverage.get(symbol) != leverage:
                state.leverage[symbol] = leverage
                state.revision += 1

    async def next_event(self, until: datetime) -> datetime | None:
        """Return the earliest instant up to `until` at which something happens to the account: for the replay driver.

        A liquidation is tested there and may turn out not to be one.
        """
        async with await self._begin() as state:
            self._arrive(state)
            return self._outlook.next_event(state, until)

    async def touch(self) -> None:
        """Catch up with the clock, of this instant with its touches only: its owner may act before `fund` goes on."""
        async with await self._begin() as state:
            self._arrive(state, touches_only=True)

    async def fund(self) -> None:
        """Pay the funding of this instant, if `touch` held it back."""
        async with await self._begin() as state:
            self._arrive(state)
            fund(self._venue, state)

    async def settle(self) -> bool:
        """Test the account for liquidation at this instant, after its owner could act; tell whether it was."""
        async with await self._begin() as state:
            self._arrive(state)
            return settle(self._venue, state)

    async def finish(self) -> bool:
        """Do what is left of this instant, so that its fills can be read now; tell whether anything happened.

        That includes what an order made happen that finished the instant early.
        """
        early, self._finished_early = self._finished_early, False
        async with await self._begin() as state:
            self._arrive(state)
            return finish(self._venue, state) or early

    async def expire_waiting(self) -> Sequence[types.OrderReport]:
        """End the orders that still wait for a price; for the end of a replay."""
        async with await self._begin() as state:
            self._arrive(state)
            expire_waiting(state, state.advanced_to)
            return [order.report() for order in state.journal.orders.values()]

    async def close(self) -> None:
        """Do nothing: no connection is held."""

    def _deny_late(self, request: types.OrderRequest) -> None:
        now = self._clock.now()
        if request.send_before is not None and now > request.send_before:
            raise OrderDenied(
                f"{request.client_order_id} must be sent by {request.send_before.isoformat()}, now it is "
                f"{now.isoformat()}; nothing was sent: decide again"
            )

    async def _seen(self) -> PaperState:
        """Return the account as it is now: as it was last seen, while nothing can have happened to it since.

        Nothing is stored meanwhile, so that once in a while the account itself must be moved on.
        """
        now, known = self._clock.now(), self._known
        if known is not None and known.phase is Phase.DONE and now - self._moved_on < _MOVE_ON:
            await self._venue.path.load(now)
            if self._outlook.next_event(known, now) is None and await self._is_current(known, now):
                known.advanced_to = max(known.advanced_to, now)
                return known
        async with await self._begin() as state:
            self._arrive(state)
        if self._ledger.remote:
            self._known, self._moved_on, self._asked = state, now, now
        return state

    async def _is_current(self, known: PaperState, now: datetime) -> bool:
        """Tell whether nobody has changed the account; within a job it is asked once."""
        if self._in_job and self._asked is not None and now - self._asked < _JOB:
            return True
        current = await self._ledger.is_at(self._account, known.revision)
        self._asked = now if current else None
        return current

    def _report(self, state: PaperState) -> AccountReports:
        known = self._reports
        if known is None or known.revision != state.revision or known.balance.at != state.advanced_to:
            known = self._reports = report_account(self._venue, state, state.advanced_to)
        return known

    async def _begin(self, order_id: types.ClientOrderId | None = None) -> AbstractAsyncContextManager[PaperState]:
        now, self._asked = self._clock.now(), None
        await self._venue.path.load(now)
        if not self._opened:
            await self._ledger.open(self._account, self._venue.config.start_equity, now)
            self._opened = True
        self._loaded = now
        return self._ledger.transaction(self._account, order_id=order_id)

    def _arrive(self, state: PaperState, *, touches_only: bool = False) -> None:
        if state.advanced_to < self._loaded:
            advance(self._venue, self._outlook, state, self._loaded, touches_only=touches_only)


def _find(state: PaperState, client_order_id: types.ClientOrderId, symbol: types.Symbol) -> PaperOrder | None:
    """An order that ended while this transaction advanced is newer in the journal than in the lookup."""
    order = state.journal.orders.get(client_order_id) or state.looked_up
    return order if order is not None and order.symbol == symbol else None


def _placed(order: PaperOrder) -> str:
    return order.venue_order_id
