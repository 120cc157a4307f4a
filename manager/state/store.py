"""The one way to the state: short transactions within a tenant, on Postgres or in memory."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeVar

from manager.state import records
from manager.state.access import ApiKeyRow, KeyId
from manager.state.acts import FlattenRow
from manager.state.errors import FenceLost
from manager.state.keys import TRADERS_IN, Row
from manager.state.spending import SpendingRow
from manager.state.switches import Switch, Switched, Switches
from traders.spec import TraderId

R = TypeVar("R")
VERDICTS_SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """Prove the right to write for an account: the token its holder took at the start of the round."""

    account_id: records.AccountId
    token: int


def fence_lost(fence: Fence, token: int | None, holder: str) -> FenceLost:
    """Return the error that says who has the account now; `token` is None for an unknown account."""
    if token is None:
        return FenceLost(f"account {fence.account_id!r} is unknown, so token {fence.token} gives no right to it")
    return FenceLost(
        f"account {fence.account_id!r} is at token {token} (held by {holder!r}); "
        f"token {fence.token} is void: stop, write nothing, send nothing"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRows:
    """Hold all a round reads of one account, from one consistent read; `flattens` are those under way.

    `paper_revision` is that of its paper venue, where the store holds it as well.
    """

    account: records.AccountRow
    traders: Sequence[records.TraderRow]
    schedules: Sequence[records.ScheduleRow]
    books: Sequence[records.BookRow]
    positions: Sequence[records.PositionRow]
    intents: Sequence[records.IntentRow]
    orders: Sequence[records.OrderRow]
    incidents: Sequence[records.IncidentRow]
    flattens: Sequence[FlattenRow] = ()
    switches: Switches = field(default_factory=Switches)
    paper_revision: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TraderRows:
    """Hold all a decision reads of one trader; `verdicts` are those it was not told yet, at most VERDICTS_SHOWN.

    `switched` are the states of the scopes that it is in, the widest first.
    """

    trader: records.TraderRow
    schedule: records.ScheduleRow
    book: records.BookRow
    positions: Sequence[records.PositionRow]
    verdicts: Sequence[records.VerdictRow]
    switched: Sequence[Switched] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """Hold all a decision writes; `failed` counts it, False starts the count anew and None leaves it, `at` is now.

    So does `bad_reply` with the replies that were no decision. `told_at` is when the context was read that showed the
    trader its denials; None where nobody saw it.
    """

    decision: records.DecisionRow
    prompts: Sequence[records.PromptRow]
    intents: Sequence[records.IntentRow]
    failed: bool | None
    at: datetime
    bad_reply: bool | None = None
    told_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Say that one trader is due and that this worker, and no other, shall decide for it; `gate` is its schedule's."""

    tenant_id: records.TenantId
    account_id: records.AccountId
    trader_id: TraderId
    due_at: datetime
    gate: str = ""


