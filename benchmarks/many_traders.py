"""A desk of any size for the benchmarks of load: traders dealt over paper accounts that share one synthetic market."""

from dataclasses import dataclass
from pathlib import Path

HEAD = """\
manager: {decision_timeout: %(timeout_s)ds, decision_concurrency: %(slots)d}
exchanges:
"""
ACCOUNT = "  acct{number}: {{type: paper, market: {{type: synthetic, seed: 7}}, start_equity_usd: 1000000}}\n"
TRADER = """\
  - id: t{number:05d}
    exchange: acct{account}
    executor: {executor}
    symbols: [BTC/USDT:USDT, ETH/USDT:USDT]
    decision_interval: {interval_s}s
    auto_start: {auto_start}
"""
HOLD = "{type: baseline, style: hold}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Describe a desk: how many traders on how many accounts, and what decides how often on how many slots."""

    traders: int
    accounts: int
    interval_s: int = 180
    executor: str = HOLD
    models: str = ""
    auto_start: bool = True
    slots: int = 64

    def write(self, folder: Path) -> Path:
        """Write the config into a folder and return its path."""
        trader = {"executor": self.executor, "interval_s": self.interval_s, "auto_start": str(self.auto_start).lower()}
        lines = [HEAD % {"timeout_s": 30, "slots": self.slots}]
        lines += [ACCOUNT.format(number=number) for number in range(self.accounts)]
        lines += [self.models, "traders:\n"]
        lines += [TRADER.format(number=n, account=n % self.accounts, **trader) for n in range(self.traders)]
        path = folder / "config.yaml"
        path.write_text("".join(lines), encoding="utf-8")
        return path
