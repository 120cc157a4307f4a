"""What is legal and surely wrong: each warning of the registry with a value that has it and one that has not."""

import ast
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from config_files import write_config
from manager.config import accounts, load_config
from manager.config.fields import Section
from manager.config.unread import UNREAD
from manager.config.warnings import ACCOUNT_WARNINGS, TRADER_WARNINGS, doubts_about, doubts_in_a_line

ROOT = Path(__file__).parents[4]
ENV = {"ONE": "key-1", "TWO": "key-2", "ALIKE": "key-1", "SECRET": "s", "HOOK": "https://hooks.example.com/x"}
CONFIG = """\
manager: {{total_equity_usd: {equity}, reserve_equity_pct: {reserve}, allocation_strategy: {dealt}, \
rebalance_interval: {rebalance}}}
monitoring: {{update_interval: 10s{monitoring}}}
models: {{gpt: {{model: gpt-5-mini, api_key: "${{ONE}}"}}}}
exchanges:
  paper: {{type: paper, market: {{type: synthetic, seed: 7}}, {paper}}}
  {accounts}
traders:
  - id: one
    exchange: paper
    executor: {executor}
    symbols: ["BTC/USDT:USDT"]
    decision_interval: {interval}
    prompt_template: {template}
    allocation_pct: {pct}
    risk_params: {{{risk}}}
  - {{id: two, exchange: paper, executor: {{type: baseline, style: hold}}, symbols: ["BTC/USDT:USDT"], \
decision_interval: 1m, {second}}}
"""
PLAIN = {
    "equity": "10000",
    "reserve": "10",
    "dealt": "custom",
    "rebalance": "1h",
    "monitoring": "",
    "paper": "fee_bps: 4.5",
    "accounts": "# no other",
    "second": "allocation_pct: 50",
    "executor": "{type: baseline, style: trend}",
    "interval": "1m",
    "template": "prompts/general.md",
    "pct": "50",
    "risk": "",
}
MODEL = "{type: llm, model: gpt, timeout: 90s}"
LIVE = "{{type: hyperliquid, api_key: '${{{key}}}', api_secret: '${{SECRET}}', testnet: {testnet}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubted:
    """One change that a warning is about, its field, words of it, and the change nearest to it that is taken."""

    wrong: dict[str, str]
    field: str
    words: str
    right: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _live(second: str, testnet: str = "true") -> str:
    first = LIVE.format(key="ONE", testnet="true")
    return f"a: {first}\n  b: {LIVE.format(key=second, testnet=testnet)}"


CASES = {
    "FEE_TOO_HIGH": Doubted(
        wrong={"paper": "fee_bps: 450"},
        field="exchanges.paper.fee_bps",
        words="is 450: that is 4.5 % of each fill; 1 basis point is 0.01 %; write 4.5?",
        right={"paper": "fee_bps: 100"},
    ),
    "SLIPPAGE_TOO_HIGH": Doubted(
        wrong={"paper": "slippage_bps: 101"}, field="exchanges.paper.slippage_bps", words="that is 1.01 % of each fill"
    ),
    "MAKER_FEE_ODD": Doubted(
        wrong={"paper": "fee_bps: 20, maker_fee_bps: -6"},
        field="exchanges.paper.maker_fee_bps",
        words="a negative fee is paid to the trader",
        right={"paper": "fee_bps: 20, maker_fee_bps: -5"},
    ),
    "RESERVE_TOO_HIGH": Doubted(
        wrong={"reserve": "90"},
        field="manager.reserve_equity_pct",
        words="only 10 % of the account is dealt",
        right={"reserve": "89.9"},
    ),
    "REBALANCE_TOO_OFTEN": Doubted(
        wrong={"rebalance": "59s"},
        field="manager.rebalance_interval",
        words="more often than any trader of paper decides, which is every 1m",
        right={"rebalance": "1m"},
    ),
    "SAME_CREDENTIALS": Doubted(
        wrong={"accounts": _live("ALIKE")},
        field="exchanges.b.api_key",
        words="exchanges.a has the same key",
    ),
    "NOT_TRADED_YET": Doubted(
        wrong={"accounts": _live("TWO")},
        field="exchanges.a.type",
        words="is kept but nothing trades on it yet; use a paper account until it can (and 1 more like it)",
    ),
    "NO_CAPITAL": Doubted(
        wrong={"pct": "0"},
        field="traders[0].allocation_pct",
        words="under custom it gets no capital",
        right={"pct": "1"},
    ),
    "NO_ORDER_FITS": Doubted(
        wrong={"risk": "max_position_size_usd: 4.99"},
        field="traders[0].risk_params.max_position_size_usd",
        words="at most 4.99 USD, and its venue takes none below 5.00",
        right={"risk": "max_position_size_usd: 5"},
    ),
    "LEVERAGE_ABOVE_VENUE": Doubted(
        wrong={"paper": 'instruments: {"BTC/USDT:USDT": {max_leverage: 9}}'},
        field="traders[0].risk_params.major_coin_leverage",
        words="is 10: the venue grants 9 on BTC/USDT:USDT",
        right={"paper": 'instruments: {"BTC/USDT:USDT": {max_leverage: 10}}'},
    ),
    "RISK_REWARD_WITHOUT_STOP": Doubted(
        wrong={"risk": "stop_loss_enabled: false"},
        field="traders[0].risk_params.min_risk_reward_ratio",
        words="with stop_loss_enabled false an entry may have none",
        right={"risk": "stop_loss_enabled: false, min_risk_reward_ratio: 0"},
    ),
    "CONFIDENCE_A_FRACTION": Doubted(
        wrong={"risk": "min_confidence: 0.75"},
        field="traders[0].risk_params.min_confidence",
        words="is 0.75: a confidence is between 0 and 100, so hardly any entry is denied; write 75, or 0 to deny none",
        right={"risk": "min_confidence: 0"},
    ),
    "CONFIDENCE_TOO_HIGH": Doubted(
        wrong={"risk": "min_confidence: 95.5"},
        field="traders[0].risk_params.min_confidence",
        words="hardly any entry states a confidence so high",
        right={"risk": "min_confidence: 95"},
    ),
    "DRAWDOWN_TOO_LOW": Doubted(
        wrong={"risk": "max_drawdown_pct: 0.9"},
        field="traders[0].risk_params.max_drawdown_pct",
        words="the first small loss stop its entries",
        right={"risk": "max_drawdown_pct: 1"},
    ),
    "INTERVAL_BELOW_TIMEOUT": Doubted(
        wrong={"executor": MODEL, "interval": "89s"},
        field="traders[0].decision_interval",
        words="is 89s: a decision may take 90 s",
        right={"executor": MODEL, "interval": "90s"},
    ),
    "PROMPT_WITHOUT_DATA": Doubted(
        wrong={"executor": MODEL, "interval": "2m", "template": "prompts/blind.md"},
        field="traders[0].prompt_template",
        words="it says nothing of the trader's positions (positions), money (account), limits (limits)",
        right={"executor": MODEL, "interval": "2m"},
    ),
    "NOT_READ_YET": Doubted(
        wrong={"monitoring": ", alert_webhook: '${HOOK}'"},
        field="monitoring.alert_webhook",
        words="is kept but nothing reads it yet: no alert is sent yet",
        right={"monitoring": ", metrics_exporter: none"},
    ),
}
BLIND = """---
version: 1
description: it sees prices only
---
{% block system %}Trade.{% endblock %}
{% block user %}{% for symbol in symbols %}{{ market[symbol].mark }}{% endfor %}{% endblock %}
"""


