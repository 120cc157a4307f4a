"""Venues and markets from settings: what is built, and how an unknown type or settings of another are named."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from exchanges.clock import ManualClock
from exchanges.errors import ExchangeConfigError
from exchanges.paper.config import PaperConfig
from exchanges.paper.ledger import MemoryPaperLedger
from exchanges.registry import Market, Registry, Venue, VenueRequest
from exchanges.replay.config import ReplayConfig
from exchanges.synthetic.config import SyntheticConfig
from exchanges.types import ClientOrderId, Instrument, OrderRequest, OrderStatus, OrderType, Side
from exchanges.venues import default_registry
from paper_market import BTC, START_MS, candle_frame, flat, instant

NOW = datetime(2025, 11, 20, 12, tzinfo=UTC)
MARKET = SyntheticConfig(seed=3, outages_per_day=0)


def registry() -> Registry:
    return default_registry(MemoryPaperLedger())


def market_of(settings: object = MARKET, at: datetime = NOW, kind: str = "synthetic") -> Market:
    return registry().build_market("exchange demo: market", kind, settings, ManualClock(at))


def build(settings: object, kind: str = "paper", market: Market | None = None) -> Venue:
    request = VenueRequest(name="demo", type=kind, settings=settings, clock=ManualClock(NOW), market=market)
    return registry().build_venue(request)


async def test_a_paper_venue_trades_at_the_marks_its_feed_shows() -> None:
    config = PaperConfig(slippage_bps=Decimal(0), fee_bps=Decimal("2.5"), start_equity=Decimal(500_000))
    venue = build(config, market=market_of())
    snapshot = await venue.feed.snapshot(frozenset({BTC}))
    request = OrderRequest(
        client_order_id=ClientOrderId("a"), symbol=BTC, side=Side.BUY, type=OrderType.MARKET, quantity=Decimal(1)
    )
    report = await venue.exchange.create_order(request)
    assert report.status is OrderStatus.FILLED
    assert report.fills[0].price == snapshot.symbols[BTC].mark
    assert report.fills[0].fee == report.fills[0].price * Decimal("0.00025")
    assert (await venue.exchange.instruments()).keys() == (await venue.feed.instruments()).keys()


async def test_two_venues_of_one_ledger_are_two_accounts_by_their_names() -> None:
    types, market = registry(), market_of()
    requests = [
        VenueRequest(name=name, type="paper", settings=PaperConfig(), clock=ManualClock(NOW), market=market)
        for name in ("one", "two", "one")
    ]
    one, two, again = [types.build_venue(request).exchange for request in requests]
    await one.set_leverage(BTC, 5)
    bought = OrderRequest(
        client_order_id=ClientOrderId("a"), symbol=BTC, side=Side.BUY, type=OrderType.MARKET, quantity=Decimal("0.1")
    )
    await one.create_order(bought)
    assert [len(await venue.fetch_positions()) for venue in (one, two, again)] == [1, 0, 1]


async def test_a_replay_market_reads_its_files(tmp_path: Path) -> None:
    candles, funding = tmp_path / "c.parquet", tmp_path / "f.csv"
    candle_frame(flat(10.0, 20)).with_columns(symbol=pl.lit(BTC)).write_parquet(candles)
    funding.write_text(f"symbol,ts_ms,funding_rate\n{BTC},{START_MS + 300_000},0.0001\n")
    config = ReplayConfig(candles=candles, funding=funding, start=instant(2), end=instant(12))
    market = market_of(config, instant(6), "replay")
    view = (await market.feed.snapshot(frozenset({BTC}))).symbols[BTC]
    assert (view.mark, view.funding_rate) == (Decimal("10.0"), Decimal("0.0001"))
    assert market.lookahead > timedelta(0)


async def test_configured_instruments_replace_those_of_the_market() -> None:
    own = Instrument(symbol=BTC, lot=Decimal("0.5"), contract_size=Decimal("0.1"), max_leverage=20, tick=Decimal(1))
    assert (await build(PaperConfig(instruments={BTC: own}), market=market_of()).exchange.instruments())[BTC] == own


def test_unknown_types_are_named() -> None:
    with pytest.raises(ExchangeConfigError, match="exchange demo: type is 'mars', expected one of paper"):
        build(PaperConfig(), kind="mars")
    with pytest.raises(ExchangeConfigError, match="market: type is 'dreams', expected one of replay, synthetic"):
        market_of(kind="dreams")


def test_settings_of_another_type_are_named() -> None:
    with pytest.raises(ExchangeConfigError, match=r"exchange demo: .* paper are SyntheticConfig, expected PaperConfig"):
        build(MARKET, market=market_of())
    with pytest.raises(ExchangeConfigError, match=r"market: .* replay are SyntheticConfig, expected ReplayConfig"):
        market_of(kind="replay")
    with pytest.raises(ExchangeConfigError, match=r"exchange demo: a paper venue needs .* a market to trade on"):
        build(PaperConfig())


def test_the_synthetic_market_has_a_beginning() -> None:
    with pytest.raises(ExchangeConfigError, match="begins in 1972, the clock says 1971"):
        market_of(at=datetime(1971, 1, 1, tzinfo=UTC))
