"""Which rows there are, the primary key of each, always within a tenant, and the order in which they are read."""

from collections.abc import Mapping
from typing import Any

from manager.state.records import (
    AccountRow,
    BookRow,
    BudgetRow,
    ConflictRow,
    DecisionRow,
    EquityRow,
    EventRow,
    FillPartRow,
    FillRow,
    HoldRow,
    IncidentRow,
    IntentRow,
    LedgerRow,
    OrderRow,
    PositionRow,
    PromptRow,
    RoundRow,
    ScheduleRow,
    SpendingRow,
    TraderRow,
    VerdictRow,
)

Row = (
    AccountRow
    | TraderRow
    | ScheduleRow
    | BookRow
    | PositionRow
    | DecisionRow
    | PromptRow
    | IntentRow
    | RoundRow
    | OrderRow
    | FillRow
    | FillPartRow
    | LedgerRow
    | ConflictRow
    | VerdictRow
    | IncidentRow
    | SpendingRow
    | HoldRow
    | BudgetRow
    | EventRow
    | EquityRow
)

KEYS: Mapping[type[Any], tuple[str, ...]] = {
    AccountRow: ("account_id",),
    TraderRow: ("trader_id",),
    ScheduleRow: ("trader_id",),
    BookRow: ("account_id", "trader_id"),
    PositionRow: ("account_id", "trader_id", "symbol"),
    DecisionRow: ("decision_id",),
    PromptRow: ("decision_id",),
    IntentRow: ("intent_id",),
    RoundRow: ("account_id", "round_id"),
    OrderRow: ("account_id", "order_id"),
    FillRow: ("account_id", "trade_id"),
    FillPartRow: ("account_id", "trade_id", "trader_id", "leg"),
    LedgerRow: ("account_id", "ref", "trader_id", "kind"),
    ConflictRow: ("account_id", "round_id", "n"),
    VerdictRow: ("account_id", "round_id", "n"),
    IncidentRow: ("incident_id",),
    SpendingRow: ("day", "scope", "name"),
    HoldRow: ("hold_id",),
    BudgetRow: ("scope", "name"),
    EventRow: ("event_id",),
    EquityRow: ("account_id", "trader_id", "at"),
}
SORTED_BY: Mapping[type[Any], tuple[str, ...]] = {**KEYS, OrderRow: ("account_id", "round_id", "n", "order_id")}

TRADERS_IN: Mapping[type[Any], str] = {OrderRow: "shares", ConflictRow: "traders"}
"""Where rows name the traders that they are of, if there may be several; other rows have a `trader_id`."""