def claim_of(schedule: records.ScheduleRow) -> Claim:
    """Return the claim that a trader is in flight for; raise ValueError where there is none."""
    if schedule.in_flight_due_at is None:
        raise ValueError(f"trader {schedule.trader_id!r} has no decision in flight")
    return Claim(
        tenant_id=schedule.tenant_id,
        account_id=schedule.account_id,
        trader_id=schedule.trader_id,
        due_at=schedule.in_flight_due_at,
        gate=schedule.gate,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRoom:
    """Say how many traders of a tenant's gate may be claimed, and how long a decision there takes of late.

    Gates of one `shared` name are one endpoint, which has the room once.
    """

    tenant_id: records.TenantId
    gate: str
    shared: str
    free: int
    takes_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Hold how a tenant's schedule stands: traders that wait past their time, by the whole intervals of the latest.

    `made` counts traders that decided since the instant asked about.
    """

    tenant_id: records.TenantId
    due: int
    lag_s: float
    intervals: int
    made: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountKey:
    """Name one account across tenants."""

    tenant_id: records.TenantId
    account_id: records.AccountId


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Ask for the rows of a type whose fields equal `where`, as `Transaction.find` does; without a limit for all.

    With `each`, the fields that name an account or a trader, `limit` counts for every one that there is, not for all
    together. `since` and `until` are the earliest and the latest `newest_first` wanted, `about` a trader whose row it
    must be, or who must be among those it names. The texts in `begins` are how the fields of these names begin. Fields
    in `omit`, such as texts, are not read: they come back as their defaults.
    """

    kind: type[Any]
    where: Mapping[str, Any] = field(default_factory=dict)
    newest_first: str = ""
    limit: int | None = None
    each: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    about: TraderId = TraderId("")
    begins: Mapping[str, str] = field(default_factory=dict)
    omit: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """Name the fields of the row that it speaks of."""
        bounded = self.until is not None or self.since is not None
        newest = (self.newest_first,) if self.newest_first or bounded else ()
        named = (TRADERS_IN.get(self.kind, "trader_id"),) if self.about else ()
        return (*self.where, *newest, *self.each, *named, *self.begins, *self.omit)


class EventPlace(NamedTuple):
    """Say where an event stands among those of all transactions; the first stands after this value's defaults."""

    xact: int = 0
    seq: int = 0


class Transaction(Protocol):
    """Read and write rows of one tenant; all is committed together at the end of the block, or nothing.

    A StateError ends the transaction: a block that catches it still writes nothing, and meets it again at its end.
    """

    async def insert(self, rows: Sequence[Row]) -> None:
        """Insert rows of any types; raise DuplicateRow if a key exists, InvalidRow for NaN or naive times."""
        ...

    async def upsert(self, rows: Sequence[Row]) -> None:
        """Insert rows or replace those with the same key; an account keeps its token and holder, `acquire` moves them.

        Ledger entries, fills, their parts and events are append-only: InvalidRow.
        """
        ...

    async def patch(self, kind: type[R], key: tuple[Any, ...], /, **values: Any) -> None:
        """Change only these fields of one row, so that what others write to the rest stays; KeyError if absent."""
        ...

    async def patch_each(self, kind: type[R], keys: Sequence[tuple[Any, ...]], /, **values: Any) -> None:
        """Give all these rows the same values in these fields, in one statement; KeyError if one is absent."""
        ...

    async def delete(self, kind: type[R], keys: Sequence[tuple[Any, ...]]) -> int:
        """Delete rows by key (without the tenant) and return how many there were; a missing one is no error."""
        ...

    async def add(self, rows: Sequence[SpendingRow]) -> Sequence[SpendingRow]:
        """Add the numbers of `rows` to what is stored under the same keys, and return the sums in key order.

        The sums are exact and last until the end of the transaction: who adds to one of them meanwhile, waits.
        """
        ...

    async def conclude(self, end: Conclusion) -> bool:
        """Insert a decision with what belongs to it, end what its trader wanted before, and free the trader.

        Its own pending opens have expired, its own pending intents on the symbols of the new ones are replaced; what an
        operator asked for stays. A decision whose claim was taken back or given to another slot meanwhile came late: it
        is stored without its intents, and nothing else changes; then the answer is False. Raises as `insert` does.
        """
        ...

    async def get(self, kind: type[R], *key: Any) -> R | None:
        """Return the row with this key, or None."""
        ...

    async def find(
        self, kind: type[R], where: Mapping[str, Any], *, newest_first: str = "", limit: int | None = 1000
    ) -> Sequence[R]:
        """Return rows whose fields equal `where` (a tuple value means any of), in key order or by `newest_first`.

        At most `limit` of them, all for None. Orders come as their rounds made them.
        """
        ...

    async def search(self, *searches: Search) -> Sequence[Sequence[Any]]:
        """Return the rows of each search, all from one consistent read; with `each`, those of one owner together."""
        ...

    async def events(
        self, after: EventPlace, where: Mapping[str, Any], limit: int
    ) -> Sequence[tuple[EventPlace, records.EventRow]]:
        """Return events after a place, in order; no event is ever committed before one that was returned.

        One may therefore be left out for as long as a transaction that began before it was committed is under way.
        """
        ...

    async def acquire(self, account_id: records.AccountId, holder: str) -> int:
        """Take the account: raise its fencing token by one and return it; SchemaMoved where the database moved on."""
        ...

    async def account_rows(self, account_id: records.AccountId) -> AccountRows:
        """Return what a round reads: what is pending, live or open of it. KeyError for an unknown account."""
        ...

    async def trader(self, trader_id: TraderId) -> TraderRows:
        """Return what a decision reads. KeyError for an unknown trader, SchemaMoved where the database moved on."""
        ...

    async def known_trades(self, account_id: records.AccountId, trade_ids: Sequence[str]) -> set[str]:
        """Return which of the venue trade ids are booked."""
        ...

    async def known_payments(self, account_id: records.AccountId, payments: Sequence[str]) -> set[str]:
        """Return which of the venue's funding payments are booked."""
        ...

    async def switches(self) -> Switches:
        """Return how far the service and the tenant may trade."""
        ...

    async def switch(self, to: Switch) -> None:
        """Say how far the tenant may trade; KeyError if it is unknown."""
        ...


class ServiceTransaction(Protocol):
    """Read and write across tenants what the scheduler needs, and nothing else."""

    async def tenants(self) -> Sequence[records.TenantId]:
        """Return all tenants."""
        ...

    async def ensure_tenant(self, tenant: records.TenantId) -> None:
        """Create the tenant if it is new."""
        ...

    async def accounts(self) -> Sequence[AccountKey]:
        """Return all accounts."""
        ...

    async def accounts_with_intents(self) -> Sequence[AccountKey]:
        """Return the accounts that have pending intents."""
        ...

    async def claim_due(self, now: datetime, limit: int, room: Sequence[GateRoom] = ()) -> Sequence[Claim]:
        """Claim due running traders, each for one decision, and move their next due time on.

        Order: open positions, then lateness in whole intervals, then Sharpe, allocation and first in, fair between
        tenants; of a gate in `room` at most as many as it has free. A trader with a decision in flight is not claimed,
        nor one without a `next_due_at`; slots missed are skipped, and a slot that is over before the decision can end
        gives way to the one after. Two workers never get the same claim.
        """
        ...

    async def stale_claims(self, before: datetime) -> Sequence[Claim]:
        """Return the claims that are older than `before`."""
        ...

    async def release(self, claims: Sequence[Claim]) -> int:
        """Free the traders that still are in flight for these claims; return how many."""
        ...

    async def backlogs(self, now: datetime, since: datetime) -> Sequence[Backlog]:
        """Return how the schedule of each tenant stands at `now`, and what was decided after `since`."""
        ...

    async def forget_prompts(self, before: datetime) -> int:
        """Delete the texts of prompts older than `before`; return how many. Their decisions stay."""
        ...

    async def forget_contexts(self, before: datetime, limit: int) -> int:
        """Take the contexts from at most `limit` decisions older than `before`; return from how many."""
        ...

    async def forget_equity(self, before: datetime, limit: int) -> int:
        """Delete at most `limit` samples of equity older than `before`; return how many."""
        ...

    async def thin_equity(self, since: datetime, before: datetime, limit: int) -> int:
        """Delete at most `limit` samples from `since` up to `before` not the last of their hour; say how many."""
        ...

    async def forget_spending(self, before: datetime) -> int:
        """Delete the sums of what models cost on days that began before `before`; return how many."""
        ...

    async def forget_incidents(self, before: datetime) -> int:
        """Delete the incidents that ended before `before`; return how many. Open ones stay, however old."""
        ...

    async def next_due(self) -> datetime | None:
        """Return the earliest due time of any running trader that is not deciding."""
        ...

    async def api_keys(self, key_id: KeyId) -> Sequence[ApiKeyRow]:
        """Return the API keys of an id, in whatever tenant; there is one at most unless somebody forged another."""
        ...

    async def key_mark(self, mark: str, *, instead_of: str = "") -> str:
        """Return the mark of the service key that the installation uses: the first that is named becomes it.

        `instead_of` names the one that gives way to this.
        """
        ...

    async def switch(self, to: Switch, event: records.EventRow) -> Switch | None:
        """Say how far the whole service may trade, with its event; return what was before, None if it stays so."""
        ...


class Store(Protocol):
    """Open transactions; no connection is held between them."""

    def transaction(
        self, tenant: records.TenantId, *, fence: Fence | None = None
    ) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction in a tenant; with a fence, raise FenceLost at the start if the token has moved on."""
        ...

    def service(self) -> AbstractAsyncContextManager[ServiceTransaction]:
        """Open a scheduler transaction across tenants."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
