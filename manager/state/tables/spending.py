"""Tables of what models cost: the sums of each day, what is set aside for calls under way, and the budgets."""

from datetime import datetime
from decimal import Decimal

from sqlmodel import Field, SQLModel

from manager.state.tables.types import COUNT, INSTANT, KEY, MONEY


class SpendingTable(SQLModel, table=True):
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


class HoldTable(SQLModel, table=True):
    """Declare HoldRow."""

    __tablename__ = "holds"

    tenant_id: str = Field(sa_type=KEY, primary_key=True, foreign_key="tenants.tenant_id")
    hold_id: str = Field(sa_type=KEY, primary_key=True)
    day: datetime = Field(sa_type=INSTANT)
    model: str = Field(sa_type=KEY)
    trader_id: str = Field(sa_type=KEY)
    usd: Decimal = Field(sa_type=MONEY)
    expires_at: datetime = Field(sa_type=INSTANT)


class BudgetTable(SQLModel, table=True):
    """Declare BudgetRow."""

    __tablename__ = "budgets"

    tenant_id: str = Field(sa_type=KEY, primary_key=True, foreign_key="tenants.tenant_id")
    scope: str = Field(sa_type=KEY, primary_key=True)
    name: str = Field(sa_type=KEY, primary_key=True)
    usd: Decimal = Field(sa_type=MONEY)
