"""What a type of venue or market is: the settings it takes and how it is built from them, one row each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from exchanges.clock import Clock
from exchanges.errors import ExchangeConfigError
from exchanges.market import MarketFeed
from exchanges.price_path import PricePath
from exchanges.provider import Exchange

# At what instant a job began, and at what revision it found the account of a venue that is kept beside the desk.
Begin = Callable[[datetime, int | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Pair the prices a paper venue fills at with the feed that shows the same prices.

    `lookahead` is how far beyond the clock the prices may be searched; zero where the future is not known.
    """

    path: PricePath
    feed: MarketFeed
    lookahead: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """Hold what one configured exchange offers: an account to trade on and the market to look at.

    `begin` is called at the start of each job on the account, beside which nobody else of the desk writes.
    """

    exchange: Exchange
    feed: MarketFeed
    begin: Begin = lambda at, revision: None


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueRequest:
    """Ask for one account's venue: `settings` are a value of the type's own class.

    `market` is what a simulated venue trades on; a real one has its own.
    """

    name: str
    type: str
    settings: object
    clock: Clock
    market: Market | None = None


@dataclass(frozen=True, slots=True)
class VenueKind:
    """Say which class a venue type's settings have, and how one is built."""

    settings: type[Any]
    build: Callable[[VenueRequest], Venue]


@dataclass(frozen=True, slots=True)
class MarketKind:
    """Say which class a market type's settings have, and how one is built from them."""

    settings: type[Any]
    build: Callable[[Any, Clock], Market]


Kind = TypeVar("Kind", VenueKind, MarketKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Hold the types of venues and markets by name."""

    venues: Mapping[str, VenueKind]
    markets: Mapping[str, MarketKind]

    def build_venue(self, request: VenueRequest) -> Venue:
        """Build a venue; raise ExchangeConfigError for an unknown type or settings of another."""
        return self._find(self.venues, request.type, request.settings, f"exchange {request.name}").build(request)

    def build_market(self, where: str, name: str, settings: object, clock: Clock) -> Market:
        """Build a market; raise ExchangeConfigError for an unknown type or settings of another."""
        return self._find(self.markets, name, settings, where).build(settings, clock)

    @staticmethod
    def _find(known: Mapping[str, Kind], name: str, settings: object, where: str) -> Kind:
        kind = known.get(name)
        if kind is None:
            raise ExchangeConfigError(f"{where}: type is {name!r}, expected one of {', '.join(sorted(known))}")
        if not isinstance(settings, kind.settings):
            given, wanted = type(settings).__name__, kind.settings.__name__
            raise ExchangeConfigError(f"{where}: the settings of type {name} are {given}, expected {wanted}")
        return kind
