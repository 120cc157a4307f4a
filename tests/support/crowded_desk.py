"""A desk that is hard to show: ids as long as they may be, twelve traders, positions, orders and incidents."""

from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from desk_history import AT, BTC, incident, orders
from manager.state.keys import Row
from manager.state.records import AccountId, IncidentRow, OrderId, OrderRow, PositionRow, StateCode, TraderState
from state_rows import make_row, make_trader
from traders.spec import TraderId

LONG_IDS: Final = tuple(
    f"{n:02d}_a_trader_whose_name_takes_all_the_room_that_an_id_may_have_{n:02d}" for n in range(12)
)
_MIXED: Final = {3: TraderState.STOPPED, 4: TraderState.PAUSED, 5: TraderState.ISOLATED, 6: TraderState.ERROR}
PAPER: Final = AccountId("paper")


def crowd() -> list[Row]:
    """Return the rows of the crowd, beside the desk of `desk_history`."""
    rows: list[Row] = []
    for n, name in enumerate(LONG_IDS):
        given = Decimal(n) * 100_000 + Decimal("0.005")
        rows += make_trader(
            name,
            account_id=PAPER,
            seq=n + 5,
            state=_MIXED.get(n, TraderState.RUNNING),
            state_code=StateCode.SHARPE if n == 5 else StateCode.NONE,
            state_reason="the reason is told at some length, as a person would tell it" if n in _MIXED else "",
            capital=given - n * 7,
            started_usd=given,
            started_at=AT,
            open_positions=1,
            failed_decisions=n % 4,
        )
        side = -1 if n % 2 else 1
        held = make_row(PositionRow, account_id=PAPER, trader_id=TraderId(name), symbol=BTC)
        rows.append(
            replace(
                held,
                quantity=side * Decimal("12.34567891"),
                cost=side * Decimal("1234567.891"),
                opened_at=AT,
                stop_loss=Decimal("98765.4321") if n % 3 else None,
                unprotected_since=None if n % 3 else AT,
            )
        )
    return [*rows, *_orders(), *_incidents()]


def _orders() -> list[Row]:
    entry, stop = (row for row in orders() if isinstance(row, OrderRow))
    found: list[Row] = []
    for n, name in enumerate(LONG_IDS):
        for like, ending in ((entry, "e"), (stop, "f")):
            values: dict[str, Any] = {
                "order_id": OrderId(f"{n:02d}{'ab' * 14}0{ending}"),
                "venue_order_id": f"v{n}{ending}",
            }
            shares = tuple(replace(share, trader_id=TraderId(name)) for share in like.shares)
            found.append(replace(like, **values, shares=shares, reason="a reason " * 20 if n == 7 else ""))
    return found


def _incidents() -> list[Row]:
    codes = ("NAKED_POSITION", "SAFE_MODE", "DUST", "STOP_FAILED")
    found: list[IncidentRow] = []
    for n, name in enumerate(LONG_IDS):
        code = codes[n % len(codes)]
        one = incident(code, incident_id=f"{code}/{n}", trader_id=TraderId(name), detail="what happened " * 12)
        found.append(replace(one, resolved_at=one.at) if code == "STOP_FAILED" else one)
    return list(found)
