"""Tables of an operator's acts: what was done under which key, and flattens."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, text
from sqlmodel import Field, ForeignKeyConstraint, SQLModel

from manager.state.tables.desk import TO_ACCOUNT
from manager.state.tables.types import INSTANT, JSON, KEY, TEXT


class ActTable(SQLModel, table=True):
    """Declare ActRow; its key is unique in the tenant, so that two callers at once make one effect."""

    __tablename__ = "acts"

    tenant_id: str = Field(sa_type=KEY, primary_key=True, foreign_key="tenants.tenant_id")
    key: str = Field(sa_type=KEY, primary_key=True)
    act: str = Field(sa_type=TEXT)
    arguments: str = Field(sa_type=TEXT)
    at: datetime = Field(sa_type=INSTANT)
    actor: str = Field(sa_type=TEXT)
    result: str = Field(sa_type=TEXT)


class FlattenTable(SQLModel, table=True):
    """Declare FlattenRow; `flattens_open` is what a round reads."""

    __tablename__ = "flattens"
    __table_args__ = (
        ForeignKeyConstraint(*TO_ACCOUNT, name="flattens_account"),
        Index("flattens_open", "tenant_id", "account_id", postgresql_where=text("state = 'open'")),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    account_id: str = Field(sa_type=KEY, primary_key=True)
    flatten_id: str = Field(sa_type=KEY, primary_key=True)
    scope: str = Field(sa_type=TEXT)
    afterwards: str = Field(sa_type=TEXT)
    at: datetime = Field(sa_type=INSTANT)
    actor: str = Field(sa_type=TEXT)
    reason: str = Field(sa_type=TEXT)
    trader_id: str = Field(sa_type=KEY)
    state: str = Field(sa_type=TEXT)
    ended_at: datetime | None = Field(sa_type=INSTANT)
    remaining: Any = Field(sa_type=JSON)
