"""`propdesk config check`: what was understood, and warnings of what is surely wrong, for people and for programs."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from config_files import SOUND, changed, write_config
from manager.cli.app import app

TENANTS = """\
tenants:
  acme:
    exchanges: {paper: {type: paper, market: {type: synthetic}}}
    traders:
      - {id: one, exchange: paper, executor: {type: baseline, style: hold}, symbols: ["BTC/USDT:USDT"], \
decision_interval: 1m, allocation_pct: 25, auto_start: false}
"""


def _check(path: Path, *more: str) -> Result:
    return CliRunner(env={"DATABASE_URL": "", "COLUMNS": "80"}).invoke(app, ["config", "check", str(path), *more])


def test_it_shows_traders_with_capital_limits_executor_and_schedule(tmp_path: Path) -> None:
    result = _check(write_config(tmp_path, SOUND + TENANTS))
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[1:3] == [
        "account  type   start USD  to deal USD  dealt  taker  maker  slippage bps",
        "paper    paper  10,000.00     9,000.00  fixed    4.5    1.5             1",
    ]
    assert "one     paper       5,400.00  3m             baseline trend" in lines
    assert "two     paper       3,600.00  30s            baseline breakout" in lines
    assert "    BTC/USDT:USDT; waits for `propdesk traders start`" in lines
    assert any("min_confidence 80, stop_loss_enabled true" in line for line in lines)
    assert "Tenant acme (takes manager, data and monitoring from the top of the file)" in lines
    assert " ".join(result.stdout.split()).endswith("ok; 2 tenants, 2 accounts, 3 traders")
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 80


def test_the_json_carries_everything(tmp_path: Path) -> None:
    said = json.loads(_check(write_config(tmp_path, SOUND + TENANTS), "--json").stdout)
    assert (said["ok"], said["tenants"], said["accounts"], said["traders"], said["warnings"]) == (True, 2, 2, 3, [])
    default, acme = said["understood"]
    assert [(one["id"], one["capital_usd"]) for one in default["traders"]] == [
        ("one", "5400.00000000"),
        ("two", "3600.00000000"),
    ]
    assert default["traders"][0]["limits"]["min_confidence"] == "80"
    assert default["traders"][0]["executor"]["name"] == "trend"
    assert (acme["inherited"], acme["traders"][0]["capital_usd"]) == (["manager", "data", "monitoring"], None)


def test_warnings_are_counted_and_fail_only_if_they_are_to(tmp_path: Path) -> None:
    path = write_config(tmp_path, changed("fee_bps: 4.5", "fee_bps: 450"))
    words = "line 5: exchanges.paper.fee_bps is 450: that is 4.5 % of each fill; 1 basis point is 0.01 %; write 4.5?"
    plain, strict = _check(path), _check(path, "--strict")
    assert (plain.exit_code, strict.exit_code) == (0, 1)
    told = " ".join(plain.stdout.split())
    assert f"warning: {words}" in told
    assert told.endswith("2 traders; 1 warning")
    said = _check(path, "--strict", "--json")
    assert said.exit_code == 1
    assert json.loads(said.stdout)["ok"] is False
    [warning] = json.loads(said.stdout)["warnings"]
    assert (warning["code"], warning["field"], warning["line"]) == ("FEE_TOO_HIGH", "exchanges.paper.fee_bps", 5)


@pytest.mark.parametrize("dealt", ["custom", "fixed"])
def test_custom_wants_the_share_of_every_trader_by_name(tmp_path: Path, dealt: str) -> None:
    text = SOUND.replace("    allocation_pct: 60\n", "").replace("    allocation_pct: 40\n", "")
    result = _check(write_config(tmp_path, text.replace("fixed", dealt)))
    assert result.exit_code == (2 if dealt == "custom" else 0)
    if dealt == "custom":
        [line] = result.stderr.splitlines()
        assert "traders[0].allocation_pct is missing: allocation_strategy is custom, which deals capital by it" in line
        assert "(traders one, two); add `allocation_pct: 10`, or 0 for no capital" in line


def test_run_and_replay_say_in_one_line_that_there_are_warnings(tmp_path: Path) -> None:
    path = write_config(tmp_path, changed("fee_bps: 4.5", "fee_bps: 450"))
    candles = tmp_path / "candles.csv"
    rows = [f"{coin}/USDT:USDT,{1746360000000 + i * 60_000},1,1,1,1,1\n" for i in range(3) for coin in ("BTC", "ETH")]
    candles.write_text("symbol,ts_ms,open,high,low,close,volume\n" + "".join(rows))
    told = f"propdesk: {path}: 1 warning; see `propdesk config check {path}`"
    replayed = CliRunner().invoke(app, ["replay", "-c", str(path), "--candles", str(candles)])
    assert (replayed.exit_code, told in replayed.stderr.splitlines()) == (0, True)
    ran = CliRunner(env={"DATABASE_URL": "mysql://h/d"}).invoke(app, ["run", "-c", str(path)])
    assert (ran.exit_code, told in ran.stderr.splitlines()) == (2, True)
