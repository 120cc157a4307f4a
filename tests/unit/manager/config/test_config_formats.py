"""JSON and TOML configs are read as YAML ones are, mistakes and their lines included."""

from pathlib import Path

import pytest

from manager.config import ConfigError, load_config

YAML = """\
manager: {total_equity_usd: 5000, reserve_equity_pct: 12.5}
exchanges:
  desk: {type: paper, market: {type: synthetic, seed: 7}, fee_bps: 4.5}
traders:
  - id: one
    exchange: desk
    executor: {type: baseline, style: hold}
    symbols: ["BTC/USDT:USDT"]
    decision_interval: 1m
  - id: two
    exchange: desk
    executor: {type: baseline, style: trend}
    symbols: ["ETH/USDT:USDT"]
    decision_interval: 3m
    risk_params: {min_confidence: 80}
"""
JSON = """\
{
\t"manager": {"total_equity_usd": 5000, "reserve_equity_pct": 12.5},
\t"exchanges": {"desk": {"type": "paper", "market": {"type": "synthetic", "seed": 7}, "fee_bps": 4.5}},
\t"traders": [
\t\t{"id": "one", "exchange": "desk", "executor": {"type": "baseline", "style": "hold"},
\t\t "symbols": ["BTC\\/USDT:USDT"], "decision_interval": "1m"},
\t\t{"id": "tw\\u006f", "exchange": "desk", "executor": {"type": "baseline", "style": "trend"},
\t\t "symbols": ["ETH/USDT:USDT"], "decision_interval": "3m", "risk_params": {"min_confidence": 80}}
\t]
}
"""
TOML = """\
# The same desk.
[manager]
total_equity_usd = 5000
reserve_equity_pct = 12.5

[exchanges.desk]
type = "paper"
market = {type = "synthetic", seed = 7}
fee_bps = 4.5

[[traders]]
id = "one"
exchange = "desk"
executor = {type = "baseline", style = "hold"}
symbols = ["BTC/USDT:USDT"]
decision_interval = "1m"

[[traders]]
id = "two"
exchange = "desk"
symbols = [
  "ETH/USDT:USDT",
]
decision_interval = "3m"
[traders.executor]
type = "baseline"
style = "trend"
[traders.risk_params]
min_confidence = 80
"""


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(("name", "text"), [("c.json", JSON), ("c.toml", TOML), ("c.TOML", TOML)])
def test_all_forms_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    yaml = load_config(written(tmp_path, "c.yaml", YAML), {})
    assert load_config(written(tmp_path, name, text), {}).tenants == yaml.tenants


@pytest.mark.parametrize(
    ("old", "new", "line", "field"),
    [
        ("fee_bps = 4.5", "fee_bp = 4.5", 9, "exchanges.desk.fee_bp"),
        ('id = "two"', "id = 2", 19, "traders[1].id"),
        ("seed = 7", "seed = -7", 8, "exchanges.desk.market.seed"),
        ("min_confidence = 80", "min_confidence = 101", 29, "traders[1].risk_params.min_confidence"),
        ("12.5", "nan", 4, "manager.reserve_equity_pct"),
        ('"3m"', "00:03:00", 24, "traders[1].decision_interval"),
    ],
)
def test_a_mistake_in_toml_has_its_line(tmp_path: Path, old: str, new: str, line: int, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, "c.toml", TOML.replace(old, new)), {})
    assert [(one.line, one.field) for one in caught.value.problems] == [(line, field)]


def test_text_over_several_lines_hides_no_key(tmp_path: Path) -> None:
    text = TOML.replace('id = "two"', 'description = """\nid = "x"\n"""\nid = "two words"')
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, "c.toml", text), {})
    assert [(one.line, one.field) for one in caught.value.problems] == [(22, "traders[1].id")]


@pytest.mark.parametrize("text", ["a = [", "[a\n", "a = 1\na = 2\n"])
def test_what_is_no_toml_is_one_message(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"c\.toml: is not valid TOML \(.*\); correct it there"):
        load_config(written(tmp_path, "c.toml", text), {})
