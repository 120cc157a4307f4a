"""Rank traders by how they have done (docs/rules.md 1), and sum them up; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import Final

from exchanges.types import ZERO
from traders.spec import TraderId

SHARPE_WEIGHT: Final = 0.5
PNL_WEIGHT: Final = 0.3
WIN_RATE_WEIGHT: Final = 0.2
MOST_SHARPE: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackRecord:
    """Hold what one trader is ranked and summed up by; `pnl` and `win_rate` are fractions, money in USD.

    `equity` and `pnl_usd` are None while a position has no price. `start_usd` is the first capital, `moved_usd` what
    has come since less what has gone, so that equity = start + moved + PnL.
    """

    trader_id: TraderId
    running: bool = False
    equity: Decimal | None = None
    pnl_usd: Decimal | None = None
    start_usd: Decimal = ZERO
    moved_usd: Decimal = ZERO
    pnl: float | None = None
    sharpe: float | None = None
    win_rate: float | None = None
    trades: int = 0

    @property
    def score(self) -> float:
        """Return 0.5 Sharpe, clipped to +-3, + 0.3 PnL + 0.2 win rate; what is missing counts 0."""
        return self.score_parts.total

    @property
    def score_parts(self) -> "ScoreParts":
        """Return what of the score comes from where."""
        sharpe = max(-MOST_SHARPE, min(MOST_SHARPE, _known(self.sharpe)))
        return ScoreParts(
            sharpe=SHARPE_WEIGHT * sharpe,
            pnl=PNL_WEIGHT * _known(self.pnl),
            win_rate=WIN_RATE_WEIGHT * _known(self.win_rate),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreParts:
    """Hold the weighted parts of a score."""

    sharpe: float = 0.0
    pnl: float = 0.0
    win_rate: float = 0.0

    @property
    def total(self) -> float:
        """Return the score."""
        return self.sharpe + self.pnl + self.win_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregatePerformance:
    """Sum up traders: money of those whose equity is known, the average Sharpe of those that have one.

    `best` and `worst` are the ends of the ranking, empty without traders; `unknown` counts those of unknown equity.
    """

    total_equity: Decimal = ZERO
    total_pnl_usd: Decimal = ZERO
    total_start_usd: Decimal = ZERO
    total_moved_usd: Decimal = ZERO
    average_sharpe: float | None = None
    best: TraderId = TraderId("")
    worst: TraderId = TraderId("")
    traders: int = 0
    running: int = 0
    profitable: int = 0
    unknown: int = 0
    trades: int = 0


def ranked(records: Iterable[TrackRecord]) -> tuple[TrackRecord, ...]:
    """Return the records, the highest score first, equal ones by trader id."""
    return tuple(sorted(records, key=lambda record: (-record.score, record.trader_id)))


def aggregate(records: Sequence[TrackRecord]) -> AggregatePerformance:
    """Return the sums of some traders."""
    if not records:
        return AggregatePerformance()
    order = ranked(records)
    sharpes = [record.sharpe for record in records if record.sharpe is not None]
    known = [record for record in records if record.equity is not None]
    return AggregatePerformance(
        total_equity=sum((record.equity for record in records if record.equity is not None), ZERO),
        total_pnl_usd=sum((record.pnl_usd for record in records if record.pnl_usd is not None), ZERO),
        total_start_usd=sum((record.start_usd for record in known), ZERO),
        total_moved_usd=sum((record.moved_usd for record in known), ZERO),
        average_sharpe=sum(sharpes) / len(sharpes) if sharpes else None,
        best=order[0].trader_id,
        worst=order[-1].trader_id,
        traders=len(records),
        running=sum(record.running for record in records),
        profitable=sum(record.pnl_usd is not None and record.pnl_usd > ZERO for record in records),
        unknown=sum(record.equity is None for record in records),
        trades=sum(record.trades for record in records),
    )


def _known(value: float | None) -> float:
    return value if value is not None and isfinite(value) else 0.0
