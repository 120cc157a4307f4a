"""What was done to traders and accounts, in an order in which a reader can go on where it stopped and miss nothing."""

from dataclasses import dataclass, fields
from datetime import datetime

from manager.state.kinds import EventKind
from manager.state.records import AccountId, TenantId
from manager.state.store import EventPlace, Store
from manager.views.pages import cursor_of, parts_of
from traders.spec import TraderId


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuery:
    """Say which events to return, those after a cursor; empty fields do not narrow."""

    account_id: AccountId = AccountId("")
    trader_id: TraderId = TraderId("")
    kinds: tuple[EventKind, ...] = ()
    limit: int = 100
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Hold one act on a trader or account with its actor and reason; `cursor` is its place among all events."""

    cursor: str
    event_id: str
    at: datetime
    actor: str
    kind: str
    account_id: AccountId
    trader_id: TraderId
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """Hold events, the oldest first; `next` is where to go on, now or later, also after a page without any."""

    events: tuple[Event, ...]
    next: str


async def read_events(store: Store, tenant: TenantId, query: EventQuery) -> EventPage:
    """Return the events after a cursor; one that is committed late comes after those that were told before it.

    An event is told once none that belongs before it can be committed any more: at once, or when the transactions
    that were under way with it have ended. Raises UnknownCursor.
    """
    place = EventPlace(*parts_of(query.after, int, int)) if query.after else EventPlace()
    narrow = {"account_id": query.account_id, "trader_id": query.trader_id, "kind": query.kinds}
    where = {name: wanted for name, wanted in narrow.items() if wanted}
    async with store.transaction(tenant) as tx:
        found = await tx.events(place, where, query.limit)
    names = [item.name for item in fields(Event) if item.name != "cursor"]
    events = tuple(Event(cursor=cursor_of(*at), **{name: getattr(row, name) for name in names}) for at, row in found)
    return EventPage(events=events, next=events[-1].cursor if events else query.after)
