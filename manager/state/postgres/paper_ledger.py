"""The paper venue's accounts on PostgreSQL, so that they outlive every worker and serve several at once."""

import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import fields, make_dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from types import TracebackType
from typing import Any, get_type_hints

from psycopg.sql import SQL, Literal
from pydantic import TypeAdapter
from sqlalchemy import Select, Text, bindparam, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from exchanges.errors import ExchangeConfigError, OutcomeUnknown, VenueUnavailable
from exchanges.paper.state import PaperAccountId, PaperOrder, PaperState
from exchanges.types import ClientOrderId, Fill, FundingPayment
from manager.state.errors import InvalidRow, StateError
from manager.state.postgres.connection import Scope, glance
from manager.state.postgres.statements import TENANT, array, as_json, writes
from manager.state.postgres.translation import translated
from manager.state.records import TenantId
from manager.state.tables import PAPER_TABLES
from manager.state.tables.types import INSTANT

_ACCOUNTS, _ORDERS, _FILLS, _FUNDING = PAPER_TABLES
_WRITE_ACCOUNT, _WRITE_ORDERS = writes(_ACCOUNTS), writes(_ORDERS)
_WRITE_FILLS, _WRITE_FUNDING = writes(_FILLS, generated=("seq",)), writes(_FUNDING, generated=("seq",))
_ACCOUNT = bindparam("account", type_=Text())
_ORDER = bindparam("order", type_=Text())
_SINCE = bindparam("since", type_=INSTANT)
_NOT_STORED = ("orders", "looked_up", "journal")
_IDLE_WRITE = timedelta(seconds=60)

_STORED = make_dataclass(
    "StoredPaperAccount",
    [(item.name, get_type_hints(PaperState)[item.name]) for item in fields(PaperState) if item.name not in _NOT_STORED],
    frozen=True,
    slots=True,
    kw_only=True,
)
_ACCOUNT_CODEC: TypeAdapter[Any] = TypeAdapter(_STORED)
_ORDER_CODEC: TypeAdapter[tuple[PaperOrder, ...]] = TypeAdapter(tuple[PaperOrder, ...])
_FILL_CODEC: TypeAdapter[tuple[Fill, ...]] = TypeAdapter(tuple[Fill, ...])
_FUNDING_CODEC: TypeAdapter[tuple[FundingPayment, ...]] = TypeAdapter(tuple[FundingPayment, ...])


def _mine(table: Any) -> tuple[Any, Any]:
    return table.c.tenant_id == TENANT, table.c.account == _ACCOUNT


def _orders(*where: Any) -> Any:
    rows = select(as_json(_ORDERS).label("row")).where(*_mine(_ORDERS), *where)
    return array(rows.order_by(_ORDERS.c.venue_order_id))


def _history(table: Any) -> Select[Any]:
    rows = select(as_json(table).label("row")).where(*_mine(table), table.c.at >= _SINCE)
    return select(_opened(), array(rows.order_by(table.c.seq)))


def _opened() -> Any:
    return select(_ACCOUNTS.c.account).where(*_mine(_ACCOUNTS)).exists()


_LOCK = select(cast(as_json(_ACCOUNTS), Text())).where(*_mine(_ACCOUNTS)).with_for_update()
_OPEN_ORDERS = select(
    _orders(text("paper_orders.status = 'open'")),
    _orders(_ORDERS.c.client_order_id == func.coalesce(_ORDER, "")),
)
_FIND_ORDER = select(_opened(), _orders(_ORDERS.c.client_order_id == _ORDER))
_IS_AT = SQL(
    "SELECT account FROM paper_accounts WHERE tenant_id = {tenant} AND account = {account} AND revision = {revision}"
)
_FILLS_SINCE, _FUNDING_SINCE = _history(_FILLS), _history(_FUNDING)
_CREATE = _WRITE_ACCOUNT.insert.on_conflict_do_nothing()


