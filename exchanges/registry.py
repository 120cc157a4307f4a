"""Which venue and market types there are, and how each is built from settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from exchanges.clock import Clock
from exchanges.errors import ExchangeConfigError
from exchanges.market import MarketFeed
from exchanges.paper.ledger import PaperLedger
from exchanges.paper.path import PricePath
from exchanges.paper.state import PaperAccountId
from exchanges.provider import Exchange


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
    """Hold what one configured exchange offers: an account to trade on and the market to look at."""

    exchange: Exchange
    feed: MarketFeed


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueRequest:
    """Ask for one venue: `settings` are the fields of its config section but `type`.

    A given `market` takes the place of the one in the settings, as a replay does. `ledger` and `account` are for paper.
    """

    name: str
    type: str
    settings: Mapping[str, object]
    clock: Clock
    ledger: PaperLedger
    account: PaperAccountId
    market: Market | None = None


MarketFactory = Callable[[str, Mapping[str, object], Clock], Market]
VenueFactory = Callable[["Registry", VenueRequest], Venue]
Factory = TypeVar("Factory")


@dataclass(frozen=True, slots=True)
class Registry:
    """Map type names to factories; a plain value, so that two of them share nothing."""

    venues: dict[str, VenueFactory] = field(default_factory=dict)
    markets: dict[str, MarketFactory] = field(default_factory=dict)

    def venue(self, name: str) -> Callable[[VenueFactory], VenueFactory]:
        """Register a venue factory under `name`; raise ExchangeConfigError when it is taken."""
        return _registrar(self.venues, name)

    def market(self, name: str) -> Callable[[MarketFactory], MarketFactory]:
        """Register a market factory under `name`; raise ExchangeConfigError when it is taken."""
        return _registrar(self.markets, name)

    def build_venue(self, request: VenueRequest) -> Venue:
        """Build a venue; raise ExchangeConfigError for an unknown type or wrong settings."""
        return _find(self.venues, request.type, f"exchange {request.name}")(self, request)

    def build_market(self, where: str, settings: Mapping[str, object], clock: Clock) -> Market:
        """Build the market that `settings["type"]` names, with the other fields as its settings."""
        rest = {key: value for key, value in settings.items() if key != "type"}
        return _find(self.markets, settings.get("type"), where)(where, rest, clock)


def default_registry() -> Registry:
    """Return a new registry with the types that need no credentials."""
    from exchanges.paper.build import build_paper
    from exchanges.replay.build import build_replay
    from exchanges.synthetic.build import build_synthetic

    registry = Registry()
    registry.venue("paper")(build_paper)
    registry.market("synthetic")(build_synthetic)
    registry.market("replay")(build_replay)
    return registry


def _registrar(known: dict[str, Factory], name: str) -> Callable[[Factory], Factory]:
    def register(factory: Factory) -> Factory:
        if name in known:
            raise ExchangeConfigError(f"type {name} is registered twice; give one of them another name")
        known[name] = factory
        return factory

    return register


def _find(known: Mapping[str, Factory], name: object, where: str) -> Factory:
    found = known.get(str(name))
    if found is None:
        raise ExchangeConfigError(f"{where}: type is {name!r}, expected one of {', '.join(sorted(known))}")
    return found
