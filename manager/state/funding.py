"""The row of a funding payment: what the venue said of it, and how it was split."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from exchanges.types import Symbol
from manager.state.records import AccountId, TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingRow:
    """Hold one funding payment of the venue, booked once, and what each book has had of it, late corrections included.

    `payment` is what it is known by.
    """

    tenant_id: TenantId
    account_id: AccountId
    payment: str
    symbol: Symbol
    at: datetime
    rate: Decimal
    mark: Decimal
    amount: Decimal
    parts: Mapping[str, Decimal] = field(default_factory=dict)
