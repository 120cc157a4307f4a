"""Random opens, adds and stop moves on coarse ticks, lots and contracts: denied and cut as the rules say, by hand."""

import os
import random
from decimal import Decimal
from pathlib import Path

import pytest

from replay_checks import CheckingOracle
from replay_harness import compare, replay
from replay_scenario import Item, Scenario

PRICES = (("BTC/USDT:USDT", 1000.0), ("CHF/USDT:USDT", 0.9671), ("SOL/USDT:USDT", 100.0))
COUNT = 90
TERMS = {
    "BTC/USDT:USDT": {"tick": "3", "lot": "0.01"},
    "CHF/USDT:USDT": {"tick": "0.01", "lot": "1", "contract_size": "10"},
    "SOL/USDT:USDT": {"tick": "0.7", "lot": "0.1", "contract_size": "0.5"},
}
LIMITS = {"max_symbol_exposure_pct": 10_000, "max_margin_usage_pct": 100, "max_unrealized_loss_pct": 100}
CHECKS = {
    "stop_loss_enabled": True,
    "max_margin_usage_pct": 100,
    "max_drawdown_pct": 100,
    "cooldown_after_stop": "0s",
    "max_position_size_usd": 600,
    "max_single_position_exposure_pct": 12,
    "max_entries_per_hour": 7,
    "max_positions": 2,
    "min_risk_reward_ratio": 0.8,
    "major_coin_leverage": 12,
    "altcoin_leverage": 9,
}


def bars(dice: random.Random, price: float) -> list[str | None]:
    rows: list[str | None] = []
    for _ in range(COUNT):
        opened = price * (1 + dice.gauss(0, 0.002))
        price = opened * (1 + dice.gauss(0, 0.01))
        high = max(opened, price) * (1 + abs(dice.gauss(0, 0.004)))
        low = min(opened, price) * (1 - abs(dice.gauss(0, 0.004)))
        rows.append(" ".join(f"{value:.4f}" for value in (opened, high, low, price)))
    return rows


def item(dice: random.Random, symbol: str, price: float) -> Item:
    kind = dice.choices(["open_long", "open_short", "close_long", "adjust_stop"], [6, 4, 1, 3])[0]
    if kind.startswith("close"):
        return {"symbol": symbol, "action": kind, "fraction": dice.choice(["1", "0.5"])}
    sign = 1 if kind == "open_long" or (kind == "adjust_stop" and dice.random() < 0.7) else -1
    given: Item = {
        "symbol": symbol,
        "action": kind,
        "stop_loss": f"{price * (1 - sign * dice.uniform(-0.002, 0.12)):.4f}",
    }
    if dice.random() < 0.7:
        given["take_profit"] = f"{price * (1 + sign * dice.uniform(-0.002, 0.15)):.4f}"
    if kind.startswith("open"):
        given |= {"leverage": dice.choice([2, 5, 10, 20]), "position_size_usd": f"{dice.uniform(3, 500):.2f}"}
        given["confidence"] = 50
        if dice.random() < 0.2:
            given["max_entry_price"] = f"{price * (1 + dice.uniform(0, 0.01)):.4f}"
        if dice.random() < 0.2:
            given["min_entry_price"] = f"{price * (1 - dice.uniform(0, 0.01)):.4f}"
    return given


def scenario(seed: int) -> Scenario:
    dice = random.Random(seed)
    rows = {symbol: bars(dice, start) for symbol, start in PRICES}
    batches = []
    for index in range(1, COUNT - 1):
        for name in "ab":
            if dice.random() < 0.45:
                wanted = [dice.choice(PRICES)[0] for _ in range(dice.choice([1, 1, 2, 3]))]
                prices = [(symbol, float(str(rows[symbol][index]).split()[3])) for symbol in wanted]
                batches.append((index, name, [item(dice, *one) for one in prices]))
    return Scenario(
        bars=rows,
        traders={
            "a": {"risk_params": CHECKS},
            "b": {"risk_params": {**CHECKS, "max_single_position_exposure_pct": 15}},
        },
        batches=batches,
        manager={"conflict_strategy": "net", "rebalance_interval": "8000h"},
        limits={**LIMITS, "max_positions": 100},
        instruments=TERMS,
    )


SEEDS = range(int(os.environ.get("PROPDESK_RANDOM_SCENARIOS", "12")))


@pytest.mark.parametrize("seed", SEEDS)
def test_each_item_is_denied_or_cut_as_the_rules_say(tmp_path: Path, seed: int) -> None:
    given = scenario(seed)
    outcome = replay(given, tmp_path, CheckingOracle(given))
    judge = outcome.oracle
    assert isinstance(judge, CheckingOracle)
    compare(given, outcome)
    assert outcome.report["denials"] == {code: count for code, count in judge.denied.items() if count}
    assert outcome.report["clamps"] == {code: count for code, count in judge.cut.items() if count}
    assert outcome.report["invariants"]["violated"] == 0, outcome.report["invariants"]


def test_every_check_is_met_by_some_seed() -> None:
    judges = [CheckingOracle(scenario(seed)) for seed in range(12)]
    denied = {code for judge in judges for code in judge.denied}
    assert denied >= {
        "ENTRY_RATE", "ENTRY_PRICE_MOVED", "OPPOSITE_OWN_POSITION", "MAX_POSITIONS_TRADER", "STOP_LOSS_WRONG_SIDE",
        "TAKE_PROFIT_WRONG_SIDE", "RISK_REWARD_TOO_LOW", "STOP_BEYOND_LIQUIDATION", "BELOW_MIN_NOTIONAL",
    }  # fmt: skip
    cut = {code for judge in judges for code in judge.cut}
    assert cut >= {"LEVERAGE", "MAX_POSITION_SIZE", "POSITION_EXPOSURE"}
    assert all(Decimal(len(judge.fills)) > 5 for judge in judges)
