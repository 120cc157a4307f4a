"""`propdesk init`: what it writes is commented, whole, without a secret, and passes the check without a warning."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from manager.cli import initializing
from manager.cli.app import app

GIVEN = {
    "nothing": [],
    "ids and symbols": ["--traders", "trend_btc,bear", "--symbols", "sol, BTC/USDT:USDT", "--capital", "2500.5"],
    "ids that YAML reads as values": ["--traders", "yes,no,null,1e3,0x1,2026-01-01,True,y"],
    "one style": ["--style", "breakout", "--traders", "1", "--interval", "5s"],
    "many": ["--traders", "60", "--fee-bps", "10", "--maker-fee-bps", "-1", "--slippage-bps", "0"],
    "a model": ["--model", "gpt-5-mini", "--interval", "20s"],
    "a model nearby": ["--model", 'my "own"', "--base-url", "http://127.0.0.1:11434/v1"],
    "another endpoint": ["--model", "m", "--base-url", "https://llm.example.com/v1", "--key-env", "MY_KEY"],
}
WRONG = {
    "--traders 0": "expected 1 to 1000",
    "--traders 99999": "expected 1 to 1000",
    "--traders a,a": "names 'a' more than once",
    "--traders a/b": "expected 1 to 64 letters",
    "--capital -5": "write an amount above 0 and up to 1000000000000 USD",
    "--capital 0": "'--capital': '0' is out of bounds",
    "--capital 1e400": "'--capital': '1e400' is out of bounds",
    "--fee-bps -1": "write basis points from 0 to 10000",
    "--capital nan": "no finite number",
    "--interval 5": "write 5s if these are seconds",
    "--symbols BTC,DOG": "paper does not quote DOG; its market has BTC, ETH, SOL",
    "--symbols ,": "names none; its market has BTC",
    "--model m --key-env sk-123": "never the key itself",
    "--model m --style trend": "give one kind",
    "--key-env NAME": "need --model NAME",
    "--model m --base-url ftp://x": "models.main.base_url is 'ftp://x'",
}


def _init(*words: str, **variables: str) -> Result:
    return CliRunner(env={"DATABASE_URL": "", **variables}).invoke(app, ["init", *words])


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_what_it_writes_passes_the_check_without_a_warning(tmp_path: Path, given: list[str]) -> None:
    written = _init(*given, "--json")
    assert written.exit_code == 0, written.stderr
    said = json.loads(written.stdout)
    assert (said["ok"], said["file"], said["replaced"], said["warnings"]) == (True, "config.yaml", False, [])
    variables = dict.fromkeys(said["environment"], "sk-hidden")
    checked = CliRunner(env=variables).invoke(app, ["config", "check", "config.yaml", "--strict"])
    assert checked.exit_code == 0, checked.output
    assert os.listdir(tmp_path) == ["config.yaml"]
    lines = (tmp_path / "config.yaml").read_text().splitlines()
    assert "sk-hidden" not in "".join(lines)
    assert sum("# " in line for line in lines) > 10


@pytest.mark.parametrize(("given", "words"), WRONG.items())
def test_what_no_config_can_hold_writes_nothing(tmp_path: Path, given: str, words: str) -> None:
    refused = _init(*given.split())
    assert refused.exit_code == 2
    assert words in " ".join(refused.stderr.replace("│", " ").split())
    assert os.listdir(tmp_path) == []


def test_it_overwrites_only_by_force_and_never_writes_half_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("mine")
    refused = _init()
    assert (refused.exit_code, path.read_text()) == (2, "mine")
    assert "config.yaml is there already; name another file, or pass --force" in refused.stderr

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fail)
        failed = _init("--force")
    assert failed.exit_code == 2
    assert "cannot be written (No space left on device)" in failed.stderr
    assert (path.read_text(), os.listdir(tmp_path)) == ("mine", ["config.yaml"])
    assert json.loads(_init("--force", "--json").stdout)["replaced"] is True
    assert path.read_text() != "mine"


@pytest.mark.parametrize(
    ("file", "words"), [("c.toml", "name it *.yaml"), ("no/c.yaml", "make it first"), ("d.yaml", "is a directory")]
)
def test_a_place_that_holds_no_config_is_refused(tmp_path: Path, file: str, words: str) -> None:
    (tmp_path / "d.yaml").mkdir()
    refused = _init(file)
    assert refused.exit_code == 2
    assert words in refused.stderr


def test_a_key_is_named_and_kept_out_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    hint = "add the line .env to .gitignore"
    first = _init("a.yaml", "--model", "m")
    assert "First: export OPENAI_API_KEY=..." in first.stdout
    assert hint in first.stdout
    (tmp_path / ".gitignore").write_text("*.log\n.env\n")
    assert hint not in _init("b.yaml", "--model", "m").stdout
    assert "OPENAI_API_KEY" not in _init("c.yaml").stdout


def test_on_a_terminal_without_options_it_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initializing.InitOptions, "asks", True)
    answers = "5000\n2\nmodel\nllama3\nhttp://127.0.0.1:11434/v1\nLLM_KEY\n2\nbtc\n1m\n"
    asked = CliRunner().invoke(app, ["init"], input=answers)
    assert asked.exit_code == 0, asked.output
    text = (tmp_path / "config.yaml").read_text()
    for words in ("total_equity_usd: 5000", "fee_bps: 2", '"llama3"', "${LLM_KEY}", "id: model_2", "interval: 1m"):
        assert words in text


def test_a_wrong_answer_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initializing.InitOptions, "asks", True)
    wrong_then_right = {
        "ten": "is no number",
        "0": "write an amount above 0",
        "5000": "",
        "-2": "from 0 to 10000",
        "2": "",
        "neither": "answer rules or model",
        "MODEL": "",
        "llama3": "",
        "ftp://x": "ftp://x",
        "http://127.0.0.1:11434/v1": "",
        "sk-123": "never the key itself",
        "LLM_KEY": "",
        "a/b": "expected 1 to 64 letters",
        "a,a": "more than once",
        "1": "",
        "btc,doge2": "does not quote DOGE2; its market has BTC, ETH",
        "btc": "",
        "soon": "--interval is 'soon'",
        "1m": "",
    }
    asked = CliRunner().invoke(app, ["init"], input="".join(f"{answer}\n" for answer in wrong_then_right))
    assert asked.exit_code == 0, asked.output
    for told in wrong_then_right.values():
        assert told in asked.output
    text = (tmp_path / "config.yaml").read_text()
    for words in ("total_equity_usd: 5000", "fee_bps: 2", '"llama3"', "${LLM_KEY}", "id: model_1", "interval: 1m"):
        assert words in text
