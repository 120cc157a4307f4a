"""Build accounts from `exchanges:`, and say which symbols they quote."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from exchanges.errors import ExchangeConfigError, MarketDataError
from manager.config.reading import Reading
from manager.config.schema import LimitsSection, RootSection
from manager.config.source import Loc, shown
from manager.config.values import AccountConfig, MarketSettings, MarketType
from manager.config.venues import (
    EXCHANGES,
    MARKETS,
    AccountSection,
    LiveMarketSection,
    ReplayMarketSection,
    SyntheticMarketSection,
)
from manager.desk.plan.values import AccountRules, GlobalLimits

InstrumentsOf = Callable[[AccountConfig], frozenset[str] | None]


def instruments_of_market(account: AccountConfig) -> frozenset[str] | None:
    """Return the symbols that the account's market quotes, None where only the venue knows.

    A candle file is read whole, so that its mistakes show now: raises MarketDataError.
    """
    market = account.market
    if market.synthetic is not None:
        return frozenset(one.symbol for one in market.synthetic.symbols)
    if market.type is MarketType.REPLAY and market.candles is not None and market.candles.is_file():
        from exchanges.replay.loader import load_candles

        return frozenset(load_candles(market.candles).by_symbol)
    return None


def desk_rules(root: RootSection, limits: LimitsSection) -> AccountRules:
    """Return the rules of an account from `manager:`, `data:` and its tenant's limits."""
    manager = root.manager
    return AccountRules(
        conflict_strategy=manager.conflict_strategy,
        allocation_strategy=manager.allocation_strategy,
        reserve_equity_pct=manager.reserve_equity_pct,
        rebalance_interval_s=manager.rebalance_interval,
        limits=GlobalLimits(**limits.model_dump()),
        trading_enabled=manager.trading_enabled,
        max_data_age_s=root.data.max_data_age,
        protection_grace_s=manager.protection_grace,
        max_open_orders=manager.max_open_orders,
    )


class AccountReader:
    """Read the accounts of one tenant; the mistakes of all are noted."""

    def __init__(self, reading: Reading, rules: AccountRules, instruments_of: InstrumentsOf) -> None:
        self._reading = reading
        self._rules = rules
        self._instruments_of = instruments_of

    def read(self, loc: Loc, given: Mapping[str, Any]) -> dict[str, AccountConfig]:
        """Return the accounts that are right."""
        accounts = {}
        for name, section in given.items():
            account = self._account((*loc, name), section) if self._reading.named((*loc, name)) else None
            if account is not None:
                accounts[name] = account
        return accounts

    def _account(self, loc: Loc, given: Any) -> AccountConfig | None:
        kind = self._reading.variant(loc, EXCHANGES, given)
        section = self._reading.validated(loc, kind, given) if kind else None
        if kind is None or section is None:
            if kind is not None and "market" in kind.model_fields and "market" in given:
                self._market((*loc, "market"), given["market"])
            return None
        unfit = section.unfit(self._rules)
        if unfit is not None:
            key, value, mend = unfit
            self._reading.report((*loc, key), value, mend)
            return None
        return self._built(loc, section)

    def _built(self, loc: Loc, section: AccountSection) -> AccountConfig | None:
        market = MarketSettings(type=MarketType.LIVE, venue=section.type)
        if section.given_market is not None:
            read = self._market((*loc, "market"), section.given_market)
            if read is None:
                return None
            market = read
        equity = section.equity_usd(self._reading.root.manager.total_equity_usd)
        try:
            settings = section.settings(equity)
        except ExchangeConfigError as error:
            self._reading.report(loc, "", str(error))
            return None
        account = AccountConfig(
            name=str(loc[-1]),
            type=section.type,
            market=market,
            rules=self._rules,
            equity_usd=equity,
            settings=settings,
            unfit=self._unfit(section, market, str(loc[-1])),
        )
        return replace(account, quoted=self._quoted(loc, account))

    @staticmethod
    def _unfit(section: AccountSection, market: MarketSettings, name: str) -> str:
        """Say why no trader can be on the account in this version, empty if one can."""
        if not section.tradable:
            able = " or ".join(kind for kind, one in EXCHANGES.items() if one.tradable)
            return f"this version has no adapter for {section.type}; put the trader on an account of type {able}"
        if market.type is MarketType.LIVE:
            return f"account {name} has a live market, which this version cannot read; give it a synthetic one"
        return ""

    def _quoted(self, loc: Loc, account: AccountConfig) -> frozenset[str] | None:
        try:
            return self._instruments_of(account)
        except MarketDataError as error:
            self._reading.report((*loc, "market", "candles"), shown((), str(account.market.candles)), str(error))
            return None

    def _market(self, loc: Loc, given: Any) -> MarketSettings | None:
        kind = self._reading.variant(loc, MARKETS, given)
        section = self._reading.validated(loc, kind, given) if kind else None
        match section:
            case SyntheticMarketSection():
                return MarketSettings(type=MarketType.SYNTHETIC, synthetic=section.config())
            case ReplayMarketSection():
                candles = self._file((*loc, "candles"), section.candles)
                funding = self._file((*loc, "funding"), section.funding) if section.funding else None
                return MarketSettings(type=MarketType.REPLAY, candles=candles, funding=funding)
            case LiveMarketSection():
                return MarketSettings(type=MarketType.LIVE, venue=section.venue)
        return None

    def _file(self, loc: Loc, name: str) -> Path:
        path = self._reading.source.path.parent / name
        if not path.is_file():
            self._reading.report(loc, shown((), name), f"no such file {path}; paths are relative to the config file")
        return path
