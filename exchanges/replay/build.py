"""Build a replay market from its settings."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from exchanges.clock import Clock
from exchanges.registry import Market
from exchanges.replay.columns import CandleColumns, FundingColumns
from exchanges.replay.feed import ReplayFeed
from exchanges.replay.loader import load_candles, load_funding
from exchanges.replay.path import ReplayPath
from exchanges.settings import Settings

LOOKAHEAD_CANDLES = 1440


def replay_market(columns: CandleColumns, funding: FundingColumns | None, clock: Clock) -> Market:
    """Return loaded columns as a market; `lookahead` lets the venue search the recorded future once for many asks."""
    return Market(
        path=ReplayPath(columns, funding),
        feed=ReplayFeed(columns, clock, funding=funding),
        lookahead=timedelta(milliseconds=columns.interval_ms) * LOOKAHEAD_CANDLES,
    )


def build_replay(where: str, values: Mapping[str, object], clock: Clock) -> Market:
    """Return the market of the files `candles` and `funding`, between `from` and `to` when given."""
    settings = Settings(where, values)
    candles = Path(settings.text("candles"))
    funding = settings.optional_text("funding")
    start, end = settings.instant("from"), settings.instant("to")
    settings.finish()
    rates = None if funding is None else load_funding(Path(funding), start=start, end=end)
    return replay_market(load_candles(candles, start=start, end=end), rates, clock)
