"""Tables of decisions, intents, rounds, orders and fills: how a decision became a trade."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Index, text
from sqlmodel import Field, ForeignKeyConstraint

from manager.state.tables.desk import TO_ACCOUNT
from manager.state.tables.types import COUNT, INSTANT, JSON, KEY, MONEY, REAL, TEXT, Declared


class DecisionTable(Declared, table=True):
    """Declare DecisionRow; the service takes contexts away by time."""

    __tablename__ = "decisions"
    __table_args__ = (
        ForeignKeyConstraint(*TO_ACCOUNT, name="decisions_account"),
        Index("decisions_by_trader", "tenant_id", "trader_id", "decided_at"),
        Index("decisions_with_context", "decided_at", postgresql_where=text("context IS NOT NULL")),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    decision_id: str = Field(sa_type=KEY, primary_key=True)
    trader_id: str = Field(sa_type=KEY)
    account_id: str = Field(sa_type=KEY)
    due_at: datetime = Field(sa_type=INSTANT)
    decided_at: datetime = Field(sa_type=INSTANT)
    outcome: str = Field(sa_type=TEXT)
    decisions: Any = Field(sa_type=JSON)
    errors: Any = Field(sa_type=JSON)
    model: str = Field(sa_type=TEXT)
    prompt_hash: str = Field(sa_type=TEXT)
    reasoning: str = Field(sa_type=TEXT)
    reply: str = Field(sa_type=TEXT)
    usage: Any = Field(sa_type=JSON)
    latency_s: float = Field(sa_type=REAL)
    attempts: int = Field(sa_type=COUNT)
    context: Any = Field(sa_type=JSON, nullable=True)
    prompt_tokens: int = Field(sa_type=COUNT)
    prompt_cuts: Any = Field(sa_type=JSON)


class PromptTable(Declared, table=True):
    """Declare PromptRow; the service deletes by time."""

    __tablename__ = "prompts"
    __table_args__ = (
        ForeignKeyConstraint(*TO_ACCOUNT, name="prompts_account"),
        Index("prompts_by_time", "at"),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    decision_id: str = Field(sa_type=KEY, primary_key=True)
    account_id: str = Field(sa_type=KEY)
    trader_id: str = Field(sa_type=KEY)
    at: datetime = Field(sa_type=INSTANT)
    template: str = Field(sa_type=TEXT)
    version: int = Field(sa_type=COUNT)
    sha256: str = Field(sa_type=TEXT)
    body: str = Field(sa_type=TEXT)


class IntentTable(Declared, table=True):
    """Declare IntentRow; `intents_pending` is what a round and the sweep read."""

    __tablename__ = "intents"
    __table_args__ = (
        ForeignKeyConstraint(*TO_ACCOUNT, name="intents_account"),
        Index("intents_pending", "tenant_id", "account_id", postgresql_where=text("status = 'pending'")),
        Index("intents_by_trader", "tenant_id", "trader_id", "decided_at"),
        Index("intents_by_decision", "tenant_id", "decision_id"),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    intent_id: str = Field(sa_type=KEY, primary_key=True)
    decision_id: str = Field(sa_type=KEY)
    account_id: str = Field(sa_type=KEY)
    trader_id: str = Field(sa_type=KEY)
    decided_at: datetime = Field(sa_type=INSTANT)
    decision: Any = Field(sa_type=JSON)
    n: int = Field(sa_type=COUNT)
    expires_at: datetime | None = Field(sa_type=INSTANT)
    status: str = Field(sa_type=TEXT)
    round_id: str = Field(sa_type=TEXT)
    code: str = Field(sa_type=TEXT)
    asked_by: str = Field(sa_type=TEXT)


class RoundTable(Declared, table=True):
    """Declare RoundRow."""

    __tablename__ = "rounds"
    __table_args__ = (
        ForeignKeyConstraint(*TO_ACCOUNT, name="rounds_account"),
        Index("rounds_by_time", "tenant_id", "account_id", "at"),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    account_id: str = Field(sa_type=KEY, primary_key=True)
    round_id: str = Field(sa_type=KEY, primary_key=True)
    at: datetime = Field(sa_type=INSTANT)
    equity: Decimal = Field(sa_type=MONEY)
    counts: Any = Field(sa_type=JSON)


class OrderTable(Declared, table=True):
    """Declare OrderRow; `orders_live` is what a round and the lookups read."""

    __tablename__ = "orders"
    __table_args__ = (
        ForeignKeyConstraint(*TO_ACCOUNT, name="orders_account"),
        Index(
            "orders_live",
            "tenant_id",
            "account_id",
            postgresql_where=text("state IN ('pending', 'accepted', 'unknown')"),
        ),
        Index("orders_by_time", "tenant_id", "account_id", "created_at"),
        Index("orders_by_round", "tenant_id", "account_id", "round_id"),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    account_id: str = Field(sa_type=KEY, primary_key=True)
    order_id: str = Field(sa_type=KEY, primary_key=True)
    round_id: str = Field(sa_type=KEY)
    symbol: str = Field(sa_type=KEY)
    side: str = Field(sa_type=TEXT)
    type: str = Field(sa_type=TEXT)
    purpose: str = Field(sa_type=TEXT)
    quantity: Decimal = Field(sa_type=MONEY)
    created_at: datetime = Field(sa_type=INSTANT)
    shares: Any = Field(sa_type=JSON)
    n: int = Field(sa_type=COUNT)
    bracket: str | None = Field(sa_type=KEY)
    trigger_price: Decimal | None = Field(sa_type=MONEY)
    reduce_only: bool
    fired: bool
    state: str = Field(sa_type=TEXT)
    filled: Decimal = Field(sa_type=MONEY)
    venue_order_id: str = Field(sa_type=TEXT)
    reason: str = Field(sa_type=TEXT)
    send_before: datetime | None = Field(sa_type=INSTANT)
    updated_at: datetime | None = Field(sa_type=INSTANT)


class FillTable(Declared, table=True):
    """Declare FillRow."""

    __tablename__ = "fills"
    __table_args__ = (
        ForeignKeyConstraint(*TO_ACCOUNT, name="fills_account"),
        Index("fills_by_order", "tenant_id", "account_id", "order_id"),
        Index("fills_by_time", "tenant_id", "account_id", "at"),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    account_id: str = Field(sa_type=KEY, primary_key=True)
    trade_id: str = Field(sa_type=KEY, primary_key=True)
    order_id: str = Field(sa_type=KEY)
    symbol: str = Field(sa_type=KEY)
    side: str = Field(sa_type=TEXT)
    quantity: Decimal = Field(sa_type=MONEY)
    price: Decimal = Field(sa_type=MONEY)
    fee: Decimal = Field(sa_type=MONEY)
    liquidity: str = Field(sa_type=TEXT)
    kind: str = Field(sa_type=TEXT)
    at: datetime = Field(sa_type=INSTANT)


class FillPartTable(Declared, table=True):
    """Declare FillPartRow."""

    __tablename__ = "fill_parts"
    __table_args__ = (
        ForeignKeyConstraint(*TO_ACCOUNT, name="fill_parts_account"),
        Index("fill_parts_by_trader", "tenant_id", "account_id", "trader_id", "at"),
        Index("fill_parts_by_order", "tenant_id", "account_id", "order_id"),
        Index("fill_parts_by_symbol", "tenant_id", "account_id", "symbol", "at"),
        Index("fill_parts_by_position", "tenant_id", "trader_id", "opened_at"),
        Index(
            "fill_parts_closing",
            "tenant_id",
            "account_id",
            "closed_at",
            postgresql_where=text("closed_at IS NOT NULL"),
        ),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    account_id: str = Field(sa_type=KEY, primary_key=True)
    trade_id: str = Field(sa_type=KEY, primary_key=True)
    trader_id: str = Field(sa_type=KEY, primary_key=True)
    leg: str = Field(sa_type=KEY, primary_key=True)
    order_id: str = Field(sa_type=KEY)
    intent_id: str = Field(sa_type=KEY)
    symbol: str = Field(sa_type=KEY)
    quantity: Decimal = Field(sa_type=MONEY)
    price: Decimal = Field(sa_type=MONEY)
    fee: Decimal = Field(sa_type=MONEY)
    realized: Decimal = Field(sa_type=MONEY)
    purpose: str = Field(sa_type=TEXT)
    at: datetime = Field(sa_type=INSTANT)
    opened_at: datetime | None = Field(sa_type=INSTANT)
    closed_at: datetime | None = Field(sa_type=INSTANT)


class FundingTable(Declared, table=True):
    """Declare FundingRow."""

    __tablename__ = "funding"
    __table_args__ = (
        ForeignKeyConstraint(*TO_ACCOUNT, name="funding_account"),
        Index("funding_by_symbol", "tenant_id", "account_id", "symbol", "at"),
    )

    tenant_id: str = Field(sa_type=KEY, primary_key=True)
    account_id: str = Field(sa_type=KEY, primary_key=True)
    payment: str = Field(sa_type=KEY, primary_key=True)
    symbol: str = Field(sa_type=KEY)
    at: datetime = Field(sa_type=INSTANT)
    rate: Decimal = Field(sa_type=MONEY)
    mark: Decimal = Field(sa_type=MONEY)
    amount: Decimal = Field(sa_type=MONEY)
    parts: Any = Field(sa_type=JSON)
