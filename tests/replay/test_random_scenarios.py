"""Random candles, gaps, funding and decisions of three traders under `net`, against the oracle, to the last number."""

import os
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from replay_harness import compare, replay
from replay_oracle import Asked, Oracle
from replay_scenario import Item, Scenario, close_ms

SYMBOLS = ("BTC/USDT:USDT", "SOL/USDT:USDT")
PRICES = ((SYMBOLS[0], 1000.0, 0.0), (SYMBOLS[1], 100.0, 0.1))
COUNT = 90
RISK = {
    "max_position_size_usd": 1_000_000,
    "max_margin_usage_pct": 100,
    "max_drawdown_pct": 100,
    "cooldown_after_stop": "0s",
    "max_entries_per_hour": 3600,
    "stop_loss_enabled": True,
}
LIMITS = {"max_symbol_exposure_pct": 10_000, "max_margin_usage_pct": 100, "max_unrealized_loss_pct": 100}


class LenientOracle(Oracle):
    """Refuse by itself what a random trader gets wrong, so that random decisions need no hand."""

    def asked(self, who: str, item: Item) -> list[Asked]:
        held, mark = self.books[who].pos.get(item["symbol"]), self.mark[item["symbol"]]
        action = item["action"]
        long = action == "open_long" or (action == "adjust_stop" and held is not None and held.q > 0)
        if action.startswith("open"):
            if held is not None and (held.q > 0) is not long:
                return []
        elif held is None or (action.startswith("close") and (held.q > 0) is not (action == "close_long")):
            return []
        if action.startswith(("open", "adjust")):
            for name, below in (("stop_loss", long), ("take_profit", not long)):
                if (name in item and (Decimal(item[name]) < mark) is not below) or Decimal(item.get(name, 0)) == mark:
                    return []
        return super().asked(who, item)


class ResolvingOracle(LenientOracle):
    """Resolve conflicts too, by the table of docs/rules.md 4, where each trader wants one thing at an instant."""

    def trade(self, k: int, items: list[tuple[str, Item]]) -> None:
        strategy = self.s.manager["conflict_strategy"]
        left = {(who, sym): p.q for who, book in self.books.items() for sym, p in book.pos.items()}
        opens = []
        for who, item in items:
            if item["action"] != "adjust_stop":
                for asked in self.asked(who, item):
                    if asked.purpose == "entry":
                        opens.append(asked)
                    else:
                        left[who, asked.sym] += asked.q
        if strategy != "first_come":
            opens.sort(key=lambda asked: (-asked.item["confidence"], asked.who))
        kept = [asked for asked in opens if not self.opposed(asked, left, late=strategy == "first_come")]
        sizes = {id(asked.item): self.share(asked, kept, strategy) for asked in kept}
        resolved = []
        for who, item in items:
            size = sizes.get(id(item), Decimal(0))
            verdict = {"size": size} if size else {"skipped": True}
            resolved.append((who, {**item, **verdict} if item["action"].startswith("open") else item))
        super().trade(k, resolved)

    def opposed(self, asked: Asked, left: dict[tuple[str, str], Decimal], *, late: bool) -> bool:
        others = [q for (who, sym), q in left.items() if sym == asked.sym and who != asked.who]
        return any(q * asked.q < 0 or (late and q * asked.q > 0) for q in others)

    def share(self, asked: Asked, kept: list[Asked], strategy: str) -> Decimal:
        rivals = [other for other in kept if other.sym == asked.sym]
        size = Decimal(asked.item["position_size_usd"])
        if strategy == "aggregate":
            sums = [sum(Decimal(o.item["position_size_usd"]) for o in rivals if o.q * asked.q * s > 0) for s in (1, -1)]
            return max(Decimal(0), size * (sums[0] - sums[1]) / sums[0])
        stands = asked is rivals[0] if strategy == "first_come" else asked.q * rivals[0].q > 0
        return size if stands else Decimal(0)


def bars(dice: random.Random, price: float, gaps: float, wild: float = 1) -> list[str | None]:
    rows: list[str | None] = []
    for index in range(COUNT):
        opened = price * (1 + dice.gauss(0, 0.002))
        price = opened * (1 + dice.gauss(0, 0.01 * wild))
        high = max(opened, price) * (1 + abs(dice.gauss(0, 0.004)))
        low = min(opened, price) * (1 - abs(dice.gauss(0, 0.004)))
        missing = 1 < index < COUNT - 1 and rows[-1] is not None and dice.random() < gaps
        rows.append(None if missing else " ".join(f"{value:.4f}" for value in (opened, high, low, price)))
    return rows


