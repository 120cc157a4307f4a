"""What `propdesk replay` prints, notes and refuses, beside its numbers."""

import json
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner, Result

from executor.contract import Context, FullDecision, Outcome
from executor.recordings.decisions import RecordedExecutor
from manager.cli.app import app
from manager.cli.replaying import ReplayText
from replay_harness import write
from replay_scenario import START_MS, Scenario, flat, opens

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"


def scenario() -> Scenario:
    return Scenario(
        bars={BTC: flat(6, "100"), ETH: flat(6, "10")},
        traders={"a": {}, "b": {}},
        batches=[(1, "a", [opens(BTC, "long", "500")])],
    )


SIDES = (("a", "long", 80.5), ("b", "short", 90))


def replayed(folder: Path, *arguments: str | Path, given: Scenario | None = None) -> Result:
    """Write the scenario unless its files are there, and replay it on the command line."""
    if not (folder / "config.yaml").exists():
        write(given or scenario(), folder)
    files = ["-c", folder / "config.yaml", "--candles", folder / "candles.csv"]
    if "--decisions" not in arguments:
        files += ["--decisions", folder / "decisions.jsonl"]
    command = [str(argument) for argument in ("replay", *files, *arguments)]
    return CliRunner(env={"DATABASE_URL": ""}).invoke(app, command)


def test_each_trader_has_its_state_and_what_it_earned(tmp_path: Path) -> None:
    """500 USD bought at 100.01 are worth 100: 0.05 of slippage and 0.2250225 of fee are lost."""
    result = replayed(tmp_path, "--json")
    assert result.exit_code == 0, result.output
    a, b = json.loads(result.stdout)["traders"]
    assert (a["state"], a["state_reason"], a["pnl"]) == ("running", "", "-0.2750225")
    assert (b["state"], b["pnl"]) == ("running", "0")


def test_what_a_replay_logs_is_no_part_of_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failed(executor: RecordedExecutor, context: Context) -> FullDecision:
        return FullDecision(outcome=Outcome.UNAVAILABLE)

    monkeypatch.setattr(RecordedExecutor, "decide", failed)
    structlog.reset_defaults()
    try:
        twice = Scenario(bars={BTC: flat(6, "100")}, traders={"a": {}}, batches=[(1, "a", []), (2, "a", [])])
        result = replayed(tmp_path, "--json", given=twice)
    finally:
        structlog.reset_defaults()
    assert json.loads(result.stdout)["traders"][0]["outcomes"] == {"unavailable": 2}
    assert result.stderr.count("decision_without_result") == 1


def test_traders_without_capital_are_in_the_report_too(tmp_path: Path) -> None:
    """250 USD are enough for two floors of 100 USD; the third trader is dealt nothing and decides all the same."""
    given = Scenario(
        bars={BTC: flat(6, "100")},
        traders={name: {} for name in "abc"},
        batches=[(1, "c", [{"symbol": BTC, "action": "hold"}])],
        manager={"total_equity_usd": 250, "reserve_equity_pct": 0, "allocation_strategy": "performance_based"},
    )
    report = json.loads(replayed(tmp_path, "--json", given=given).stdout)
    told = [(one["id"], one["state"], one["allocated"], one["equity"], one["decisions"]) for one in report["traders"]]
    assert told == [("a", "running", "125", "125", 0), ("b", "running", "125", "125", 0), ("c", "running", "0", "0", 1)]


def test_a_conflict_is_one_line_beside_the_report(tmp_path: Path) -> None:
    """b is surer and keeps its side; the same conflict on the same symbol is told once in a replay."""
    sides = [(at, name, [opens(BTC, side, "100", confidence=sure)]) for at in (1, 2) for name, side, sure in SIDES]
    structlog.reset_defaults()
    try:
        given = Scenario(bars={BTC: flat(6, "100")}, traders={"a": {}, "b": {}}, batches=sides)
        result = replayed(tmp_path, "--json", given=given)
    finally:
        structlog.reset_defaults()
    assert json.loads(result.stdout)["conflicts"] == {"direction": 2}
    [line] = [line for line in result.stderr.splitlines() if " conflict " in line]
    assert "type=direction" in line
    assert "severity=high" in line
    assert f"symbol={BTC}" in line
    assert "traders='b short 90, a long 80.5'" in line
    assert "outcome='kept b (short); denied a'" in line


