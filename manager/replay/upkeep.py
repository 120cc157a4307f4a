"""At which instants an account needs its upkeep before decisions are taken, and at which nothing can have happened."""

from datetime import datetime

from exchanges.clock import to_ms
from manager.state.records import OrderState
from manager.state.store import AccountRows

_HOUR_MS = 3_600_000
_TWICE = 2


class Upkeep:
    """Remember how the account was left; quiet are instants that bring a decision and nothing else.

    Upkeep is never left out at an event, after an instant that changed positions, orders or traders, while an order or
    a stop is not confirmed, nor the first two times curves are published in an hour: the first brings the hour's
    Sharpe ratios, the second acts on them.
    """

    def __init__(self) -> None:
        self._rows: AccountRows | None = None
        self._settled = False
        self._hour = -1
        self._published = 0

    def quiet(self, now: datetime, *, event: bool) -> bool:
        """Tell whether upkeep at `now` would find nothing to do; `event` says that something else than decisions is."""
        return not event and self._settled and self._published >= _TWICE and to_ms(now) // _HOUR_MS == self._hour

    def left(self, now: datetime, rows: AccountRows, *, published: bool) -> None:
        """Take in what an instant left behind, and whether its upkeep published the curves."""
        hour = to_ms(now) // _HOUR_MS
        if hour != self._hour:
            self._hour, self._published = hour, 0
        self._published += published
        before, self._rows = self._rows, rows
        # A store that hands out fresh rows each time looks changed, which costs upkeep and nothing else.
        self._settled = (
            before is not None
            and before.positions is rows.positions
            and before.orders is rows.orders
            and before.traders is rows.traders
            and before.account.trading_state is rows.account.trading_state
            and all(order.state is OrderState.ACCEPTED for order in rows.orders)
            and all(position.unprotected_since is None for position in rows.positions)
        )
