"""Tables of the paper venue: what its accounts, orders, fills and funding outlive every worker in."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Column, Identity, Index, text
from sqlmodel import Field, ForeignKeyConstraint

from manager.state.tables.types import COUNT, INSTANT, JSON, KEY, MONEY, TEXT, Declared

TO_PAPER_ACCOUNT = (["tenant_id", "account"], ["paper_accounts.tenant_id", "paper_accounts.account"])


def _sequence(*, primary_key: bool) -> Any:
    return Column("seq", BigInteger(), Identity(always=True), nullable=False, primary_key=primary_key)


class PaperAccountTable(Declared, table=True):
    """Declare PaperState without its orders; its row is locked through each transaction on the account."""

    __tablename__ = "paper_accounts"

    tenant_id: str = Field(sa_type=KEY, primary_key=True, foreign_key="tenants.tenant_id")
    account: str = Field(sa_type=KEY, primary_key=True)
    cash: Decimal = Field(sa_type=MONEY)
    advanced_to: datetime = Field(sa_type=INSTANT)
    positions: Any = Field(sa_type=JSON)
    leverage: Any = Field(sa_type=JSON)
    order_sequence: int = Field(sa_type=COUNT)
    trade_sequence: int = Field(sa_type=COUNT)
    revision: int = Field(sa_type=COUNT)
    liquidated_at: datetime | None = Field(sa_type=INSTANT)
    phase: int = Field(sa_type=COUNT)


class PaperOrderTable(Declared, table=True):
    """Declare PaperOrder, the last version of each."""

    __tablename__ = "paper_orders"
    __table_args__ = (
        ForeignKeyConstraint(*TO_PAPER_ACCOUNT, name="paper_orders_account"),
        Index("paper_orders_open", "tenant_id", "account", postgresql_where=text("status = 'open'")),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    account: str = Field(sa_type=KEY, primary_key=True)
    client_order_id: str = Field(sa_type=KEY, primary_key=True)
    venue_order_id: str = Field(sa_type=KEY)
    symbol: str = Field(sa_type=KEY)
    side: str = Field(sa_type=TEXT)
    type: str = Field(sa_type=TEXT)
    quantity: Decimal = Field(sa_type=MONEY)
    limit_price: Decimal | None = Field(sa_type=MONEY)
    trigger_price: Decimal | None = Field(sa_type=MONEY)
    reduce_only: bool
    time_in_force: str = Field(sa_type=TEXT)
    status: str = Field(sa_type=TEXT)
    filled: Decimal = Field(sa_type=MONEY)
    created_at: datetime = Field(sa_type=INSTANT)
    updated_at: datetime = Field(sa_type=INSTANT)
    live_from: datetime = Field(sa_type=INSTANT)
    triggered: bool
    reason: str = Field(sa_type=TEXT)
    bracket: str | None = Field(sa_type=KEY)


class PaperFillTable(Declared, table=True):
    """Declare the venue's fills; `seq` is the order of booking."""

    __tablename__ = "paper_fills"
    __table_args__ = (
        ForeignKeyConstraint(*TO_PAPER_ACCOUNT, name="paper_fills_account"),
        Index("paper_fills_by_time", "tenant_id", "account", "at"),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    account: str = Field(sa_type=KEY, primary_key=True)
    trade_id: str = Field(sa_type=KEY, primary_key=True)
    seq: int = Field(sa_column=_sequence(primary_key=False))
    client_order_id: str | None = Field(sa_type=KEY)
    venue_order_id: str | None = Field(sa_type=KEY)
    symbol: str = Field(sa_type=KEY)
    side: str = Field(sa_type=TEXT)
    quantity: Decimal = Field(sa_type=MONEY)
    price: Decimal = Field(sa_type=MONEY)
    fee: Decimal = Field(sa_type=MONEY)
    liquidity: str = Field(sa_type=TEXT)
    at: datetime = Field(sa_type=INSTANT)
    kind: str = Field(sa_type=TEXT)


class PaperFundingTable(Declared, table=True):
    """Declare the venue's funding payments; `seq` is the order of booking."""

    __tablename__ = "paper_funding"
    __table_args__ = (
        ForeignKeyConstraint(*TO_PAPER_ACCOUNT, name="paper_funding_account"),
        Index("paper_funding_by_time", "tenant_id", "account", "at"),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    account: str = Field(sa_type=KEY, primary_key=True)
    seq: int = Field(sa_column=_sequence(primary_key=True))
    symbol: str = Field(sa_type=KEY)
    at: datetime = Field(sa_type=INSTANT)
    rate: Decimal = Field(sa_type=MONEY)
    mark: Decimal = Field(sa_type=MONEY)
    amount: Decimal = Field(sa_type=MONEY)
