"""Build a paper venue from its settings."""

from collections.abc import Mapping

from exchanges.paper.account import PaperVenue
from exchanges.paper.adapter import PaperExchange
from exchanges.paper.config import PaperConfig
from exchanges.registry import Registry, Venue, VenueRequest
from exchanges.settings import Settings
from exchanges.types import Instrument, Symbol


def build_paper(registry: Registry, request: VenueRequest) -> Venue:
    """Return the paper venue of `request` on its market, or on the one its settings describe."""
    where = f"exchange {request.name}"
    settings = Settings(where, request.settings)
    described = settings.section("market") or {"type": "synthetic"}
    config = paper_config(where, settings)
    settings.finish()
    market = request.market or registry.build_market(f"{where}: market", described, request.clock)
    exchange = PaperExchange(
        request.account,
        PaperVenue.build(config, market.path),
        request.ledger,
        request.clock,
        lookahead=market.lookahead,
    )
    return Venue(exchange=exchange, feed=market.feed)


def paper_config(where: str, settings: Settings) -> PaperConfig:
    """Take the fields of PaperConfig out of `settings`; raise ExchangeConfigError for values no venue could have."""
    plain = PaperConfig()
    return PaperConfig(
        fee_bps=settings.decimal("fee_bps", plain.fee_bps),
        maker_fee_bps=settings.decimal("maker_fee_bps", plain.maker_fee_bps),
        slippage_bps=settings.decimal("slippage_bps", plain.slippage_bps),
        volume_share=settings.optional_decimal("volume_share"),
        start_equity=settings.decimal("start_equity", plain.start_equity),
        default_leverage=settings.integer("default_leverage", plain.default_leverage),
        instruments=_instruments(where, settings.section("instruments")),
    )


def _instruments(where: str, sections: Mapping[str, object]) -> dict[Symbol, Instrument]:
    found = {}
    for name, section in sections.items():
        inner = Settings(f"{where}: instruments", {name: section}).section(name)
        settings = Settings(f"{where}: instruments: {name}", inner)
        symbol = Symbol(name)
        plain = Instrument(symbol=symbol)
        found[symbol] = Instrument(
            symbol=symbol,
            lot=settings.above_zero("lot", plain.lot),
            tick=None if settings.optional_decimal("tick") is None else settings.above_zero("tick", plain.lot),
            min_notional=settings.decimal("min_notional", plain.min_notional),
            contract_size=settings.above_zero("contract_size", plain.contract_size),
            max_leverage=settings.integer("max_leverage", plain.max_leverage),
            maintenance_rate=settings.decimal("maintenance_rate", plain.maintenance_rate),
        )
        settings.finish()
    return found
