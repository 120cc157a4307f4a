"""The text of a new config, with comments: what `propdesk init` writes. No secret is in it, only ${NAME}."""

import json
import re
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Final

from exchanges.types import Symbol
from executor.baseline.styles import Style
from manager.config.fields import parse_duration
from manager.config.models import url_fault
from manager.config.schema import OPENAI

DEFAULT_STYLES: Final = (Style.TREND, Style.MEAN_REVERSION, Style.BREAKOUT, Style.SHORT_BIASED)
_DEALT_PCT: Final = Decimal("0.9")
_SIZE: Final = Decimal("0.7")
_LONGEST_S: Final = 30
_PLAIN_ID: Final = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_READ_AS_VALUES: Final = ("yes", "no", "on", "off", "y", "n", "true", "false", "null")
_TEMPLATE = """\
# A desk of {count} on one paper account; written by `propdesk init`. Check it with `propdesk config check FILE`, run it
# with `propdesk run -c FILE`. Every key is in docs/config.md; an unknown one is an error; durations are 30s, 3m, 1h or
# 1d; secrets stand here only as ${{NAME}} and come from the environment.

manager:
  total_equity_usd: {capital}          # what the paper account starts with
  reserve_equity_pct: 10               # kept back; the other 90 % is dealt to the traders
  allocation_strategy: fixed           # fixed (dealt once) | equal | custom (by allocation_pct) | performance_based
  conflict_strategy: highest_confidence  # first_come | highest_confidence | aggregate | proportional | net
  decision_timeout: 30s                # a model that is slower means: no new risk this time

global_limits:                         # of the whole account, in percent of its equity
  max_margin_usage_pct: 85
  max_positions: {positions}
  max_symbol_exposure_pct: 50
  max_unrealized_loss_pct: 20          # stops entries

exchanges:
  paper:
    type: paper                        # orders are filled here, at the prices of its market; no key, no real money
    # Made-up prices, the same for the same seed, around the clock. They quote BTC, ETH, SOL, XRP, DOGE and BNB.
    market: {{type: synthetic, seed: 7}}
    fee_bps: {fee}                       # 1 basis point = 0.01 %
    maker_fee_bps: {maker_fee}
    slippage_bps: {slippage}
{models}
traders:
{traders}"""
_MODELS = """
models:                                # endpoints that speak OpenAI's chat completions
  main:
    model: {model}
    base_url: {base_url}
{rest}"""
_TRADER = """\
  - id: {id}                           # stands for this trader in the books: never give it to another
    exchange: paper
    executor: {executor}
{prompt}    symbols: {symbols}
    decision_interval: {interval}
"""
_LIMITS = """\
    risk_params:{anchor}                # what the desk enforces, whatever the trader wants
      max_positions: 2
      max_position_size_usd: {size}  # notional; a larger entry is cut to it
      max_margin_usage_pct: 60         # of its own allocation
      min_risk_reward_ratio: 1.5       # (take-profit - entry) / (entry - stop)
      min_confidence: 60
      max_drawdown_pct: 20             # no entries below its peak by more
      cooldown_after_stop: 1m
      max_entries_per_hour: 60
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Say what a new config is to hold; without a `model` the traders follow rules in code, `styles` in turns."""

    ids: tuple[str, ...]
    symbols: tuple[Symbol, ...]
    capital_usd: Decimal
    interval: str
    fee_bps: Decimal
    maker_fee_bps: Decimal
    slippage_bps: Decimal
    styles: tuple[Style, ...] = DEFAULT_STYLES
    model: str = ""
    base_url: str = OPENAI
    key_name: str = ""

    def text(self) -> str:
        """Return the config."""
        count = "one trader" if len(self.ids) == 1 else f"{len(self.ids)} traders"
        text = _TEMPLATE.format(
            count=count,
            capital=f"{self.capital_usd:f}",
            positions=max(10, 2 * len(self.ids)),
            fee=f"{self.fee_bps:f}",
            maker_fee=f"{self.maker_fee_bps:f}",
            slippage=f"{self.slippage_bps:f}",
            models=self._models(),
            traders="\n".join(self._trader(index, name) for index, name in enumerate(self.ids)),
        )
        return "".join(map(_aligned, text.splitlines(keepends=True)))

    def _models(self) -> str:
        if not self.model:
            return ""
        rest = [f"    api_key: ${{{self.key_name}}}          # export {self.key_name}=... before the start"] * bool(
            self.key_name
        )
        if url_fault(self.base_url, allow_private=False) and not url_fault(self.base_url, allow_private=True):
            rest.append("    allow_private: true                # it is in a private network")
        words = "".join(f"{line}\n" for line in rest)
        return _MODELS.format(model=json.dumps(self.model), base_url=json.dumps(self.base_url), rest=words)

    def _trader(self, index: int, name: str) -> str:
        style = self.styles[index % len(self.styles)]
        first = _TRADER.format(
            id=name if _PLAIN_ID.fullmatch(name) and name.lower() not in _READ_AS_VALUES else json.dumps(name),
            executor=self._asking() if self.model else f"{{type: baseline, style: {style}}}",
            prompt="    prompt_template: prompts/general.md\n" if self.model else "",
            symbols=json.dumps(list(self.symbols)),
            interval=self.interval,
        )
        if index:
            return f"{first}    risk_params: *limits\n"
        return first + _LIMITS.format(size=self._size(), anchor=" &limits" if len(self.ids) > 1 else "")

    def _asking(self) -> str:
        seconds = parse_duration(self.interval)
        timeout = f", timeout: {seconds}s" if seconds < _LONGEST_S else ""
        return f"{{type: llm, model: main{timeout}}}"

    def _size(self) -> str:
        part = self.capital_usd * _DEALT_PCT * _SIZE / len(self.ids)
        step = Decimal(10) ** (part.adjusted() - 1)
        return f"{((part / step).to_integral_value(ROUND_DOWN) * step).normalize():f}"


def _aligned(line: str) -> str:
    code, comment, words = line.partition("  # ")
    return f"{code.rstrip():<38} # {words}" if comment and code.strip() else line
