"""Write the config of the replay benchmark: twelve baseline traders of four temperaments on one paper account."""

import argparse

STYLES = ("trend", "mean_reversion", "breakout", "short_biased")
SYMBOLS = tuple(
    f"{coin}/USDT:USDT" for coin in ("ADA", "AVAX", "BCH", "BNB", "BTC", "ETH", "LINK", "LTC", "SOL", "SUI", "XRP")
)
TRADERS = 12
SYMBOLS_EACH = 4
EQUITY_USD, RESERVE_PCT = 100_000, 10
ALLOCATED_USD = EQUITY_USD * (100 - RESERVE_PCT) // (100 * TRADERS)
POSITIONS_EACH, SIZE_USD = 3, 2_000
FEE_BPS, MAKER_FEE_BPS, SLIPPAGE_BPS = 4.5, 1.5, 1


def twelve_traders(interval: str = "1h", strategy: str = "highest_confidence", isolation: str = "") -> str:
    """Return the YAML; each symbol is traded by several traders, neighbours in the list are of opposite temperament."""
    lines = [
        "manager:",
        f"  {{total_equity_usd: {EQUITY_USD}, reserve_equity_pct: {RESERVE_PCT}, allocation_strategy: equal,",
        "   rebalance_interval: 1h,",
        f"   conflict_strategy: {strategy}{', isolation: ' + isolation if isolation else ''}}}",
        "global_limits:",
        "  {max_margin_usage_pct: 85, max_positions: 60, max_symbol_exposure_pct: 50, max_unrealized_loss_pct: 20}",
        "exchanges:",
        f"  paper: {{type: paper, market: {{type: synthetic}}, fee_bps: {FEE_BPS}, maker_fee_bps: {MAKER_FEE_BPS},",
        f"          slippage_bps: {SLIPPAGE_BPS}}}",
        "traders:",
    ]
    for number in range(TRADERS):
        style = STYLES[number % len(STYLES)]
        symbols = ", ".join(f'"{symbol}"' for symbol in _symbols(number))
        lines += [
            f"  - id: t{number:02d}_{style}",
            f"    name: Number {number}",
            "    exchange: paper",
            f"    executor: {{type: baseline, style: {style}}}",
            f"    symbols: [{symbols}]",
            f"    decision_interval: {interval}",
            "    risk_params:",
            f"      {{max_positions: {POSITIONS_EACH}, max_position_size_usd: {SIZE_USD}, cooldown_after_stop: 0s}}",
        ]
    return "\n".join(lines) + "\n"


def twelve_strategies() -> list[dict[str, object]]:
    """Return the style and the symbols of each trader, for peers that trade the same."""
    return [{"style": STYLES[number % len(STYLES)], "symbols": _symbols(number)} for number in range(TRADERS)]


def _symbols(number: int) -> list[str]:
    return [SYMBOLS[(3 * number + k) % len(SYMBOLS)] for k in range(SYMBOLS_EACH)]


def main() -> None:
    """Print the config."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interval", default="1h", help="decision interval, such as 3m or 1h")
    parser.add_argument("--strategy", default="highest_confidence", help="conflict strategy")
    given = parser.parse_args()
    print(twelve_traders(given.interval, given.strategy), end="")


if __name__ == "__main__":
    main()
