"""What a newcomer meets first: one line that says what runs, and an address that answers."""

import os
import socket
import sys
from pathlib import Path

import httpx
import pytest

from api_desk import SECRETS
from config_files import SOUND, write_config
from exchanges.clock import SystemClock
from manager.api.app import create_app
from manager.api.desk import Desk
from manager.bootstrap.live import _listen, _welcome
from manager.cli.options import DATA_DEFAULT
from manager.config import load_config


def test_the_line_names_the_command_that_was_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "propdesk"
    program.parent.mkdir()
    program.touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(program), "run"])
    config = load_config(write_config(tmp_path), {})
    assert _welcome(config, DATA_DEFAULT) == (
        "2 traders trade on paper; in a second shell: bin/propdesk status; Ctrl-C ends"
    )


def test_another_data_directory_is_part_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["-c"])
    alone = SOUND[: SOUND.index("  - id: two")]
    config = load_config(write_config(tmp_path, alone), {})
    assert _welcome(config, Path("my desk")) == (
        "1 trader trades on paper; in a second shell: propdesk status --data-dir 'my desk'; Ctrl-C ends"
    )


def test_answers_are_sent_at_once() -> None:
    with _listen(0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
        inherited = os.dup(listener.fileno())
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=inherited) as child:
            assert child.getsockname() == listener.getsockname()


async def test_the_bare_address_leads_to_the_health(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path), {})
    transport = httpx.ASGITransport(app=create_app(Desk(config=config, clock=SystemClock(), secrets=SECRETS)))
    async with httpx.AsyncClient(transport=transport, base_url="http://desk", follow_redirects=True) as client:
        answer = await client.get("/")
    assert str(answer.url) == "http://desk/healthz"
    assert (answer.status_code, answer.json()["status"]) == (503, "starting")
