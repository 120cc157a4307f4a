"""The tables of the state: one for each row type, the tenants and the paper venue; REVISION is their migration."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import MetaData, Table
from sqlmodel import SQLModel

from manager.state import access as access_rows
from manager.state import acts as act_rows
from manager.state import funding, records, spending
from manager.state.journal import ConflictRow, EquityRow
from manager.state.tables import access, acts, desk, journal, paper, trading

METADATA: MetaData = SQLModel.metadata
REVISION: Final = "0030"


def table_of(model: Any) -> Table:
    """Return the Core table of a SQLModel class."""
    table: Table = model.__table__
    return table


TABLES: Mapping[type[Any], Table] = {
    records.AccountRow: table_of(desk.AccountTable),
    records.TraderRow: table_of(desk.TraderTable),
    records.ScheduleRow: table_of(desk.ScheduleTable),
    records.BookRow: table_of(desk.BookTable),
    records.PositionRow: table_of(desk.PositionTable),
    records.DecisionRow: table_of(trading.DecisionTable),
    records.PromptRow: table_of(trading.PromptTable),
    records.IntentRow: table_of(trading.IntentTable),
    records.RoundRow: table_of(trading.RoundTable),
    records.OrderRow: table_of(trading.OrderTable),
    records.FillRow: table_of(trading.FillTable),
    records.FillPartRow: table_of(trading.FillPartTable),
    funding.FundingRow: table_of(trading.FundingTable),
    records.LedgerRow: table_of(journal.LedgerTable),
    ConflictRow: table_of(journal.ConflictTable),
    records.VerdictRow: table_of(journal.VerdictTable),
    records.IncidentRow: table_of(journal.IncidentTable),
    spending.SpendingRow: table_of(journal.SpendingTable),
    spending.HoldRow: table_of(journal.HoldTable),
    spending.BudgetRow: table_of(journal.BudgetTable),
    records.EventRow: table_of(journal.EventTable),
    EquityRow: table_of(journal.EquityTable),
    act_rows.ActRow: table_of(acts.ActTable),
    act_rows.FlattenRow: table_of(acts.FlattenTable),
    access_rows.ApiKeyRow: table_of(access.ApiKeyTable),
    access_rows.TenantKeyRow: table_of(access.TenantKeyTable),
    access_rows.SecretRow: table_of(access.SecretTable),
}
TENANTS = table_of(desk.TenantTable)
SERVICE = table_of(desk.ServiceTable)
PAPER_TABLES = tuple(
    table_of(model)
    for model in (paper.PaperAccountTable, paper.PaperOrderTable, paper.PaperFillTable, paper.PaperFundingTable)
)
