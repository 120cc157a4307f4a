"""What each trader of a config will get of its account's capital at the first start, before any profit or loss."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from exchanges.types import ZERO
from manager.config.values import AccountConfig
from manager.desk.plan.capital import allocations
from manager.desk.plan.values import TraderView
from manager.state.kinds import TradingState
from manager.state.records import TraderState
from traders.book import Book
from traders.spec import TraderId, TraderSpec

HUNDRED = Decimal(100)


def distributable(account: AccountConfig) -> Decimal:
    """Return what the account deals out: its equity but for the reserve, 0 where only the venue knows."""
    return account.equity_usd * (1 - account.rules.reserve_equity_pct / HUNDRED)


def dealt(account: AccountConfig, traders: Sequence[TraderSpec]) -> Mapping[TraderId, Decimal]:
    """Return the capital of those that start by themselves; one that waits for its start gets none before it."""
    starting = [
        TraderView(
            spec=spec,
            state=TraderState.RUNNING,
            trading_state=TradingState.ACTIVE,
            book=Book(trader_id=spec.id),
            seq=seq,
        )
        for seq, spec in enumerate(traders)
        if spec.account == account.name and spec.auto_start
    ]
    if not starting:
        return {}
    shares = allocations(account.rules.allocation_strategy, distributable(account), starting)
    return {view.spec.id: shares.get(view.spec.id, ZERO) for view in starting}
