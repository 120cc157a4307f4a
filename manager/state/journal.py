"""Rows that are written for people and curves only: conflicts, and samples of equity."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from exchanges.types import ZERO, Symbol
from manager.state.records import AccountId, RoundId, TenantId
from traders.spec import TraderId


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictRow:
    """Hold one conflict between traders and how it ended."""

    tenant_id: TenantId
    account_id: AccountId
    round_id: RoundId
    n: int
    type: str
    symbol: Symbol
    traders: tuple[str, ...]
    confidences: tuple[str, ...]
    severity: str
    outcome: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EquityRow:
    """Hold one sample of an equity curve; `trader_id` is empty for the whole account."""

    tenant_id: TenantId
    account_id: AccountId
    trader_id: TraderId
    at: datetime
    equity: Decimal
    drawdown_pct: Decimal = ZERO
