"""How results and progress are printed."""

import io
import json
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

import pytest

from exchanges.clock import ManualClock
from manager.cli.printable import printable
from manager.cli.progress import Meter
from manager.cli.render import price, print_json, show_table, usd
from manager.views.pages import jsonable

START = datetime(2025, 1, 1, tzinfo=UTC)


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Thing:
    amount: Decimal
    colour: Colour = Colour.RED
    key: str = field(default="sk-secret", repr=False)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_keeps_decimals_exact_and_leaves_out_what_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"thing": Thing(amount=Decimal("1E-9")), "at": START, "all": (Decimal("10000.00"), None, 1.5)})
    assert json.loads(capsys.readouterr().out) == {
        "thing": {"amount": "0.000000001", "colour": "red"},
        "at": "2025-01-01T00:00:00+00:00",
        "all": ["10000.00", None, 1.5],
    }


def test_an_enum_is_its_value_as_a_key_too() -> None:
    assert jsonable({Colour.RED: [Colour.RED]}) == {"red": ["red"]}


def test_a_table_in_a_pipe_is_aligned_and_has_a_row_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("Things", ["name", "amount>"], [["a" * 99, "1.00"], ["[bold]b", "10.00"]])
    title, head, first, second = capsys.readouterr().out.splitlines()
    assert title == "Things"
    assert head.split() == ["name", "amount"]
    assert first.endswith("a    1.00")
    assert second.startswith("[bold]b ")
    assert second.endswith(" 10.00")


def test_a_table_on_a_terminal_shows_markup_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    show_table("Things", ["name", "amount>"], [["[bold]b", "10.00"]])
    assert "[bold]b" in terminal.getvalue()


def test_a_table_without_rows_says_none(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("Things", ["name"], [])
    assert capsys.readouterr().out == "Things: none\n"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (usd(Decimal("1234567.891")), "1,234,567.89"),
        (usd(None), "-"),
        (price(Decimal("0.000012345678")), "0.00001234568"),
        (price(Decimal("100000.123456")), "100000.1"),
        (price(Decimal("1E+6")), "1000000"),
    ],
)
def test_numbers_are_plain(shown: str, expected: str) -> None:
    assert shown == expected


def test_a_quick_command_shows_no_progress() -> None:
    clock, stream = ManualClock(START), io.StringIO()
    meter = Meter("replay", clock, stream)
    clock.set(START + timedelta(seconds=1.9))
    meter(0.5)
    assert stream.getvalue() == ""


def test_a_long_command_shows_a_line_now_and_then_in_a_pipe() -> None:
    clock, stream = ManualClock(START), io.StringIO()
    meter = Meter("replay", clock, stream)
    for second in range(0, 24, 2):
        clock.set(START + timedelta(seconds=second))
        meter(second / 24)
    assert stream.getvalue() == "replay: 8% after 2 s\nreplay: 50% after 12 s\nreplay: 92% after 22 s\n"


def test_a_line_says_what_is_done() -> None:
    clock, stream = ManualClock(START), io.StringIO()
    meter = Meter("replay", clock, stream)
    clock.set(START + timedelta(seconds=30))
    meter(0.5, "14 decisions")
    assert stream.getvalue() == "replay: 50% after 30 s, 14 decisions\n"


def test_a_long_command_draws_a_bar_on_a_terminal_and_takes_it_away() -> None:
    clock, stream = ManualClock(START), Terminal()
    meter = Meter("opening", clock, stream)
    clock.set(START + timedelta(seconds=3))
    meter(None)
    meter.stop()
    assert "opening" in stream.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("BTC\x1b[31m", "BTC\\x1b[31m"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x00\x9b\r", "\\x00\\x9b\\r"),
        ("abc\u202edef\u2028", "abc\\u202edef\\u2028"),
        ("Zo\xeb \U0001f469\u200d\U0001f4bb \u4f60", "Zo\xeb \U0001f469\u200d\U0001f4bb \u4f60"),
    ],
)
def test_what_would_steer_a_terminal_is_written_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_cells_do_not_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("Things", ["name"], [["x\x1b]0;owned\x07"]])
    assert "\x1b" not in capsys.readouterr().out
