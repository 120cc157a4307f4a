"""How far an operator's closes and flattens are, and what a flatten would close."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from exchanges.types import ZERO, Side, Symbol
from manager.desk.plan.leftovers import CloseFacts, told_order, waited_for
from manager.desk.plan.outcomes import plain
from manager.errors import UnknownAccount, UnknownTrader
from manager.state import records
from manager.state.acts import FlattenRow, FlattenScope, LeftPosition
from manager.state.kinds import FlattenState, IntentStatus, OrderPurpose, OrderState, ScopeKind, WhyLeft
from manager.state.records import AccountId, AccountRow, OrderRow, PositionKey, PositionRow, TenantId
from manager.state.store import AccountRows, Search, Store, Transaction
from manager.views.closed import ClosedPart, CloseWatch, read_closed
from manager.views.flattens import open_flattens
from traders.book import EXTERNAL
from traders.spec import TraderId

_ORDERS_READ: Final = 200
_REFUSED: Final = (OrderState.REJECTED, OrderState.DENIED)
_BPS: Final = Decimal(10_000)
_NAMED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPosition:
    """Hold one position of a trader, its quantity signed."""

    trader_id: TraderId
    symbol: Symbol
    quantity: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class UnservedAccount:
    """Name an account that no worker has sampled for a minute, `since` None for never, with what is not done there."""

    account_id: AccountId
    since: datetime | None
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseProgress:
    """Say whether all that was asked for is done, what was closed, and what is left and why.

    `waits_for` are orders in scope that may still fill: it does not end before that is known. `held` is what its
    traders hold now beside that: what was not asked for, or was opened since. Where nothing is `watched`, no worker
    runs and nothing goes on; on an `unserved` account it does not while others do. On a `canceled` one an operator
    ended the flatten before it was flat.
    """

    done: bool
    closed: tuple[ClosedPart, ...]
    left: tuple[LeftPosition, ...]
    waits_for: tuple[str, ...] = ()
    held: tuple[HeldPosition, ...] = ()
    unserved: tuple[UnservedAccount, ...] = ()
    canceled: tuple[AccountId, ...] = ()
    watched: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedClose:
    """Hold what a flatten would close: `notional_usd` at the mark of the last sample, and the fee if none is crossed.

    Both are None where mark or fee are not known.
    """

    account_id: AccountId
    trader_id: TraderId
    symbol: Symbol
    side: Side
    quantity: Decimal
    mark: Decimal | None
    notional_usd: Decimal | None
    fee_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlattenPreview:
    """Say what a flatten of a scope would close, what would stay, and which flattens are under way there."""

    scope: FlattenScope
    closes: tuple[PlannedClose, ...]
    stays: tuple[LeftPosition, ...]
    under_way: tuple[FlattenRow, ...]


async def read_progress(store: Store, tenant: TenantId, watches: Sequence[CloseWatch]) -> CloseProgress:
    """Return how far closes are, of all accounts together."""
    async with store.transaction(tenant) as tx:
        found = [await _Progress(tx, watch).read() for watch in watches]
    return CloseProgress(
        done=all(one.done for one in found),
        closed=tuple(part for one in found for part in one.closed),
        left=tuple(left for one in found for left in one.left),
        waits_for=tuple(told for one in found for told in one.waits_for),
        held=tuple(position for one in found for position in one.held),
        unserved=tuple(account for one in found for account in one.unserved),
        canceled=tuple(name for one in found for name in one.canceled),
        watched=all(watch.watched for watch in watches),
    )


class _Progress:
    """Read how far the closes of one account are."""

    def __init__(self, tx: Transaction, watch: CloseWatch) -> None:
        self._tx = tx
        self._watch = watch

    async def read(self) -> CloseProgress:
        watch, rows = self._watch, await self._tx.account_rows(self._watch.account_id)
        if watch.flatten_id is not None:
            flatten = await self._tx.get(FlattenRow, watch.account_id, watch.flatten_id)
            if flatten is None:
                return CloseProgress(done=True, closed=(), left=())
            known = {row.trader_id for row in rows.traders}
            mine = {owner for owner in known if flatten.covers(owner)}
            ended_at = None if flatten.state is FlattenState.CANCELED else flatten.ended_at
            closed = await read_closed(self._tx, watch, mine, ended_at)
            held = [row for row in rows.positions if row.trader_id in mine]
            if flatten.state is not FlattenState.OPEN:
                return CloseProgress(
                    done=True,
                    closed=closed,
                    left=flatten.remaining,
                    held=_beside(held, flatten.remaining),
                    canceled=(watch.account_id,) if flatten.state is FlattenState.CANCELED else (),
                )
            guarded = {PositionKey(row.trader_id, row.symbol) for row in held}
            orders = waited_for(flatten, rows.orders, known, guarded)
            cancel = f"`propdesk flatten {_option_of(flatten)} --cancel`"
            return CloseProgress(
                done=False,
                closed=closed,
                left=await self._left(rows, held),
                waits_for=tuple(map(told_order, orders)),
                unserved=self._unserved(rows.account, held, orders, f", or end it with {cancel}"),
            )
        intents = await self._tx.find(records.IntentRow, {"intent_id": tuple(sorted(watch.intents))}, limit=None)
        keys = {PositionKey(one.trader_id, Symbol(one.decision.symbol)): one for one in intents}
        traders = {one.trader_id for one in intents}
        left = [
            row
            for row in rows.positions
            if (asked := keys.get(PositionKey(row.trader_id, row.symbol))) is not None
            and (asked.status is IntentStatus.PENDING or row.dust)
        ]
        pending = {key for key, one in keys.items() if one.status is IntentStatus.PENDING}
        entries = [
            row
            for row in rows.orders
            if row.purpose is OrderPurpose.ENTRY
            and pending & {PositionKey(share.trader_id, row.symbol) for share in row.shares}
        ]
        told = await self._left(rows, left)
        return CloseProgress(
            done=not pending,
            waits_for=tuple(map(told_order, entries)),
            held=_beside([row for row in rows.positions if row.trader_id in traders], told),
            unserved=self._unserved(rows.account, left, entries) if pending else (),
            closed=await read_closed(self._tx, watch, traders),
            left=told,
        )

    def _unserved(
        self, account: AccountRow, held: Sequence[PositionRow], orders: Sequence[OrderRow], mend: str = ""
    ) -> tuple[UnservedAccount, ...]:
        silent = self._watch.silence_of(account)
        if not silent:
            return ()
        since = f"since {silent}" if account.updated_at else "and none ever did"
        what = f"it holds nothing of it now{': ask again and it ends there' if mend else ''}"
        if held:
            what = f"it holds {_first([*map(_told_position, held)])}"
        elif orders:
            what = f"an order may still fill ({_first([*map(told_order, orders)])})"
        if held or orders:
            what += f": put it back into the config and start the desk (`propdesk run`){mend}"
        told = f"account {account.account_id}: no worker serves it {since}; {what}"
        return (UnservedAccount(account_id=account.account_id, since=account.updated_at, told=told),)

    async def _left(self, rows: AccountRows, held: Sequence[PositionRow]) -> tuple[LeftPosition, ...]:
        if not held:
            return ()
        newest: dict[PositionKey, OrderRow] = {}
        where = {"account_id": self._watch.account_id}
        for order in await self._tx.find(OrderRow, where, newest_first="created_at", limit=_ORDERS_READ):
            if order.closes and order.created_at >= self._watch.since:
                for share in order.shares:
                    newest.setdefault(PositionKey(share.trader_id, order.symbol), order)
        facts = CloseFacts(
            orders=rows.orders,
            incidents=rows.incidents,
            external={row.symbol: row.quantity for row in rows.positions if row.trader_id == EXTERNAL},
            refused={key: order for key, order in newest.items() if order.state in _REFUSED},
            watched=self._watch.is_looked_after(rows.account),
        )
        return tuple(facts.why_left(row) for row in held)


async def read_preview(store: Store, tenant: TenantId, scope: FlattenScope) -> FlattenPreview:
    """Return what a flatten of the scope would close; raise UnknownTrader or UnknownAccount."""
    kinds = (AccountRow, records.TraderRow, PositionRow)
    async with store.transaction(tenant) as tx:
        accounts, traders, positions, flattens = await tx.search(
            *(Search(kind=kind) for kind in kinds), open_flattens({})
        )
    mine = {row.trader_id for row in traders}
    names = {row.account_id for row in accounts}
    if scope.kind is ScopeKind.TRADER:
        [*found] = [row for row in traders if row.trader_id == scope.name]
        if not found:
            raise UnknownTrader.of(TraderId(scope.name))
        mine, names = {found[0].trader_id}, {found[0].account_id}
    elif scope.kind is ScopeKind.ACCOUNT:
        if scope.name not in names:
            raise UnknownAccount(f"there is no account {scope.name!r}; `propdesk status` names them")
        names = {AccountId(scope.name)}
    of = {row.account_id: row for row in accounts}
    held = [row for row in positions if row.account_id in names and row.trader_id in mine]
    external = [row for row in positions if row.account_id in names and row.trader_id == EXTERNAL]
    return FlattenPreview(
        scope=scope,
        closes=tuple(_planned(row, of[row.account_id]) for row in held if not row.dust),
        stays=(*map(_stays, (row for row in held if row.dust)), *map(_stays, external)),
        under_way=tuple(row for row in flattens if row.account_id in names),
    )


def _planned(row: PositionRow, account: AccountRow) -> PlannedClose:
    sampled, fee_bps = account.marks.get(row.symbol), _fee_bps(account)
    mark = None if sampled is None else sampled.price
    notional = None if mark is None else abs(row.quantity) * row.contract_size * mark
    return PlannedClose(
        account_id=row.account_id,
        trader_id=row.trader_id,
        symbol=row.symbol,
        side=Side.SELL if row.quantity > ZERO else Side.BUY,
        quantity=abs(row.quantity),
        mark=mark,
        notional_usd=notional,
        fee_usd=None if notional is None or fee_bps is None else notional * fee_bps / _BPS,
    )


def _fee_bps(account: AccountRow) -> Decimal | None:
    """Return the taker fee that the account's terms tell, None where they tell none."""
    terms = json.loads(account.terms) if account.terms else {}
    own = terms.get(terms.get("type", ""), {})
    given = own.get("fee_bps") if isinstance(own, dict) else None
    return None if given is None else Decimal(str(given))


