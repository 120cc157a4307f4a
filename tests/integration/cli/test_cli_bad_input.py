"""A user's mistake on the command line: one message, exit code 2, and nothing half-applied."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from config_files import SOUND, changed, write_config
from manager.cli.app import app

CONFIG_MISTAKES = {
    "unknown key": (("total_equity_usd", "total_equity"), 2, "manager.total_equity", "did you mean total_equity_usd?"),
    "wrong unit": (("3m", "3 minutes"), 11, "traders[0].decision_interval is '3 minutes'", "write 3m"),
    "no unit": (("3m", "300"), 11, "traders[0].decision_interval is 300", "write 5m"),
    "duplicate trader id": (("id: two", "id: one"), 14, "traders[1].id is 'one'", "give each its own id"),
    "allocations over 100 %": (
        ("allocation_pct: 40", "allocation_pct: 41"),
        19,
        "traders[1].allocation_pct is 41",
        "lower them to 100 % together",
    ),
    "missing prompt file": (
        ("    allocation_pct: 60", "    prompt_template: prompts/none.md"),
        12,
        "traders[0].prompt_template is 'prompts/none.md'",
        "expected a path below them",
    ),
    "undefined variable": (
        ("fee_bps: 4.5}", "fee_bps: 4.5}\n  hl: {type: hyperliquid, api_key: ${NO_SUCH_KEY}, api_secret: ${SET_KEY}}"),
        6,
        "exchanges.hl.api_key is ${NO_SUCH_KEY}",
        "export NO_SUCH_KEY=...",
    ),
    "unknown symbol": (
        ("BTC/USDT:USDT", "BTC/USD"),
        10,
        "traders[0].symbols[0] is 'BTC/USD'",
        "did you mean BTC/USDT:USDT?",
    ),
    "unknown exchange": (
        ("exchange: paper", "exchange: kraken"),
        8,
        "traders[0].exchange is 'kraken'",
        "expected paper",
    ),
}


def propdesk(*arguments: str | Path, env: dict[str, str] | None = None) -> Result:
    variables = {"DATABASE_URL": "", "SET_KEY": "s3cr3t", **(env or {})}
    return CliRunner(env=variables).invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("operations", "--kind", "decisions"), "'event'. Did you mean 'decision'?"),
        (("operations", "--kind", "xyz"), "Invalid value for '--kind': 'xyz' is not one of 'order', "),
        (("replay", "-c", "x", "--candles", "y", "--models", "recorder"), "'record'. Did you mean 'recorde"),
    ],
)
def test_a_choice_that_is_none_names_the_nearest(arguments: tuple[str, ...], told: str) -> None:
    result = propdesk(*arguments)
    assert result.exit_code == 2
    said = " ".join(result.stderr.replace("│", " ").split())
    assert told in said
    assert "Value error" not in said


READ_AS_OPTION = "begins with a minus, so it is read as an option"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        *(
            (f"traders fund a {amount} --reason r", f"AMOUNT '{amount}' {READ_AS_OPTION}; give USD above 0, such as")
            for amount in ("-5", "-1500.50", "-.5", "-1e9")
        ),
        ("traders fund a --reason r --key -1 -1500", f"AMOUNT '-1500' {READ_AS_OPTION}; give USD above 0, such as"),
        ("status --watch -2.5", f"[SECONDS] '-2.5' {READ_AS_OPTION}; give seconds above 0, such as 2"),
        ("performance -12", f"'-12' {READ_AS_OPTION}, and there is none of this name here"),
        ("trades --limit -15", "Invalid value for '--limit': '-15' should be greater than or equal to 1"),
        ("operations --limit ten", "Invalid value for '--limit': 'ten' should be a valid integer"),
        ("run --port -80", "Invalid value for '--port': '-80' should be greater than or equal to 0"),
        ("close a --wait -5", "--wait '-5': expected a duration such as 30s"),
    ],
)
def test_a_number_that_is_none_is_named_whole(tmp_path: Path, arguments: str, told: str) -> None:
    result = propdesk(*arguments.split(), *(() if "run" in arguments else ("--data-dir", tmp_path)))
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.replace("│", " ").split())


def assert_one_message(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("propdesk: ")
    for word in words:
        assert word in line
    assert "s3cr3t" not in line


@pytest.mark.parametrize("command", ["config check", "run", "worker"])
@pytest.mark.parametrize("name", CONFIG_MISTAKES)
def test_a_mistake_in_the_config_is_one_message_and_starts_nothing(tmp_path: Path, name: str, command: str) -> None:
    (old, new), line, field, mend = CONFIG_MISTAKES[name]
    path = write_config(tmp_path, changed(old, new))
    data_dir = tmp_path / "data"
    if command == "config check":
        result = propdesk("config", "check", path)
    else:
        result = propdesk(command, "-c", path, "--data-dir", data_dir)
    assert_one_message(result, f"{path}:{line}: {field}", mend)
    assert not data_dir.exists()


def test_each_mistake_of_a_file_has_its_own_line(tmp_path: Path) -> None:
    path = write_config(tmp_path, changed("3m", "3 minutes").replace("style: breakout", "style: none"))
    result = propdesk("config", "check", path)
    assert result.exit_code == 2
    assert [line.split(": ")[2].split(" is ")[0] for line in result.stderr.splitlines()] == [
        "traders[0].decision_interval",
        "traders[1].executor.style",
    ]


CANDLES = "symbol,ts_ms,open,high,low,close,volume\n"
ROWS = [
    f"{symbol},{1_700_000_000_000 + n * 60_000},100,101,99,100,5\n"
    for symbol in ("BTC/USDT:USDT", "ETH/USDT:USDT")
    for n in range(3)
]
CANDLE_MISTAKES = {
    "missing column": (
        CANDLES.replace(",volume", "") + "".join(row.rsplit(",", 1)[0] + "\n" for row in ROWS),
        ["column volume is missing", "rename or add it"],
    ),
    "NaN": (
        CANDLES + "".join(ROWS[:1]) + ROWS[1].replace(",101,", ",NaN,") + "".join(ROWS[2:]),
        ["row 2 (BTC/USDT:USDT): high is nan", "remove or repair the row"],
    ),
    "time running backwards": (
        CANDLES + ROWS[1] + ROWS[0] + "".join(ROWS[2:]),
        ["row 2 (BTC/USDT:USDT): ts_ms is 1700000000000", "sort the file"],
    ),
}


@pytest.mark.parametrize("name", CANDLE_MISTAKES)
def test_a_mistake_in_the_candles_is_one_message_and_writes_nothing(tmp_path: Path, name: str) -> None:
    text, words = CANDLE_MISTAKES[name]
    candles, out = tmp_path / "candles.csv", tmp_path / "out"
    candles.write_text(text)
    result = propdesk("replay", "-c", write_config(tmp_path), "--candles", candles, "--out", out, "--json")
    assert_one_message(result, str(candles), *words)
    assert not out.exists()


def test_a_replay_judges_symbols_by_the_candle_file(tmp_path: Path) -> None:
    candles = tmp_path / "candles.csv"
    candles.write_text(CANDLES + "".join(ROWS[:3]))
    result = propdesk("replay", "-c", write_config(tmp_path), "--candles", candles)
    assert_one_message(result, f"traders[1].symbols[0] is 'ETH/USDT:USDT': {candles} has no ETH/USDT:USDT; expected")
    assert "did you mean" not in result.stderr


def test_the_config_for_replays_runs_on_any_file_of_bitcoin_and_ether(tmp_path: Path) -> None:
    candles = tmp_path / "candles.csv"
    candles.write_text(CANDLES + "".join(ROWS))
    config = Path(__file__).parents[3] / "docs" / "replay.yaml"
    result = propdesk("replay", "-c", config, "--candles", candles)
    assert result.exit_code == 0, result.stderr
    assert "0 violated" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "yesterday"], "is no time"),
        (["--from", "2025-02-01", "--to", "2025-01-01"], "leaves no time to replay"),
        (["--out", "config.yaml"], "is a file; name a folder"),
    ],
)
def test_a_replay_refuses_options_that_cannot_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    result = propdesk("replay", "-c", "config.yaml", "--candles", "none.csv", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


@pytest.mark.parametrize(
    "arguments", [["status"], ["operations"], ["why", "x"], ["traders", "list"], ["traders", "pause", "x"], ["halt"]]
)
def test_reading_where_no_desk_is_creates_none(tmp_path: Path, arguments: list[str]) -> None:
    data_dir = tmp_path / "none"
    result = propdesk(*arguments, "--data-dir", data_dir)
    assert_one_message(result, f"there is no desk in {data_dir}", "propdesk run")
    assert not data_dir.exists()


def test_without_a_config_the_message_names_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert_one_message(propdesk("run"), "there is no config.yaml in", "pass -c FILE, or copy the sample")


@pytest.mark.parametrize("arguments", [["fly"], ["replay"], ["run", "--port", "http"], ["why"]])
def test_wrong_usage_ends_with_code_2(arguments: list[str]) -> None:
    result = propdesk(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id: three\nexchange: papr\n", ["config.yaml"]),
        ("traders: []\n", ["traders is an empty list", "at least one trader"]),
        ("trader: []\n", ["trader is"]),
    ],
)
def test_a_file_of_traders_is_judged_like_a_config(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "more.yaml").write_text(text)
    result = propdesk(
        "traders", "add", tmp_path / "more.yaml", "-c", write_config(tmp_path, SOUND), "--data-dir", tmp_path / "none"
    )
    assert result.exit_code == 2
    assert "more.yaml:1: " in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "none").exists()


def test_a_desk_in_real_time_does_not_run_on_recorded_prices(tmp_path: Path) -> None:
    (tmp_path / "candles.csv").write_text(CANDLES + "".join(ROWS))
    path = write_config(tmp_path, changed("{type: synthetic, seed: 7}", "{type: replay, candles: candles.csv}"))
    for command in ("run", "worker"):
        result = propdesk(command, "-c", path, "--data-dir", tmp_path / "none")
        assert_one_message(result, "trader one is on account paper, whose market is a replay", "propdesk replay")


def test_a_trader_with_a_key_of_its_own_is_taken_on_by_the_config_only(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text(
        "id: three\nexchange: paper\nexecutor: {type: llm, model: m, api_key: ${SET_KEY}}\n"
        'prompt_template: prompts/general.md\nsymbols: ["ETH/USDT:USDT"]\ndecision_interval: 1m\n'
    )
    arguments = ("traders", "add", tmp_path / "more.yaml", "-c", write_config(tmp_path))
    result = propdesk(*arguments, "--data-dir", tmp_path / "none")
    assert_one_message(result, "trader three has a model of its own", "models:")
