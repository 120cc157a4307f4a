"""Which symbols an account can be known to quote without asking a venue."""

from manager.config.values import AccountConfig, MarketType


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