class PostgresPaperLedger:
    """Keep a tenant's paper accounts; a row lock on the account serialises its transactions across processes.

    What the database refuses becomes an exchange error: OutcomeUnknown when the write of an order was lost on its way,
    VenueUnavailable otherwise.
    """

    remote = True

    def __init__(self, engine: AsyncEngine, tenant: TenantId) -> None:
        self._engine = engine
        self._tenant = tenant

    async def open(self, account: PaperAccountId, cash: Decimal, at: datetime) -> None:
        """Create the account unless it exists; raise ExchangeConfigError for values no account can have."""
        row = _account_row(self._tenant, PaperState(account=account, cash=cash, advanced_to=at))
        try:
            async with Scope(self._engine, tenant=self._tenant) as connection:
                with translated():
                    await connection.execute(_CREATE, {"rows": json.dumps([row])})
        except InvalidRow as error:
            raise ExchangeConfigError(f"paper account {account!r} cannot be opened: {error}") from error
        except StateError as error:
            raise VenueUnavailable(f"paper account {account!r}: {error}") from error

    def transaction(
        self, account: PaperAccountId, *, order_id: ClientOrderId | None = None
    ) -> AbstractAsyncContextManager[PaperState]:
        """Lock the account and yield its state; commit state and journal at a normal exit, nothing otherwise."""
        return _LedgerTransaction(Scope(self._engine, tenant=self._tenant), self._tenant, account, order_id)

    async def is_at(self, account: PaperAccountId, revision: int) -> bool:
        """Tell whether the account stands at `revision`: one row, no lock, one round trip."""
        asked = _IS_AT.format(tenant=Literal(self._tenant), account=Literal(account), revision=Literal(revision))
        try:
            return await glance(self._engine, self._tenant, asked) is not None
        except StateError as error:
            raise VenueUnavailable(f"paper account {account!r}: {error}") from error

    async def find_order(self, account: PaperAccountId, client_order_id: ClientOrderId) -> PaperOrder | None:
        """Return the last committed version of an order."""
        found = _ORDER_CODEC.validate_json(await self._read(_FIND_ORDER, account, order=client_order_id))
        return found[0] if found else None

    async def fills_since(self, account: PaperAccountId, since: datetime) -> Sequence[Fill]:
        """Return the fills at or after `since`, as booked."""
        return _FILL_CODEC.validate_json(await self._read(_FILLS_SINCE, account, since=since))

    async def funding_since(self, account: PaperAccountId, since: datetime) -> Sequence[FundingPayment]:
        """Return the funding payments at or after `since`, as booked."""
        return _FUNDING_CODEC.validate_json(await self._read(_FUNDING_SINCE, account, since=since))

    async def _read(self, statement: Select[Any], account: PaperAccountId, **parameters: Any) -> str:
        parameters |= {"tenant": self._tenant, "account": account}
        try:
            async with Scope(self._engine, tenant=self._tenant) as connection:
                with translated():
                    known, found = (await connection.execute(statement, parameters)).one()
        except StateError as error:
            raise VenueUnavailable(f"paper account {account!r}: {error}") from error
        if not known:
            raise _never_opened(account)
        read: str = found
        return read


class _LedgerTransaction:
    __slots__ = ("_account", "_before", "_connection", "_order_id", "_scope", "_state", "_tenant")

    def __init__(self, scope: Scope, tenant: TenantId, account: PaperAccountId, order_id: ClientOrderId | None) -> None:
        self._scope = scope
        self._tenant = tenant
        self._account = account
        self._order_id = order_id

    async def __aenter__(self) -> PaperState:
        try:
            self._connection: AsyncConnection = await self._scope.__aenter__()
            try:
                with translated():
                    self._state = await self._load()
            except BaseException as error:
                await self._scope.__aexit__(type(error), error, None)
                raise
        except StateError as error:
            raise VenueUnavailable(f"paper account {self._account!r}: {error}") from error
        self._before = (self._state.revision, self._state.advanced_to)
        return self._state

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            await self._scope.__aexit__(kind, error, trace)
            return
        try:
            try:
                with translated():
                    await self._save()
            except BaseException as failure:
                await self._scope.__aexit__(type(failure), failure, None)
                raise
            await self._scope.__aexit__(None, None, None)
        except StateError as failure:
            unsettled = VenueUnavailable if self._order_id is None else OutcomeUnknown
            raise unsettled(f"paper account {self._account!r}: {failure}") from failure

    async def _load(self) -> PaperState:
        parameters = {"tenant": self._tenant, "account": self._account, "order": self._order_id}
        row = (await self._connection.execute(_LOCK, parameters)).scalar_one_or_none()
        if row is None:
            raise _never_opened(self._account)
        stored = _ACCOUNT_CODEC.validate_json(row)
        open_orders, looked_up = (await self._connection.execute(_OPEN_ORDERS, parameters)).one()
        orders = {order.client_order_id: order for order in _ORDER_CODEC.validate_json(open_orders)}
        found = _ORDER_CODEC.validate_json(looked_up)
        values = {item.name: getattr(stored, item.name) for item in fields(_STORED)}
        return PaperState(**values, orders=orders, looked_up=found[0] if found else None)

    async def _save(self) -> None:
        state, journal = self._state, self._state.journal
        revision, advanced_to = self._before
        if state.revision != revision or state.advanced_to - advanced_to >= _IDLE_WRITE:
            row = _account_row(self._tenant, state)
            await self._connection.execute(_WRITE_ACCOUNT.upsert, {"rows": json.dumps([row])})
        for statement, codec, written in (
            (_WRITE_ORDERS.upsert, _ORDER_CODEC, tuple(journal.orders.values())),
            (_WRITE_FILLS.insert, _FILL_CODEC, tuple(journal.fills)),
            (_WRITE_FUNDING.insert, _FUNDING_CODEC, tuple(journal.funding)),
        ):
            if written:
                dumped: Any = codec.dump_python(written, mode="json", warnings="error")  # type: ignore[arg-type]  # one codec per type
                keyed = [row | {"tenant_id": self._tenant, "account": self._account} for row in dumped]
                await self._connection.execute(statement, {"rows": json.dumps(keyed)})


def _account_row(tenant: TenantId, state: PaperState) -> dict[str, Any]:
    stored = _STORED(**{item.name: getattr(state, item.name) for item in fields(_STORED)})
    dumped: dict[str, Any] = _ACCOUNT_CODEC.dump_python(stored, mode="json", warnings="error")
    return dumped | {"tenant_id": tenant}


def _never_opened(account: PaperAccountId) -> ExchangeConfigError:
    return ExchangeConfigError(f"paper account {account!r} was never opened: call open() before trading on it")
