"""The command line as a process: exit codes, streams, and readers that leave early."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config_files import SOUND, changed, write_config

pytestmark = pytest.mark.processes

MAIN = "import sys; from manager.cli.app import main; sys.argv[0] = 'propdesk'; main()"
ROOT = Path(__file__).resolve().parents[3]


def propdesk(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", MAIN, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": ""}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


def test_a_sound_config_is_ok_from_any_directory(tmp_path: Path) -> None:
    write_config(tmp_path)
    done = propdesk("config", "check", "config.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("config.yaml: ok; 1 tenant, 1 account, 2 traders\n")


def test_a_mistake_is_on_stderr_with_code_2_and_without_a_traceback(tmp_path: Path) -> None:
    write_config(tmp_path, changed("3m", "3 minutes"))
    done = propdesk("config", "check", "config.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("propdesk: config.yaml:11: traders[0].decision_interval is '3 minutes': ")
    assert len(done.stderr.splitlines()) == 1


def test_a_mistake_as_json_is_on_stdout(tmp_path: Path) -> None:
    write_config(tmp_path, changed("3m", "300"))
    done = propdesk("config", "check", "config.yaml", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "")
    assert '"field": "traders[0].decision_interval"' in done.stdout


@pytest.mark.parametrize("more", [0, 400], ids=["less", "more than stdout buffers"])
@pytest.mark.parametrize(
    "words", ["--help", "run --help", "config check config.yaml", "config check config.yaml --json"]
)
def test_a_full_disk_is_one_line_and_fails(tmp_path: Path, words: str, more: int) -> None:
    keys = "exchange: paper, executor: {type: baseline, style: trend}, symbols: [BTC/USDT:USDT], decision_interval: 3m"
    traders = (f"  - {{id: more_{number}, {keys}}}\n" for number in range(more))
    write_config(tmp_path, SOUND + "".join(traders))
    command = [sys.executable, "-c", MAIN, *words.split()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": ""}
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("propdesk: stdout cannot be written (No space left on device); "), done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help_names_every_command(tmp_path: Path) -> None:
    done = propdesk("--help", cwd=tmp_path)
    assert done.returncode == 0
    commands = ["run", "worker", "replay", "status", "operations", "why", "halt", "reduce", "resume", "traders"]
    for command in [*commands, "config", "db"]:
        assert f"│ {command} " in done.stdout


@pytest.mark.parametrize("form", ["", "--json"])
def test_a_reader_that_leaves_early_gets_no_complaint(tmp_path: Path, form: str) -> None:
    write_config(tmp_path)
    script = f'"{sys.executable}" -c "{MAIN}" config check config.yaml {form} | true; echo "${{PIPESTATUS[0]}}"'
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == "1\n"
