"""What an invariant looks at: one account's books, orders and the venue's answer, read together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from exchanges.types import Balance, PositionReport, Symbol
from manager.state.records import OrderPurpose, OrderRow
from manager.state.store import AccountRows

REDUCING = (OrderPurpose.REDUCE, OrderPurpose.LIQUIDATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFacts:
    """Hold one account at one instant; `contract_sizes` by symbol."""

    rows: AccountRows
    positions: Mapping[Symbol, PositionReport]
    balance: Balance
    contract_sizes: Mapping[Symbol, Decimal]

    def live_orders(self) -> Sequence[OrderRow]:
        """Return the orders the venue may still hold."""
        return [order for order in self.rows.orders if order.state.live]


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Say which invariant does not hold, where, and by how much."""

    invariant: str
    subject: str
    detail: str
