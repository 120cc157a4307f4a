"""Venues and markets from settings: what is built, and how wrong settings are named."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from exchanges.clock import ManualClock
from exchanges.errors import ExchangeConfigError
from exchanges.paper.ledger import MemoryPaperLedger
from exchanges.registry import Registry, Venue, VenueRequest, default_registry
from exchanges.types import ClientOrderId, OrderRequest, OrderStatus, OrderType, Side, Symbol
from paper_market import ACCOUNT, BTC, START_MS, candle_frame, flat, instant

NOW = datetime(2025, 11, 20, 12, tzinfo=UTC)


def build(settings: Mapping[str, object], at: datetime = NOW, kind: str = "paper") -> Venue:
    request = VenueRequest(
        name="demo",
        type=kind,
        settings=settings,
        clock=ManualClock(at),
        ledger=MemoryPaperLedger(),
        account=ACCOUNT,
    )
    return default_registry().build_venue(request)


async def test_a_paper_venue_trades_at_the_marks_its_feed_shows() -> None:
    market = {"type": "synthetic", "seed": 3, "outages_per_day": 0}
    venue = build({"market": market, "slippage_bps": 0, "fee_bps": "2.5", "start_equity": 500_000})
    snapshot = await venue.feed.snapshot(frozenset({BTC}))
    request = OrderRequest(
        client_order_id=ClientOrderId("a"), symbol=BTC, side=Side.BUY, type=OrderType.MARKET, quantity=Decimal(1)
    )
    report = await venue.exchange.create_order(request)
    assert report.status is OrderStatus.FILLED
    assert report.fills[0].price == snapshot.symbols[BTC].mark
    assert report.fills[0].fee == report.fills[0].price * Decimal("0.00025")
    assert (await venue.exchange.instruments()).keys() == (await venue.feed.instruments()).keys()


async def test_a_replay_market_reads_its_files(tmp_path: Path) -> None:
    candles, funding = tmp_path / "c.parquet", tmp_path / "f.csv"
    candle_frame(flat(10.0, 20)).with_columns(symbol=pl.lit(BTC)).write_parquet(candles)
    funding.write_text(f"symbol,ts_ms,funding_rate\n{BTC},{START_MS + 300_000},0.0001\n")
    market = {
        "type": "replay",
        "candles": str(candles),
        "funding": str(funding),
        "from": instant(2).isoformat(),
        "to": instant(12).isoformat(),
    }
    venue = build({"market": market}, instant(6))
    view = (await venue.feed.snapshot(frozenset({BTC}))).symbols[BTC]
    assert (view.mark, view.funding_rate) == (Decimal("10.0"), Decimal("0.0001"))


async def test_configured_instruments_replace_the_defaults() -> None:
    settings = {"instruments": {BTC: {"lot": "0.5", "contract_size": "0.1", "max_leverage": 20, "tick": 1}}}
    found = (await build(settings).exchange.instruments())[BTC]
    assert (found.lot, found.contract_size, found.max_leverage) == (Decimal("0.5"), Decimal("0.1"), 20)
    assert (found.tick, found.min_notional) == (Decimal(1), Decimal(5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fee_bps": "much"}, "exchange demo: fee_bps is 'much', expected a number; change"),
        ({"fee_bps": True}, "fee_bps is True, expected a number"),
        ({"slippage_bps": "NaN"}, "slippage_bps is 'NaN', expected a finite number"),
        ({"fee": 3}, "exchange demo: unknown field fee; known are .*fee_bps"),
        ({"market": "synthetic"}, "market is 'synthetic', expected a mapping"),
        ({"market": {"type": "dreams"}}, "market: type is 'dreams', expected one of replay, synthetic"),
        ({"market": {"type": "synthetic", "seed": 1.5}}, "seed is 1.5, expected a whole number"),
        ({"market": {"type": "synthetic", "sed": 1}}, "unknown field sed"),
        ({"market": {"type": "replay"}}, "candles is None, expected a text"),
        ({"market": {"type": "replay", "candles": "x.csv", "from": "2025-01-01"}}, "from .* a time with its zone"),
        ({"market": {"type": "replay", "candles": "x.csv", "to": "noon"}}, "to is 'noon', expected a time such as"),
        ({"instruments": {"A": {"lot": 0}}}, "instruments: A: lot is 0, expected a number above zero"),
        ({"instruments": {"A": {"size": 1}}}, "instruments: A: unknown field size"),
    ],
)
def test_wrong_settings_are_named(settings: Mapping[str, object], message: str) -> None:
    with pytest.raises(ExchangeConfigError, match=message):
        build(settings)


def test_unknown_venues_are_named() -> None:
    with pytest.raises(ExchangeConfigError, match="exchange demo: type is 'mars', expected one of paper"):
        build({}, kind="mars")


def test_registries_share_nothing() -> None:
    one, two = default_registry(), default_registry()

    def factory(registry: Registry, request: VenueRequest) -> Venue:
        raise NotImplementedError

    one.venue("mine")(factory)
    assert "mine" not in two.venues
    with pytest.raises(ExchangeConfigError, match="registered twice"):
        one.venue("mine")(factory)


async def test_a_given_market_takes_the_place_of_the_configured_one() -> None:
    registry = default_registry()
    clock = ManualClock(NOW)
    market = registry.build_market("test", {"type": "synthetic", "seed": 9}, clock)
    request = VenueRequest(
        name="demo",
        type="paper",
        settings={"market": {"type": "synthetic", "seed": 1}},
        clock=clock,
        ledger=MemoryPaperLedger(),
        account=ACCOUNT,
        market=market,
    )
    assert registry.build_venue(request).feed is market.feed
    assert market.lookahead > timedelta(0)
    assert Symbol("ETH/USDT:USDT") in await market.feed.instruments()