def _codes(folder: Path, changes: Mapping[str, str]) -> list[str]:
    (folder / "prompts").mkdir(exist_ok=True)
    (folder / "prompts" / "blind.md").write_text(BLIND)
    config = load_config(write_config(folder, CONFIG.format(**{**PLAIN, **changes})), ENV)
    return [one.code for one in doubts_about(config)]


def test_every_warning_has_a_case() -> None:
    assert CASES.keys() == {*ACCOUNT_WARNINGS, *TRADER_WARNINGS, "NOT_READ_YET"}


def test_a_plain_config_and_the_samples_have_none(tmp_path: Path) -> None:
    assert _codes(tmp_path, {}) == []
    for sample in ("config.yaml", "docs/replay.yaml"):
        assert doubts_about(load_config(ROOT / sample, {})) == ()


@pytest.mark.parametrize(("code", "case"), CASES.items(), ids=CASES)
def test_what_is_surely_wrong_is_told_with_field_line_why_and_mend(tmp_path: Path, code: str, case: Doubted) -> None:
    assert code in _codes(tmp_path, case.wrong)
    path = tmp_path / "config.yaml"
    config = load_config(path, ENV)
    [one] = [one for one in doubts_about(config) if one.code == code]
    assert one.field == case.field
    assert case.words in str(one)
    assert one.line > 0
    assert doubts_in_a_line(config).startswith(f"{path}: ")
    assert code not in _codes(tmp_path, case.right)


def test_two_accounts_of_one_key_may_differ_by_network(tmp_path: Path) -> None:
    assert "SAME_CREDENTIALS" not in _codes(tmp_path, {"accounts": _live("ONE", "false")})
    assert "SAME_CREDENTIALS" in _codes(tmp_path, {"accounts": _live("ONE")})


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"dealt": "fixed", "pct": "100", "second": "auto_start: true"}, ["NO_CAPITAL"]),
        ({"dealt": "fixed", "pct": "100", "second": "auto_start: false"}, []),
        ({"dealt": "performance_based", "equity": "222"}, ["NO_CAPITAL"]),
        ({"dealt": "performance_based", "equity": "223"}, []),
        ({"dealt": "equal", "equity": "1e-400"}, ["NO_CAPITAL"]),
        ({"dealt": "equal", "equity": "1"}, ["NO_ORDER_FITS"]),
    ],
)
def test_capital_that_is_too_little_is_told(tmp_path: Path, changes: dict[str, str], codes: list[str]) -> None:
    assert [code for code in _codes(tmp_path, changes) if code in ("NO_CAPITAL", "NO_ORDER_FITS")] == codes


def _sections(kind: type[Section]) -> Iterator[type[Section]]:
    for section in kind.__subclasses__():
        yield section
        yield from _sections(section)


def test_the_table_names_every_key_that_no_code_reads() -> None:
    """Keys are read as attributes of their names, or of those in seconds; what only carries them on reads nothing."""
    assert accounts.EXCHANGES
    read: set[str] = set()
    for room in ("exchanges", "executor", "traders", "manager"):
        for path in (ROOT / room).rglob("*.py"):
            if path.name == "unread.py":
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            carrying = {
                id(node)
                for function in ast.walk(tree)
                if path.name == "load.py" and isinstance(function, ast.FunctionDef) and function.name == "_config"
                for node in ast.walk(function)
            }
            read |= {
                node.attr
                for node in ast.walk(tree)
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and id(node) not in carrying
            }
    keys = {key for section in _sections(Section) for key in section.model_fields}
    assert {key for key in keys if not {key, f"{key}_s"} & read} == {str(loc[-1]) for loc in UNREAD}