def _stays(row: PositionRow) -> LeftPosition:
    dust = "too small for the venue; it goes along with the next order of its symbol"
    external = row.trader_id == EXTERNAL
    return LeftPosition(
        trader_id=row.trader_id,
        symbol=row.symbol,
        quantity=row.quantity,
        why=WhyLeft.EXTERNAL if external else WhyLeft.DUST,
        detail="no trader owns it, so the desk never touches it" if external else dust,
    )


def _beside(held: Sequence[PositionRow], left: Sequence[LeftPosition]) -> tuple[HeldPosition, ...]:
    told = {(one.trader_id, one.symbol, one.quantity) for one in left}
    return tuple(
        HeldPosition(trader_id=row.trader_id, symbol=row.symbol, quantity=row.quantity)
        for row in held
        if (row.trader_id, row.symbol, row.quantity) not in told
    )


def _told_position(row: PositionRow) -> str:
    side = "long" if row.quantity > ZERO else "short"
    return f"{plain(abs(row.quantity))} {row.symbol} {side} of {row.trader_id}"


def _first(told: Sequence[str]) -> str:
    more = f" and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
    return f"{', '.join(told[:_NAMED])}{more}"


def _option_of(flatten: FlattenRow) -> str:
    match flatten.scope:
        case ScopeKind.TRADER:
            return f"--trader {flatten.trader_id}"
        case ScopeKind.ACCOUNT:
            return f"--account {flatten.account_id}"
        case ScopeKind.TENANT:
            return "--all"
