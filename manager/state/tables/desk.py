"""Tables of accounts, traders and their books: what a round and a decision start from."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Index, text
from sqlmodel import Field, ForeignKeyConstraint

from manager.state.tables.types import COUNT, INSTANT, JSON, KEY, MONEY, REAL, TEXT, Declared

TO_ACCOUNT = (["tenant_id", "account_id"], ["accounts.tenant_id", "accounts.account_id"])


class TenantTable(Declared, table=True):
    """Declare the tenants, each with its Switch."""

    __tablename__ = "tenants"
    __table_args__ = (CheckConstraint("tenant_id <> ''", name="tenants_named"),)

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    trading_state: str = Field(sa_type=TEXT, sa_column_kwargs={"server_default": "active"})
    state_reason: str = Field(sa_type=TEXT, sa_column_kwargs={"server_default": ""})
    switched_by: str = Field(sa_type=TEXT, sa_column_kwargs={"server_default": ""})
    switched_at: datetime | None = Field(sa_type=INSTANT)


class ServiceTable(Declared, table=True):
    """Declare the one row of the installation: its Switch, and the mark of its service key, empty until it has one."""

    __tablename__ = "service"
    __table_args__ = (CheckConstraint("one", name="service_one"),)

    one: bool = Field(primary_key=True)
    trading_state: str = Field(sa_type=TEXT)
    state_reason: str = Field(sa_type=TEXT)
    switched_by: str = Field(sa_type=TEXT)
    switched_at: datetime | None = Field(sa_type=INSTANT)
    key_mark: str = Field(sa_type=TEXT)


class AccountTable(Declared, table=True):
    """Declare AccountRow; the fence locks its row."""

    __tablename__ = "accounts"

    tenant_id: str = Field(sa_type=KEY, primary_key=True, foreign_key="tenants.tenant_id")
    account_id: str = Field(sa_type=KEY, primary_key=True)
    venue: str = Field(sa_type=TEXT)
    trading_state: str = Field(sa_type=TEXT)
    state_reason: str = Field(sa_type=TEXT)
    fencing_token: int = Field(sa_type=COUNT)
    holder: str = Field(sa_type=TEXT)
    equity: Decimal = Field(sa_type=MONEY)
    books_since: datetime | None = Field(sa_type=INSTANT)
    fills_since: datetime | None = Field(sa_type=INSTANT)
    newest_trade: str = Field(sa_type=TEXT)
    funding_since: datetime | None = Field(sa_type=INSTANT)
    cash_since: datetime | None = Field(sa_type=INSTANT)
    rebalanced_at: datetime | None = Field(sa_type=INSTANT)
    rebalance_members: Any = Field(sa_type=JSON)
    updated_at: datetime | None = Field(sa_type=INSTANT)
    utilization: Any = Field(sa_type=JSON, nullable=True)
    marks: Any = Field(sa_type=JSON)
    terms: str = Field(sa_type=TEXT)
    config: str = Field(sa_type=TEXT)
    checked_at: datetime | None = Field(sa_type=INSTANT)
    suspicions: Any = Field(sa_type=JSON)
    opened_at: datetime | None = Field(sa_type=INSTANT)


class TraderTable(Declared, table=True):
    """Declare TraderRow."""

    __tablename__ = "traders"
    __table_args__ = (
        ForeignKeyConstraint(*TO_ACCOUNT, name="traders_account"),
        Index("traders_by_account", "tenant_id", "account_id"),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    trader_id: str = Field(sa_type=KEY, primary_key=True)
    account_id: str = Field(sa_type=KEY)
    seq: int = Field(sa_type=COUNT)
    spec: Any = Field(sa_type=JSON)
    state: str = Field(sa_type=TEXT)
    state_reason: str = Field(sa_type=TEXT)
    state_code: str = Field(sa_type=TEXT)
    trading_state: str = Field(sa_type=TEXT)
    trading_reason: str = Field(sa_type=TEXT)
    created_at: datetime | None = Field(sa_type=INSTANT)
    updated_at: datetime | None = Field(sa_type=INSTANT)


class ScheduleTable(Declared, table=True):
    """Declare ScheduleRow; `schedules_due` finds who is due across tenants."""

    __tablename__ = "schedules"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "trader_id"],
            ["traders.tenant_id", "traders.trader_id"],
            name="schedules_trader",
            ondelete="CASCADE",
        ),
        Index("schedules_by_account", "tenant_id", "account_id"),
        Index("schedules_due", "next_due_at", postgresql_where=text("in_flight_due_at IS NULL")),
        Index("schedules_in_flight", "claimed_at", postgresql_where=text("in_flight_due_at IS NOT NULL")),
        CheckConstraint("interval_s > 0", name="schedules_interval"),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    trader_id: str = Field(sa_type=KEY, primary_key=True)
    account_id: str = Field(sa_type=KEY)
    interval_s: int = Field(sa_type=COUNT)
    phase_s: int = Field(sa_type=COUNT)
    next_due_at: datetime | None = Field(sa_type=INSTANT)
    in_flight_due_at: datetime | None = Field(sa_type=INSTANT)
    claimed_at: datetime | None = Field(sa_type=INSTANT)
    last_decision_at: datetime | None = Field(sa_type=INSTANT)
    failed_decisions: int = Field(sa_type=COUNT)
    told_at: datetime | None = Field(sa_type=INSTANT)
    bad_replies: int = Field(sa_type=COUNT)
    gate: str = Field(sa_type=TEXT)


class BookTable(Declared, table=True):
    """Declare BookRow; `sharpe` repeats the one of `performance` for the claim order."""

    __tablename__ = "books"
    __table_args__ = (ForeignKeyConstraint(*TO_ACCOUNT, name="books_account"),)

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    account_id: str = Field(sa_type=KEY, primary_key=True)
    trader_id: str = Field(sa_type=KEY, primary_key=True)
    capital: Decimal = Field(sa_type=MONEY)
    realized: Decimal = Field(sa_type=MONEY)
    fees: Decimal = Field(sa_type=MONEY)
    funding: Decimal = Field(sa_type=MONEY)
    allocated: Decimal = Field(sa_type=MONEY)
    open_positions: int = Field(sa_type=COUNT)
    last_stop_at: datetime | None = Field(sa_type=INSTANT)
    recent_entries: Any = Field(sa_type=JSON)
    sharpe_at_rebalance: float | None = Field(sa_type=REAL)
    bankrupt_at: datetime | None = Field(sa_type=INSTANT)
    violations: Any = Field(sa_type=JSON)
    last_entry_at: datetime | None = Field(sa_type=INSTANT)
    started_usd: Decimal = Field(sa_type=MONEY)
    started_at: datetime | None = Field(sa_type=INSTANT)
    performance: Any = Field(sa_type=JSON)
    sharpe: float | None = Field(sa_type=REAL)


class PositionTable(Declared, table=True):
    """Declare PositionRow."""

    __tablename__ = "positions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "account_id", "trader_id"],
            ["books.tenant_id", "books.account_id", "books.trader_id"],
            name="positions_book",
        ),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    account_id: str = Field(sa_type=KEY, primary_key=True)
    trader_id: str = Field(sa_type=KEY, primary_key=True)
    symbol: str = Field(sa_type=KEY, primary_key=True)
    quantity: Decimal = Field(sa_type=MONEY)
    cost: Decimal = Field(sa_type=MONEY)
    leverage: int = Field(sa_type=COUNT)
    opened_at: datetime = Field(sa_type=INSTANT)
    contract_size: Decimal = Field(sa_type=MONEY)
    stop_loss: Decimal | None = Field(sa_type=MONEY)
    take_profit: Decimal | None = Field(sa_type=MONEY)
    realized: Decimal = Field(sa_type=MONEY)
    dust: bool
    unprotected_since: datetime | None = Field(sa_type=INSTANT)
