"""How a trader has done, from its equity curve and closed trades (docs/rules.md 1); capital flows are excluded.

The curve is kept as a unit value: a flow buys or sells units at the current value, so it moves neither PnL %, drawdown
nor Sharpe. Capital may leave a trader that still holds positions; its units are sold only with the next flow after they
are closed, so that a loss while winding down is measured against what was there before. The state is a few running
sums, so it can be stored and carried on.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from exchanges.types import ZERO
from executor.contract import PerformanceView

_HOUR = timedelta(hours=1)
_HOURS_A_YEAR = 8760
MIN_RETURNS = 24
MIN_CAPITAL = 0.01
RECENT_TRADES = 12
_RECENT = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """Carry the running sums of one equity curve; `nav` is the value of one unit, 1 at the start.

    `released_usd` has left the trader while it winds down and still belongs to the base of its returns. `sampled_at` is
    the instant of the last sample, `since` of the first; `closed_at` are those of the last RECENT_TRADES closed trades.
    """

    units: float = 0.0
    released_usd: Decimal = ZERO
    nav: float = 1.0
    peak_nav: float = 1.0
    max_drawdown: float = 0.0
    hour: datetime | None = None
    hour_nav: float = 1.0
    returns: int = 0
    mean: float = 0.0
    m2: float = 0.0
    trades: int = 0
    wins: int = 0
    won_usd: Decimal = ZERO
    lost_usd: Decimal = ZERO
    sampled_at: datetime | None = None
    since: datetime | None = None
    closed_at: tuple[datetime, ...] = ()

    def trades_per_hour(self, now: datetime) -> float:
        """Return how many trades were closed an hour of late: in the last day, from the first of them that is known.

        That is at least an hour ago, unless more trades were closed since than are known.
        """
        recent = [at for at in self.closed_at if now - at < _RECENT]
        if not recent:
            return 0.0
        span, least = now - min(recent), _HOUR if len(recent) < RECENT_TRADES else timedelta(seconds=1)
        return len(recent) / (max(span, least) / _HOUR)

    @property
    def drawdown(self) -> float:
        """Return the current fall from the peak as a fraction of it."""
        return 1.0 - self.nav / self.peak_nav if self.peak_nav > 0 else 1.0

    @property
    def sharpe(self) -> float | None:
        """Return the annualised Sharpe ratio of hourly returns (Sharpe 1994, risk-free 0), None below 24 returns."""
        if self.returns < MIN_RETURNS:
            return None
        deviation = math.sqrt(self.m2 / (self.returns - 1))
        return self.mean / deviation * math.sqrt(_HOURS_A_YEAR) if deviation > 0 else 0.0

    @property
    def win_rate(self) -> float | None:
        """Return the share of closed trades that made money, None without any."""
        return self.wins / self.trades if self.trades else None


def sample(state: Performance, equity: Decimal, at: datetime) -> Performance:
    """Return the state after the curve stood at `equity` USD at `at`; a new hour books the return of the last one."""
    if state.units <= 0:
        return state
    seen = marked(state, equity)
    return replace(hour_passed(seen, seen.nav, at), sampled_at=at)


def marked(state: Performance, equity: Decimal) -> Performance:
    """Return the state as it is at `equity` USD: unit value, peak and drawdown; no sample is counted."""
    if state.units <= 0:
        return state
    nav = max(0.0, float(equity + state.released_usd) / state.units)
    peak = max(state.peak_nav, nav)
    fall = 1.0 - nav / peak if peak > 0 else 1.0
    return replace(state, nav=nav, peak_nav=peak, max_drawdown=max(state.max_drawdown, fall))


def shown(state: Performance, equity: Decimal | None) -> Performance:
    """Return the curve to be shown beside `equity`, of the same instant; as sampled where that is not known.

    A curve that was never sampled has not begun.
    """
    return state if equity is None or state.sampled_at is None else marked(state, equity)


def hour_passed(state: Performance, nav: float, at: datetime) -> Performance:
    """Return the state with the last hour's return booked, if `at` is the first sample of a new hour."""
    if state.hour is None:
        return replace(state, hour=_floor_hour(at), hour_nav=nav, since=at)
    if at - state.hour < _HOUR:
        return state
    earned = nav / state.hour_nav - 1.0 if state.hour_nav > 0 else 0.0
    count = state.returns + 1
    delta = earned - state.mean
    mean = state.mean + delta / count
    return replace(
        state, hour=_floor_hour(at), hour_nav=nav, returns=count, mean=mean, m2=state.m2 + delta * (earned - mean)
    )


def flow(state: Performance, equity_before: Decimal, amount: Decimal, *, winding_down: bool = False) -> Performance:
    """Return the state after `amount` USD of capital came in (positive) or went out.

    What was earned or lost until then, sampled or not, is of the curve: `equity_before` is that of just before. What
    goes out of a trader that is `winding_down` sells no units yet. A curve without capital stands still where
    `equity_before` leaves it, and one that is at -100 % for good.
    """
    released = max(ZERO, state.released_usd - amount) if winding_down else ZERO
    state, after = marked(state, equity_before), float(equity_before + amount + released)
    units = after / state.nav if after >= MIN_CAPITAL and state.nav > 0 else 0.0
    return replace(state, units=units, released_usd=released if units else ZERO)


def recapitalised(state: Performance, equity: Decimal) -> Performance:
    """Return a new curve that begins with `equity` USD; the worst drawdown of the life before stays."""
    return Performance(units=float(equity), max_drawdown=state.max_drawdown)


def closed_trade(state: Performance, pnl: Decimal, at: datetime) -> Performance:
    """Return the state after a position was closed whole with `pnl` USD, gross."""
    won = pnl > 0
    return replace(
        state,
        trades=state.trades + 1,
        wins=state.wins + won,
        won_usd=state.won_usd + (pnl if won else 0),
        lost_usd=state.lost_usd + (0 if won else pnl),
        closed_at=(*state.closed_at, at)[-RECENT_TRADES:],
    )


def view(state: Performance, pnl_usd: Decimal, now: datetime) -> PerformanceView:
    """Return what the trader is shown at `now`; percentages are 0-100."""
    losses = state.trades - state.wins
    return PerformanceView(
        pnl_usd=pnl_usd,
        pnl_pct=(state.nav - 1.0) * 100,
        sharpe=state.sharpe,
        win_rate=None if state.win_rate is None else state.win_rate * 100,
        trades=state.trades,
        average_win=state.won_usd / state.wins if state.wins else ZERO,
        average_loss=state.lost_usd / losses if losses else ZERO,
        max_drawdown_pct=state.max_drawdown * 100,
        drawdown_pct=state.drawdown * 100,
        trades_per_hour=state.trades_per_hour(now),
        updated_at=state.sampled_at,
    )


def _floor_hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