def item(dice: random.Random, symbol: str, price: float) -> Item:
    near, far = dice.uniform(0.005, 0.03), dice.uniform(0.005, 0.05)
    kind = dice.choice(["open_long", "open_short", "close_long", "close_short", "adjust_stop"])
    long = kind == "open_long" or (kind == "adjust_stop" and dice.random() < 0.5)
    given: Item = {"symbol": symbol, "action": kind}
    if kind.startswith("close"):
        return given | {"fraction": dice.choice(["1", "0.5", "0.333"])}
    if kind.startswith("open"):
        given |= {"leverage": dice.choice([1, 2, 5]), "position_size_usd": f"{dice.uniform(20, 400):.2f}"}
        given["confidence"] = dice.randrange(100)
    sign = 1 if long else -1
    if kind != "adjust_stop" or dice.random() < 0.8:
        given["stop_loss"] = f"{price * (1 - sign * near):.4f}"
    if dice.random() < 0.6 or "stop_loss" not in given:
        given["take_profit"] = f"{price * (1 + sign * far):.4f}"
    return given


def reckless(seed: int) -> Scenario:
    """Return a scenario in which each trader enters once, with five times its capital and no stop, and then tinkers."""
    dice = random.Random(seed)
    rows = {symbol: bars(dice, start, gaps, wild=4) for symbol, start, gaps in PRICES}
    batches = []
    for name in "abcd":
        symbol, side = dice.choice(SYMBOLS), dice.choice(["open_long", "open_short"])
        entry = {"symbol": symbol, "action": side, "leverage": 5, "position_size_usd": "11000", "confidence": 50}
        batches.append((1, name, [entry]))
        close: Item = {"symbol": symbol, "action": "close" + side[4:], "fraction": "0.25"}
        instants = [k for k in range(3, COUNT - 1) if dice.random() < 0.04 and rows[symbol][k] is not None]
        batches += [(index, name, [close]) for index in instants]
    risk = {**RISK, "stop_loss_enabled": False}
    return Scenario(
        bars=rows,
        traders={name: {"risk_params": risk} for name in "abcd"},
        batches=sorted(batches, key=lambda batch: batch[0]),
        funding=[
            (close_ms(k), symbol, f"{dice.gauss(0, 0.003):.6f}") for k in range(5, COUNT, 7) for symbol in SYMBOLS
        ],
        manager={"conflict_strategy": "net"},
        limits=LIMITS,
    )


def scenario(seed: int, strategy: str = "net") -> Scenario:
    dice = random.Random(seed)
    busy = dice.choice([0.1, 0.3, 0.6]) if strategy == "net" else 0.7
    rows = {symbol: bars(dice, start, gaps) for symbol, start, gaps in PRICES}
    batches = []
    for index in range(1, COUNT - 1):
        for name in "abc":
            if dice.random() < busy:
                symbol = dice.choice([symbol for symbol in SYMBOLS if rows[symbol][index] is not None])
                price = float(str(rows[symbol][index]).split()[3])
                batches.append((index, name, [item(dice, symbol, price)]))
    funding = [
        (close_ms(k) + dice.randrange(-400, 400), s, f"{dice.gauss(0, 0.001):.6f}")
        for k in (20, 45, 70)
        for s in SYMBOLS
    ]
    traders: dict[str, dict[str, Any]] = {name: {"risk_params": RISK} for name in "abc"}
    manager = {"conflict_strategy": strategy, "rebalance_interval": "1800s"}
    lots = {SYMBOLS[0]: {"lot": "0.0001"}, SYMBOLS[1]: {"lot": "0.03", "contract_size": "0.5"}}
    return Scenario(
        bars=rows, traders=traders, batches=batches, funding=funding, manager=manager, limits=LIMITS, instruments=lots
    )


SEEDS = range(int(os.environ.get("PROPDESK_RANDOM_SCENARIOS", "12")))


@pytest.mark.parametrize("seed", SEEDS)
def test_random_decisions_give_what_the_oracle_computes(tmp_path: Path, seed: int) -> None:
    given = scenario(seed)
    outcome = replay(given, tmp_path, LenientOracle(given))
    compare(given, outcome)
    kinds = Counter(fill[-1] for fill in outcome.oracle.fills)
    assert kinds.keys() >= {"entry", "stop"}, kinds
    assert outcome.report["invariants"]["violated"] == 0, outcome.report["invariants"]


@pytest.mark.parametrize("strategy", ["first_come", "highest_confidence", "aggregate", "proportional"])
@pytest.mark.parametrize("seed", SEEDS[: max(3, len(SEEDS) // 4)])
def test_random_conflicts_end_as_the_table_says(tmp_path: Path, seed: int, strategy: str) -> None:
    given = scenario(seed, strategy)
    outcome = replay(given, tmp_path, ResolvingOracle(given))
    compare(given, outcome)
    assert outcome.report["conflicts"]["direction"] > 0
    assert outcome.report["invariants"]["violated"] == 0, outcome.report["invariants"]


@pytest.mark.parametrize("seed", SEEDS)
def test_reckless_books_break_as_the_oracle_computes(tmp_path: Path, seed: int) -> None:
    given = reckless(seed)
    outcome = replay(given, tmp_path, LenientOracle(given))
    compare(given, outcome)
    assert outcome.report["invariants"]["violated"] == 0, outcome.report["invariants"]


def test_some_reckless_books_are_liquidated(tmp_path: Path) -> None:
    broken = [
        seed for seed in range(6) if any(fill[-1] == "liquidation" for fill in LenientOracle(reckless(seed)).fills)
    ]
    assert len(broken) >= 3
