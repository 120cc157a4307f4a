"""Each mistake in a config is one message: file, line, field, value, mend."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from config_files import SOUND, changed, write_config
from manager.config import ConfigError, load_config


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    old: str
    new: str
    line: int
    field: str
    value: str
    mend: str


MISTAKES = {
    "unknown key": Mistake(
        old="total_equity_usd",
        new="total_equity",
        line=2,
        field="manager.total_equity",
        value="10000",
        mend="unknown key; did you mean total_equity_usd? expected one of",
    ),
    "unknown section": Mistake(
        old="exchanges:",
        new="exchnages:\n  x: 1\nexchanges:",
        line=4,
        field="exchnages",
        value="a mapping",
        mend="did you mean exchanges?",
    ),
    "unit in words": Mistake(
        old="3m",
        new="3 minutes",
        line=11,
        field="traders[0].decision_interval",
        value="'3 minutes'",
        mend="write 3m",
    ),
    "no unit": Mistake(
        old="3m",
        new="300",
        line=11,
        field="traders[0].decision_interval",
        value="300",
        mend="has no unit; expected a duration such as 30s, 3m or 1h; write 5m if these are seconds",
    ),
    "fraction of a minute": Mistake(
        old="3m",
        new="1.5m",
        line=11,
        field="traders[0].decision_interval",
        value="'1.5m'",
        mend="write 90s",
    ),
    "no duration at all": Mistake(
        old="3m",
        new="often",
        line=11,
        field="traders[0].decision_interval",
        value="'often'",
        mend="expected a duration such as 30s, 3m or 1h",
    ),
    "zero interval": Mistake(
        old="3m",
        new="0s",
        line=11,
        field="traders[0].decision_interval",
        value="'0s'",
        mend="expected a duration from 1s to 30d",
    ),
    "timeout beyond the lease": Mistake(
        old="fee_bps: 4.5",
        new="fee_bps: 4.5, timeout: 16s",
        line=5,
        field="exchanges.paper.timeout",
        value="'16s'",
        mend="expected a duration from 1s to 15s: a job has 20s for all its calls",
    ),
    "percent sign": Mistake(
        old="allocation_pct: 60",
        new="allocation_pct: 60%",
        line=12,
        field="traders[0].allocation_pct",
        value="'60%'",
        mend="write 60",
    ),
    "quoted number": Mistake(
        old="10000",
        new="'10000'",
        line=2,
        field="manager.total_equity_usd",
        value="'10000'",
        mend="remove the quotes",
    ),
    "not a number": Mistake(
        old="10000",
        new=".nan",
        line=2,
        field="manager.total_equity_usd",
        value="NaN",
        mend="expected a finite number",
    ),
    "yes is no boolean": Mistake(
        old="allocation_strategy: fixed",
        new="trading_enabled: yes",
        line=3,
        field="manager.trading_enabled",
        value="'yes'",
        mend="expected true or false",
    ),
    "unknown strategy": Mistake(
        old="fixed",
        new="costum",
        line=3,
        field="manager.allocation_strategy",
        value="'costum'",
        mend="did you mean custom? expected one of equal, custom, performance_based, fixed",
    ),
    "duplicate trader id": Mistake(
        old="id: two",
        new="id: one",
        line=14,
        field="traders[1].id",
        value="'one'",
        mend="a trader of this id stands on line 7; give each its own id",
    ),
    "duplicate key": Mistake(
        old="    allocation_pct: 60",
        new="    allocation_pct: 60\n    id: again",
        line=7,
        field="traders[0].id",
        value="given again on line 13",
        mend="keep one of the two",
    ),
    "reserved trader id": Mistake(
        old="id: one",
        new="id: External",
        line=7,
        field="traders[0].id",
        value="'External'",
        mend="is reserved for the desk's own books",
    ),
    "id with a blank": Mistake(
        old="id: one",
        new="id: a b",
        line=7,
        field="traders[0].id",
        value="'a b'",
        mend="expected 1 to 64 letters",
    ),
    "id that YAML takes for a number": Mistake(
        old="id: one",
        new="id: 12345",
        line=7,
        field="traders[0].id",
        value="12345",
        mend="this is read as a number; write it in quotes",
    ),
    "id that YAML takes for a truth value": Mistake(
        old="id: one",
        new="id: true",
        line=7,
        field="traders[0].id",
        value="true",
        mend="this is read as true or false; write it in quotes",
    ),
    "name that YAML takes for a number": Mistake(
        old="id: one",
        new="id: one\n    name: 1e5",
        line=8,
        field="traders[0].name",
        value="1E+5",
        mend="this is read as a number; write it in quotes",
    ),
    "allocations over 100 %": Mistake(
        old="allocation_pct: 40",
        new="allocation_pct: 40.01",
        line=19,
        field="traders[1].allocation_pct",
        value="40.01",
        mend="the allocations of account paper add up to 100.01 %; lower them to 100 % together",
    ),
    "missing prompt file": Mistake(
        old="    allocation_pct: 60",
        new="    prompt_template: prompts/none.md",
        line=12,
        field="traders[0].prompt_template",
        value="'prompts/none.md'",
        mend="no such prompt template in",
    ),
    "undefined variable": Mistake(
        old="{type: baseline, style: trend}",
        new="{type: llm, model: m, api_key: ${NO_KEY}}\n    prompt_template: prompts/general.md",
        line=9,
        field="traders[0].executor.api_key",
        value="${NO_KEY}",
        mend="the environment variable NO_KEY is not set; export NO_KEY=... before you start",
    ),
    "variable that is no secret": Mistake(
        old="id: one",
        new="id: ${WHO}",
        line=7,
        field="traders[0].id",
        value="'${WHO}'",
        mend="stands for secrets only",
    ),
    "model without a prompt": Mistake(
        old="{type: baseline, style: trend}",
        new="{type: llm, model: m, api_key: ${SET_KEY}}",
        line=7,
        field="traders[0].prompt_template",
        value="missing",
        mend="add `prompt_template: prompts/general.md`",
    ),
    "unknown symbol": Mistake(
        old="BTC/USDT:USDT",
        new="BTCUSDT",
        line=10,
        field="traders[0].symbols[0]",
        value="'BTCUSDT'",
        mend="account paper does not quote it; did you mean BTC/USDT:USDT?",
    ),
    "symbol twice": Mistake(
        old='["BTC/USDT:USDT"]',
        new='["BTC/USDT:USDT", "BTC/USDT:USDT"]',
        line=10,
        field="traders[0].symbols[1]",
        value="'BTC/USDT:USDT'",
        mend="is listed twice; remove one",
    ),
    "no symbols": Mistake(
        old='["BTC/USDT:USDT"]',
        new="[]",
        line=10,
        field="traders[0].symbols",
        value="an empty list",
        mend="expected a list with at least one symbol",
    ),
    "unknown exchange": Mistake(
        old="exchange: paper",
        new="exchange: papr",
        line=8,
        field="traders[0].exchange",
        value="'papr'",
        mend="no such account under exchanges; did you mean paper?",
    ),
    "unknown exchange type": Mistake(
        old="type: paper",
        new="type: papre",
        line=5,
        field="exchanges.paper.type",
        value="'papre'",
        mend="did you mean paper? expected one of",
    ),
    "unknown market type": Mistake(
        old="type: synthetic",
        new="type: synthetik",
        line=5,
        field="exchanges.paper.market.type",
        value="'synthetik'",
        mend="did you mean synthetic? expected one of",
    ),
    "unknown executor type": Mistake(
        old="type: baseline",
        new="type: gpt",
        line=9,
        field="traders[0].executor.type",
        value="'gpt'",
        mend="expected one of baseline, llm, recorded",
    ),
    "unknown style": Mistake(
        old="style: trend",
        new="style: trned",
        line=9,
        field="traders[0].executor.style",
        value="'trned'",
        mend="did you mean trend?",
    ),
    "risk out of range": Mistake(
        old="min_confidence: 80",
        new="min_confidence: 101",
        line=13,
        field="traders[0].risk_params.min_confidence",
        value="101",
        mend="expected a confidence from 0 to 100",
    ),
    "no positions allowed": Mistake(
        old="min_confidence: 80",
        new="max_positions: 0",
        line=13,
        field="traders[0].risk_params.max_positions",
        value="0",
        mend="expected a whole number from 1 to 1000",
    ),
    "half a position": Mistake(
        old="min_confidence: 80",
        new="max_positions: 1.5",
        line=13,
        field="traders[0].risk_params.max_positions",
        value="1.5",
        mend="expected a whole number",
    ),
    "cooldown without a unit": Mistake(
        old="min_confidence: 80",
        new="cooldown_after_stop: 900",
        line=13,
        field="traders[0].risk_params.cooldown_after_stop",
        value="900",
        mend="write 15m if these are seconds",
    ),
    "rebate above the fee": Mistake(
        old="fee_bps: 4.5",
        new="fee_bps: 1, maker_fee_bps: -2",
        line=5,
        field="exchanges.paper",
        value="",
        mend="maker_fee_bps is -2, expected -1 to 10000",
    ),
    "negative fee": Mistake(
        old="fee_bps: 4.5",
        new="fee_bps: -4.5",
        line=5,
        field="exchanges.paper.fee_bps",
        value="-4.5",
        mend="expected basis points from 0 to 10000",
    ),
    "missing candle file": Mistake(
        old="{type: synthetic, seed: 7}",
        new="{type: replay, candles: none.csv}",
        line=5,
        field="exchanges.paper.market.candles",
        value="'none.csv'",
        mend="no such file",
    ),
    "a field is missing": Mistake(
        old="    decision_interval: 3m\n",
        new="",
        line=7,
        field="traders[0].decision_interval",
        value="missing",
        mend="add `decision_interval: ...`",
    ),
    "a live account": Mistake(
        old="fee_bps: 4.5}",
        new="fee_bps: 4.5}\n  live: {type: binance, api_key: sk-literal, api_secret: ${SET_KEY}}",
        line=6,
        field="exchanges.live.api_key",
        value="(hidden)",
        mend="expected a reference such as ${NAME}",
    ),
    "tenant named default": Mistake(
        old="traders:",
        new="tenants: {default: {}}\ntraders:",
        line=6,
        field="tenants.default",
        value="'default'",
        mend="choose another name",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_message_with_its_place_and_mend(tmp_path: Path, mistake: Mistake) -> None:
    path = write_config(tmp_path, changed(mistake.old, mistake.new))
    with pytest.raises(ConfigError) as refused:
        load_config(path, {"SET_KEY": "very-secret"})
    [problem] = refused.value.problems
    assert (problem.file, problem.line, problem.field) == (str(path), mistake.line, mistake.field)
    assert problem.value == mistake.value
    assert mistake.mend in problem.mend
    message = str(refused.value)
    assert message.startswith(f"{path}:{mistake.line}: {mistake.field}")
    assert "\n" not in message
    assert "very-secret" not in message
    assert "sk-literal" not in message


def test_all_mistakes_of_a_file_come_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    text = changed("3m", "3 minutes").replace("style: breakout", "style: brk").replace("10000", "-1")
    text = text.replace('["ETH/USDT:USDT"]', '["NONE", "ETH/USDT:USDT"]').replace(
        "allocation_pct: 40", "allocation_pct: 41"
    )
    with pytest.raises(ConfigError) as refused:
        load_config(write_config(tmp_path, text), {})
    assert [problem.field for problem in refused.value.problems] == [
        "manager.total_equity_usd",
        "traders[0].decision_interval",
        "traders[1].executor.style",
        "traders[1].symbols[0]",
        "traders[1].allocation_pct",
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 0, "is empty"),
        ("- 1\n", 1, "expected a mapping"),
        ("manager: {\n  a: 1\n", 3, "flow mapping that begins in line 1: expected"),
        ("manager:\n\ttotal: 1\n", 2, "is not valid YAML"),
        ("a: &a\n  b: *a\n", 0, "nested more than 30 deep"),
        ("exchanges: {}\n", 1, "a desk needs traders"),
    ],
)
def test_a_file_that_is_no_config_is_one_message(tmp_path: Path, text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        load_config(write_config(tmp_path, text), {})
    first = refused.value.problems[0]
    assert words in str(first)
    assert not line or first.line == line


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; pass the path of a config that is there"):
        load_config(tmp_path / "none.yaml", {})
    (tmp_path / "binary.yaml").write_bytes(b"\x80\x81\x82")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_config(tmp_path / "binary.yaml", {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path, {})


def test_aliases_that_multiply_are_refused_before_they_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manager.config.source._MOST_VALUES", 1_000)
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))
    with pytest.raises(ConfigError, match="aliases that multiply"):
        load_config(write_config(tmp_path, f"a0: &a0 [1]\n{levels}\n"), {})


@pytest.mark.parametrize("key", ["api_key", "api_kye", "apikey", "token", "pasword", "secrt"])
def test_the_value_of_a_key_that_sounds_like_a_secret_is_hidden(tmp_path: Path, key: str) -> None:
    text = changed("fee_bps: 4.5", f"{key}: sk-live-1")
    with pytest.raises(ConfigError, match=r"\(hidden\): unknown key") as refused:
        load_config(write_config(tmp_path, text), {})
    assert "sk-live" not in str(refused.value)


def test_a_broken_candle_file_is_named_at_the_account(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("symbol,ts_ms,open,high,low,close\nBTC/USDT:USDT,1700000000000,1,1,1,1\n")
    text = changed("{type: synthetic, seed: 7}", "{type: replay, candles: c.csv}")
    with pytest.raises(ConfigError, match="column volume is missing") as refused:
        load_config(write_config(tmp_path, text), {})
    [problem] = refused.value.problems
    assert problem.field == "exchanges.paper.market.candles"


def test_the_sound_config_is_sound(tmp_path: Path) -> None:
    assert load_config(write_config(tmp_path, SOUND), {}).tenants


def test_a_symbol_that_no_one_quotes_is_told_once_with_its_traders(tmp_path: Path) -> None:
    text = SOUND.replace("BTC/USDT:USDT", "DOGE/USDT:USDT").replace("ETH/USDT:USDT", "DOGE/USDT:USDT")
    quoted, candles = frozenset({"SOL/USDT:USDT"}), tmp_path / "c.csv"
    with pytest.raises(ConfigError) as caught:
        load_config(write_config(tmp_path, text), {}, instruments_of=lambda _: quoted, candles=candles)
    [problem] = caught.value.problems
    assert (problem.field, problem.value) == ("traders[0].symbols[0]", "'DOGE/USDT:USDT'")
    assert problem.mend == f"{candles} has no DOGE/USDT:USDT (traders one, two); expected SOL/USDT:USDT"


@pytest.mark.parametrize("given", ["BTC/USD", "btcusdt", "BTC/USDC:USDC"])
def test_only_the_same_coin_is_guessed(tmp_path: Path, given: str) -> None:
    quoted = frozenset({"BTC/USDT:USDT", "BCH/USDT:USDT", "ETH/USDT:USDT"})
    path = write_config(tmp_path, changed("BTC/USDT:USDT", given))
    with pytest.raises(ConfigError, match=r"did you mean BTC/USDT:USDT\? expected one of BCH"):
        load_config(path, {}, instruments_of=lambda _: quoted)


@pytest.mark.parametrize(("copies", "words"), [(1, "1 other trader that shares it"), (2, "2 other traders that share")])
def test_a_mistake_in_an_anchor_is_told_once(tmp_path: Path, copies: int, words: str) -> None:
    text = changed("risk_params: {min_confidence: 80}", "risk_params: &risk {min_confidence: 800}")
    body = text[text.index("  - id: two") :].replace("40\n", "0\n") + "    risk_params: {<<: *risk, max_positions: 1}\n"
    text = text[: text.index("  - id: two")] + "".join(body.replace("two", f"t{n}") for n in range(copies))
    with pytest.raises(ConfigError) as caught:
        load_config(write_config(tmp_path, text), {})
    [problem] = caught.value.problems
    assert (problem.line, problem.field) == (13, "traders[0].risk_params.min_confidence")
    assert f"; and {words}" in problem.mend


def test_the_same_mistake_in_two_places_is_told_twice(tmp_path: Path) -> None:
    account = "exchanges: {p: {type: paper, market: {type: synthetic}}}"
    text = f"{account}\ntraders: [{{id: a, exchange: x}}, {{id: b, exchange: x}}]\n"
    with pytest.raises(ConfigError) as caught:
        load_config(write_config(tmp_path, text), {})
    assert [p.field for p in caught.value.problems if p.field.endswith("exchange")] == [
        "traders[0].exchange",
        "traders[1].exchange",
    ]