def test_the_table_tells_why_a_trader_is_isolated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads(replayed(tmp_path, "--json").stdout)
    report["traders"][1] |= {"state": "isolated", "state_reason": "too many failed decisions"}
    ReplayText(report, None).show()
    header, first, state, _, second = capsys.readouterr().out.splitlines()[1:6]
    assert header.split()[:5] == ["trader", "equity", "start", "moved", "pnl"]
    assert first.split()[1:5] == ["4,499.72", "4,500.00", "0.00", "-0.28"]
    assert state.strip() == "state running"
    assert second.strip() == "state isolated: too many failed decisions"


def test_the_account_tells_its_state_and_what_its_equity_is_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = json.loads(replayed(tmp_path, "--json").stdout)
    report["account"] |= {"state": "halted", "state_reason": "it was liquidated"}
    ReplayText(report, None).show()
    told = capsys.readouterr().out.split("Account\n")[1]
    header, cells = told.splitlines()[:2]
    assert header.split()[:4] == ["equity", "start", "moved", "pnl"]
    assert cells.split()[:4] == ["9,999.72", "10,000.00", "0.00", "-0.28"]
    assert "halted: it was liquidated" in told


def test_the_end_counts_decisions_and_gives_no_rate_that_is_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = json.loads(replayed(tmp_path, "--json").stdout)
    for rate, told in ((0, "12 bars and 1 decisions in 688.0 s"), (3, "688.0 s: 2 bars/s, 3 decisions/s")):
        ReplayText({**report, "wall_s": 688.0, "bars_per_s": 2, "decisions_per_s": rate}, None).show()
        assert capsys.readouterr().out.splitlines()[-1].endswith(told)


def test_failed_decisions_point_at_where_they_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads(replayed(tmp_path, "--json").stdout)
    report["traders"][0]["outcomes"] = {"timeout": 1}
    for out, told in ((None, "--out DIR writes decisions.jsonl"), (Path("out"), "see out/decisions.jsonl")):
        ReplayText(report, out).show()
        assert told in " ".join(capsys.readouterr().out.split())


def test_a_report_may_be_written_over_by_the_next_one(tmp_path: Path) -> None:
    out = tmp_path / "reports" / "deep"
    for _ in range(2):
        result = replayed(tmp_path, "--out", out)
        assert result.exit_code == 0, result.output
        assert sorted(path.name for path in out.iterdir()) == sorted(
            [
                "report.html",
                "report.json",
                "decisions.jsonl",
                "trades.parquet",
                "round_trips.parquet",
                "orders.parquet",
                "equity.parquet",
            ]
        )


def test_a_recording_beside_an_earlier_report_is_never_overwritten(tmp_path: Path) -> None:
    assert replayed(tmp_path, "--out", tmp_path / "other").exit_code == 0
    before = (tmp_path / "decisions.jsonl").read_text()
    (tmp_path / "report.html").write_text((tmp_path / "other" / "report.html").read_text())
    result = replayed(tmp_path, "--out", tmp_path)
    assert result.exit_code == 2
    assert "decisions.jsonl is there and not from a replay" in result.stderr
    assert (tmp_path / "decisions.jsonl").read_text() == before


def test_each_decision_is_written_with_what_became_of_it(tmp_path: Path) -> None:
    denied = opens(BTC, "long", "500", leverage=99)
    given = Scenario(bars=scenario().bars, traders={"a": {}, "b": {}}, batches=[(1, "a", [denied]), (2, "b", [])])
    result = replayed(tmp_path, "--out", tmp_path / "out", given=given)
    assert result.exit_code == 0, result.output
    lines = (tmp_path / "out" / "decisions.jsonl").read_text().splitlines()
    first, second = map(json.loads, lines)
    assert (first["trader_id"], first["at"], first["outcome"]) == ("a", "2025-01-01T00:02:00+00:00", "decided")
    assert first["id"] == "a@1735689720000"
    assert (first["actions"][0]["action"], first["actions"][0]["leverage"]) == ("open_long", 99)
    assert [one["code"] for one in first["denials"]] == ["LEVERAGE"]
    assert (second["trader_id"], second["actions"], second["denials"]) == ("b", [], [])


