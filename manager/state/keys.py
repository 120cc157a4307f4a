"""What a store knows of each type of row: its key within a tenant, whose child it is, and the order it is read in."""

from collections.abc import Mapping
from typing import Any

from manager.state import access, acts, funding, records, spending
from manager.state.journal import ConflictRow, EquityRow

Row = (
    records.AccountRow
    | records.TraderRow
    | records.ScheduleRow
    | records.BookRow
    | records.PositionRow
    | records.DecisionRow
    | records.PromptRow
    | records.IntentRow
    | records.RoundRow
    | records.OrderRow
    | records.FillRow
    | records.FillPartRow
    | funding.FundingRow
    | records.LedgerRow
    | ConflictRow
    | records.VerdictRow
    | records.IncidentRow
    | spending.SpendingRow
    | spending.HoldRow
    | spending.BudgetRow
    | records.EventRow
    | EquityRow
    | acts.ActRow
    | acts.FlattenRow
    | access.ApiKeyRow
    | access.TenantKeyRow
    | access.SecretRow
)

# Parents come before their children.
KEYS: Mapping[type[Any], tuple[str, ...]] = {
    records.AccountRow: ("account_id",),
    records.TraderRow: ("trader_id",),
    records.ScheduleRow: ("trader_id",),
    records.BookRow: ("account_id", "trader_id"),
    records.PositionRow: ("account_id", "trader_id", "symbol"),
    records.DecisionRow: ("decision_id",),
    records.PromptRow: ("decision_id",),
    records.IntentRow: ("intent_id",),
    records.RoundRow: ("account_id", "round_id"),
    records.OrderRow: ("account_id", "order_id"),
    records.FillRow: ("account_id", "trade_id"),
    records.FillPartRow: ("account_id", "trade_id", "trader_id", "leg"),
    funding.FundingRow: ("account_id", "payment"),
    records.LedgerRow: ("account_id", "ref", "trader_id", "kind"),
    ConflictRow: ("account_id", "round_id", "n"),
    records.VerdictRow: ("account_id", "round_id", "n"),
    records.IncidentRow: ("incident_id",),
    spending.SpendingRow: ("day", "scope", "name"),
    spending.HoldRow: ("hold_id",),
    spending.BudgetRow: ("scope", "name"),
    records.EventRow: ("event_id",),
    EquityRow: ("account_id", "trader_id", "at"),
    acts.ActRow: ("key",),
    acts.FlattenRow: ("account_id", "flatten_id"),
    access.ApiKeyRow: ("key_id",),
    access.TenantKeyRow: ("key_id",),
    access.SecretRow: ("kind", "owner", "name"),
}
TRADERS_IN: Mapping[type[Any], str] = {records.OrderRow: "shares", ConflictRow: "traders"}
"""Where rows name the traders that they are of, if there may be several; other rows have a `trader_id`."""
RANK: Mapping[type[Any], int] = {kind: rank for rank, kind in enumerate(KEYS)}
SORTED_BY: Mapping[type[Any], tuple[str, ...]] = {**KEYS, records.OrderRow: ("account_id", "round_id", "n", "order_id")}
_OF_THE_TENANT = (
    records.AccountRow,
    records.IncidentRow,
    records.EventRow,
    spending.SpendingRow,
    spending.HoldRow,
    spending.BudgetRow,
    acts.ActRow,
    access.ApiKeyRow,
    access.TenantKeyRow,
    access.SecretRow,
)
PARENTS: Mapping[type[Any], tuple[type[Any], tuple[str, ...]]] = {
    **{kind: (records.AccountRow, ("account_id",)) for kind in KEYS if kind not in _OF_THE_TENANT},
    records.ScheduleRow: (records.TraderRow, ("trader_id",)),
    records.PositionRow: (records.BookRow, ("account_id", "trader_id")),
}
APPEND_ONLY = frozenset(
    {
        records.LedgerRow,
        records.FillRow,
        records.FillPartRow,
        records.EventRow,
        records.DecisionRow,
        records.VerdictRow,
    }
)
NEVER_DELETED = APPEND_ONLY | {records.OrderRow, acts.ActRow, acts.FlattenRow, access.ApiKeyRow, access.TenantKeyRow}
OWNED_BY_ACQUIRE = ("fencing_token", "holder")
FIXED: Mapping[type[Any], tuple[str, ...]] = {
    records.OrderRow: (
        "round_id",
        "symbol",
        "side",
        "type",
        "purpose",
        "quantity",
        "created_at",
        "shares",
        "n",
        "bracket",
        "trigger_price",
        "reduce_only",
        "fired",
    ),
    acts.ActRow: ("act", "arguments", "at", "actor"),
    acts.FlattenRow: ("scope", "afterwards", "at", "actor", "reason", "trader_id"),
    access.ApiKeyRow: ("name", "role", "hash", "fingerprint", "created_at", "created_by", "expires_at"),
    access.TenantKeyRow: ("created_at",),
}
"""What of a row stays as it was inserted; PostgreSQL grants the update of its other columns only."""
KEPT: Mapping[type[Any], tuple[str, ...]] = {**FIXED, records.AccountRow: OWNED_BY_ACQUIRE}
"""What an upsert leaves as it is stored."""
