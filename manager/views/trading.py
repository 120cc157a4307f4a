"""How far each scope may trade: the service, the tenant, its accounts, and those traders that are switched."""

from dataclasses import dataclass

from manager.state.kinds import TradingState
from manager.state.records import AccountRow, TenantId, TraderRow
from manager.state.store import Search, Store
from manager.state.switches import Switched, of_account, of_trader


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingStates:
    """Hold the states, the widest scope first; for an entry the strictest of those around it holds."""

    scopes: tuple[Switched, ...]


async def read_trading(store: Store, tenant: TenantId) -> TradingStates:
    """Return how far the service, the tenant, each account and each switched trader may trade."""
    async with store.transaction(tenant) as tx:
        wide = (await tx.switches()).over(tenant)
        accounts, traders = await tx.search(Search(kind=AccountRow), Search(kind=TraderRow))
    narrow = [of_trader(row) for row in traders if row.trading_state is not TradingState.ACTIVE]
    return TradingStates(scopes=(*wide, *map(of_account, accounts), *narrow))