@pytest.mark.parametrize("name", ["report.html", "trades.parquet"])
def test_a_file_that_is_not_ours_is_never_overwritten(tmp_path: Path, name: str) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / name).write_text("<html>my own</html>")
    result = replayed(tmp_path, "--out", out, "--candles", "none.csv")
    assert result.exit_code == 2
    assert f"{name} is there and not from a replay" in result.stderr
    assert [path.read_text() for path in out.iterdir()] == ["<html>my own</html>"]


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "deep", Path("/proc/none/deep")):
        result = replayed(tmp_path, "--out", out, "--candles", "none.csv")
        assert result.exit_code == 2
        assert f"--out {out}: " in result.stderr
        assert "name a folder you may write to" in result.stderr
        assert "none.csv" not in result.stderr


def test_each_bad_item_is_told_with_its_line_and_counted(tmp_path: Path) -> None:
    bad = opens(ETH, "long", "500", leverage="high")
    given = Scenario(
        bars=scenario().bars,
        traders={"a": {}, "b": {}},
        batches=[(1, "a", [opens(BTC, "long", "500"), bad]), (2, "b", [{"symbol": "DOGE", "action": "open_long"}])],
    )
    result = replayed(tmp_path, "--json", given=given)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["invalid_items"] == 2
    notes = result.stderr.splitlines()
    decisions = tmp_path / "decisions.jsonl"
    assert notes[0].startswith(f"propdesk: {decisions}, line 1: decisions[1].leverage: ")
    assert "high" in notes[0]
    assert all(note.startswith(f"propdesk: {decisions}, line 2: decisions[0]") for note in notes[1:])
    assert any("DOGE" in note for note in notes[1:])
    assert "Invalid items of decisions: 2" in replayed(tmp_path).stdout


def test_a_sound_recording_brings_no_note(tmp_path: Path) -> None:
    result = replayed(tmp_path, "--json")
    assert (result.stderr, json.loads(result.stdout)["invalid_items"]) == ("", 0)


def test_an_unknown_trader_is_named_with_its_line(tmp_path: Path) -> None:
    replayed(tmp_path)
    decisions = tmp_path / "other.jsonl"
    sound = (tmp_path / "decisions.jsonl").read_text()
    decisions.write_text(sound + "\n" + sound.replace('"trader_id": "a"', '"trader_id": "zed"'))
    result = replayed(tmp_path, "--decisions", decisions)
    assert result.exit_code == 2
    [line] = result.stderr.splitlines()
    assert line.startswith(f"propdesk: {decisions}, line 3: field trader_id: 'zed' is not a trader")


def test_a_recording_without_decisions_is_refused(tmp_path: Path) -> None:
    replayed(tmp_path)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n \n")
    result = replayed(tmp_path, "--decisions", empty)
    assert result.exit_code == 2
    [line] = result.stderr.splitlines()
    assert line.startswith(f"propdesk: {empty}")
    assert "there is no decision in it" in line


def funded(folder: Path, *symbols: str) -> Path:
    path = folder / "funding.csv"
    stamps = f"{START_MS + 120_000},0.0001\n"
    path.write_text("symbol,ts_ms,funding_rate\n" + "".join(f"{symbol},{stamps}" for symbol in symbols))
    return path


def test_funding_of_other_symbols_is_refused(tmp_path: Path) -> None:
    funding = funded(tmp_path, "BTC/USDC:USDC", "ETH/USDC:USDC")
    result = replayed(tmp_path, "--funding", funding)
    assert result.exit_code == 2
    [line] = result.stderr.splitlines()
    assert line.startswith(f"propdesk: {funding}: field symbol: found BTC/USDC:USDC, ETH/USDC:USDC, and no symbol of")
    assert f"({BTC}, {ETH})" in line
    assert "leave out --funding" in line


