"""Tables of what happened: postings, conflicts, verdicts, incidents, events, equity curves, and what models cost."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Column, Identity, Index, text
from sqlmodel import Field, ForeignKeyConstraint

from manager.state.tables.desk import TO_ACCOUNT
from manager.state.tables.types import COUNT, INSTANT, JSON, KEY, MONEY, TEXT, Declared

THIS_TRANSACTION = "pg_current_xact_id()::text::bigint"


class LedgerTable(Declared, table=True):
    """Declare LedgerRow."""

    __tablename__ = "ledger"
    __table_args__ = (
        ForeignKeyConstraint(*TO_ACCOUNT, name="ledger_account"),
        Index("ledger_by_trader", "tenant_id", "account_id", "trader_id", "at"),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    account_id: str = Field(sa_type=KEY, primary_key=True)
    ref: str = Field(sa_type=KEY, primary_key=True)
    trader_id: str = Field(sa_type=KEY, primary_key=True)
    kind: str = Field(sa_type=KEY, primary_key=True)
    amount: Decimal = Field(sa_type=MONEY)
    at: datetime = Field(sa_type=INSTANT)
    symbol: str = Field(sa_type=KEY)
    actor: str = Field(sa_type=TEXT)
    reason: str = Field(sa_type=TEXT)


class ConflictTable(Declared, table=True):
    """Declare ConflictRow."""

    __tablename__ = "conflicts"
    __table_args__ = (
        ForeignKeyConstraint(*TO_ACCOUNT, name="conflicts_account"),
        Index("conflicts_by_time", "tenant_id", "account_id", "at"),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    account_id: str = Field(sa_type=KEY, primary_key=True)
    round_id: str = Field(sa_type=KEY, primary_key=True)
    n: int = Field(sa_type=COUNT, primary_key=True)
    type: str = Field(sa_type=TEXT)
    symbol: str = Field(sa_type=KEY)
    traders: Any = Field(sa_type=JSON)
    confidences: Any = Field(sa_type=JSON)
    severity: str = Field(sa_type=TEXT)
    outcome: str = Field(sa_type=TEXT)
    at: datetime = Field(sa_type=INSTANT)


class VerdictTable(Declared, table=True):
    """Declare VerdictRow; a decision reads its trader's newest."""

    __tablename__ = "verdicts"
    __table_args__ = (
        ForeignKeyConstraint(*TO_ACCOUNT, name="verdicts_account"),
        Index("verdicts_by_trader", "tenant_id", "trader_id", "at"),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    account_id: str = Field(sa_type=KEY, primary_key=True)
    round_id: str = Field(sa_type=KEY, primary_key=True)
    n: int = Field(sa_type=COUNT, primary_key=True)
    kind: str = Field(sa_type=TEXT)
    code: str = Field(sa_type=TEXT)
    trader_id: str = Field(sa_type=KEY)
    symbol: str = Field(sa_type=KEY)
    intent_id: str = Field(sa_type=KEY)
    detail: str = Field(sa_type=TEXT)
    at: datetime = Field(sa_type=INSTANT)
    numbers: Any = Field(sa_type=JSON)


class IncidentTable(Declared, table=True):
    """Declare IncidentRow; it may concern the tenant as a whole, so its account is no foreign key."""

    __tablename__ = "incidents"
    __table_args__ = (
        Index("incidents_open", "tenant_id", "account_id", postgresql_where=text("resolved_at IS NULL")),
        Index("incidents_by_time", "tenant_id", "at"),
        Index("incidents_ended", "resolved_at", postgresql_where=text("resolved_at IS NOT NULL")),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True, foreign_key="tenants.tenant_id")
    incident_id: str = Field(sa_type=KEY, primary_key=True)
    account_id: str = Field(sa_type=KEY)
    code: str = Field(sa_type=TEXT)
    severity: str = Field(sa_type=TEXT)
    detail: str = Field(sa_type=TEXT)
    at: datetime = Field(sa_type=INSTANT)
    trader_id: str = Field(sa_type=KEY)
    symbol: str = Field(sa_type=KEY)
    resolved_at: datetime | None = Field(sa_type=INSTANT)


class EventTable(Declared, table=True):
    """Declare EventRow; like an incident it may concern the tenant as a whole.

    The database gives each its place: `xact` is the transaction that wrote it, `seq` the order within one.
    """

    __tablename__ = "events"
    __table_args__ = (
        Index("events_by_time", "tenant_id", "at"),
        Index("events_by_place", "tenant_id", "xact", "seq"),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True, foreign_key="tenants.tenant_id")
    event_id: str = Field(sa_type=KEY, primary_key=True)
    at: datetime = Field(sa_type=INSTANT)
    actor: str = Field(sa_type=TEXT)
    kind: str = Field(sa_type=TEXT)
    account_id: str = Field(sa_type=KEY)
    trader_id: str = Field(sa_type=KEY)
    before: str = Field(sa_type=TEXT)
    after: str = Field(sa_type=TEXT)
    reason: str = Field(sa_type=TEXT)
    xact: int = Field(sa_column=Column("xact", COUNT, server_default=text(THIS_TRANSACTION), nullable=False))
    seq: int = Field(sa_column=Column("seq", COUNT, Identity(always=True), nullable=False))


class EquityTable(Declared, table=True):
    """Declare EquityRow; the service thins and deletes by time."""

    __tablename__ = "equity"
    __table_args__ = (
        ForeignKeyConstraint(*TO_ACCOUNT, name="equity_account"),
        Index("equity_by_time", "at", postgresql_using="brin"),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    account_id: str = Field(sa_type=KEY, primary_key=True)
    trader_id: str = Field(sa_type=KEY, primary_key=True)
    at: datetime = Field(sa_type=INSTANT, primary_key=True)
    equity: Decimal = Field(sa_type=MONEY)
    drawdown_pct: Decimal = Field(sa_type=MONEY)


class SpendingTable(Declared, table=True):
    """Declare SpendingRow; traders and models may be gone while their costs stay, so neither is a foreign key."""

    __tablename__ = "spending"

    tenant_id: str = Field(sa_type=KEY, primary_key=True, foreign_key="tenants.tenant_id")
    day: datetime = Field(sa_type=INSTANT, primary_key=True)
    scope: str = Field(sa_type=KEY, primary_key=True)
    name: str = Field(sa_type=KEY, primary_key=True)
    spent_usd: Decimal = Field(sa_type=MONEY)
    reserved_usd: Decimal = Field(sa_type=MONEY)
    unknown_usd: Decimal = Field(sa_type=MONEY)
    calls: int = Field(sa_type=COUNT)
    input_tokens: int = Field(sa_type=COUNT)
    cached_tokens: int = Field(sa_type=COUNT)
    output_tokens: int = Field(sa_type=COUNT)


class HoldTable(Declared, table=True):
    """Declare HoldRow."""

    __tablename__ = "holds"

    tenant_id: str = Field(sa_type=KEY, primary_key=True, foreign_key="tenants.tenant_id")
    hold_id: str = Field(sa_type=KEY, primary_key=True)
    day: datetime = Field(sa_type=INSTANT)
    model: str = Field(sa_type=KEY)
    trader_id: str = Field(sa_type=KEY)
    usd: Decimal = Field(sa_type=MONEY)
    expires_at: datetime = Field(sa_type=INSTANT)


class BudgetTable(Declared, table=True):
    """Declare BudgetRow."""

    __tablename__ = "budgets"

    tenant_id: str = Field(sa_type=KEY, primary_key=True, foreign_key="tenants.tenant_id")
    scope: str = Field(sa_type=KEY, primary_key=True)
    name: str = Field(sa_type=KEY, primary_key=True)
    usd: Decimal = Field(sa_type=MONEY)