def test_symbols_without_funding_are_noted(tmp_path: Path) -> None:
    result = replayed(tmp_path, "--json", "--funding", funded(tmp_path, BTC, "BTC/USDC:USDC"))
    assert result.exit_code == 0
    [line] = result.stderr.splitlines()
    assert f"no funding for {ETH};" in line
    assert json.loads(result.stdout)["account"]["funding"] == "0"


def test_funding_outside_the_window_is_told_and_no_mistake(tmp_path: Path) -> None:
    result = replayed(tmp_path, "--json", "--from", "2025-01-01T00:03:00Z", "--funding", funded(tmp_path, BTC, ETH))
    assert result.exit_code == 0, result.stderr
    assert [f"no funding for {symbol} within the candles" in result.stderr for symbol in (BTC, ETH)] == [True, True]


@pytest.mark.parametrize(
    ("stamp", "told"),
    [
        (START_MS // 1000, "like seconds; multiply by 1000"),
        (START_MS * 1000, "like microseconds; divide by 1000"),
        (10**20, "of the years 2009 to 2099"),
        (0, "of the years 2009 to 2099"),
        (True, "as a whole number"),
    ],
)
def test_decisions_in_another_unit_are_refused_with_their_line(tmp_path: Path, stamp: int, told: str) -> None:
    replayed(tmp_path)
    lines = [{"ts_ms": at, "trader_id": "a", "decisions": []} for at in (START_MS, stamp)]
    (tmp_path / "other.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    result = replayed(tmp_path, "--decisions", tmp_path / "other.jsonl")
    assert result.exit_code == 2
    assert "other.jsonl, line 2: " in result.stderr
    assert told in result.stderr


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    before = replayed(tmp_path, "--json")
    for name in ("decisions.jsonl", "candles.csv", "config.yaml"):
        path = tmp_path / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    after = replayed(tmp_path, "--json")
    assert after.exit_code == 0, after.stderr
    assert json.loads(after.stdout)["account"] == json.loads(before.stdout)["account"]


@pytest.mark.parametrize("name", ["decisions.jsonl", "candles.csv", "config.yaml"])
@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_is_one_message(tmp_path: Path, name: str, encoding: str) -> None:
    replayed(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_text().replace("o", "\xf6").encode(encoding))
    result = replayed(tmp_path)
    assert (result.exit_code, "Traceback" in result.output) == (2, False)
    assert name in result.stderr


def test_what_was_asked_and_is_not_in_the_data_is_told(tmp_path: Path) -> None:
    late = Scenario(
        bars={BTC: flat(6, "100"), ETH: flat(6, "10")},
        traders={"a": {}},
        batches=[(1, "a", []), (50, "a", []), (51, "a", [])],
    )
    write(late, tmp_path)
    rates = "".join(f"{BTC},{START_MS + minute * 60_000},0.0001\n" for minute in (4, 5))
    (tmp_path / "funding.csv").write_text(f"symbol,ts_ms,funding_rate\n{rates}")
    window = ("--from", "2020-01-01T00:00:00Z", "--to", "2030-01-01T00:00:00Z")
    result = replayed(tmp_path, "--funding", tmp_path / "funding.csv", *window)
    assert result.exit_code == 0, result.stderr
    for told in (
        "asked from 2020-01-01T00:00:00+00:00, the candles replayed are ",
        "asked to 2030-01-01T00:00:00+00:00, the candles replayed are ",
        "2 of the decisions come after the last candle's close",
        "the first on line 2",
        f"funding for {BTC} is there from ",
        f"no funding for {ETH}",
    ):
        assert told in result.stderr
    assert "\n" not in replayed(tmp_path).stderr.removesuffix("\n").partition("never delivered")[2]


def test_nothing_of_a_file_steers_the_terminal(tmp_path: Path) -> None:
    replayed(tmp_path)
    candles = tmp_path / "candles.csv"
    candles.write_text(candles.read_text().replace(BTC, "\x1b[31mBTC\x1b]0;owned\x07\u202e"))
    result = replayed(tmp_path)
    assert result.exit_code == 2
    assert "\\x1b[31mBTC\\x1b]0;owned\\x07\\u202e" in result.stderr
    assert result.stderr.replace("\n", "").isprintable()
