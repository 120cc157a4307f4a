"""Tables and lines: never wider than the terminal, nothing cut, safe to print, plain where colour is not wanted."""

import io
import os
import pty
import subprocess
import sys
import unicodedata
from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.cli.layout import Layout, Styled, wrapped
from manager.cli.render import fine_usd, say, show_table
from manager.cli.terminal import UNKNOWN_WIDTH, width

LONG = "9f86d081884c7d659a2feaa0c55ad015"
CELLS = st.text(st.sampled_from("aZ09.,-%_:/#\\ \t\n\x1b\u4f60\U0001f469\u200d\u0301\u202e"), max_size=90)
NAMES = st.text(st.sampled_from("abcxyz"), min_size=1, max_size=12)
MARKS = st.sampled_from(["", ">", "?", ">?"])
SHOWN = """
import sys
from manager.cli.layout import Styled
from manager.cli.render import show_table
show_table("Things", ["name", "n>"], [[Styled("safe mode", "yellow"), "1"]])
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    names = draw(st.lists(NAMES, min_size=1, max_size=14, unique=True))
    rows = draw(st.lists(st.lists(CELLS, min_size=len(names), max_size=len(names)), min_size=1, max_size=4))
    return [name + draw(MARKS) for name in names], rows


def columns_taken(line: str) -> int:
    """Count columns as a terminal that joins nothing does, independent of the library that the layout asks."""
    return sum(
        0 if unicodedata.combining(one) or one == "\u200d" else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in line
    )


def bare(text: str) -> str:
    escaped = text.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    return "".join(escaped.split())


def read_back(lines: Sequence[str], cells: Sequence[str]) -> int:
    """Return where the last of the cells ends in the lines; each must stand after the one before it."""
    text, at = bare("".join(lines)), 0
    for cell in cells:
        found = text.find(bare(cell), at)
        assert found >= 0, (cell, lines)
        at = found + len(bare(cell))
    return at


@given(table=tables(), room=st.integers(60, 200))
def test_no_line_is_wider_than_the_room_and_every_cell_can_be_read_back(
    table: tuple[list[str], list[list[str]]], room: int
) -> None:
    columns, rows = table
    lines = Layout(columns, rows, room).lines()
    assert max(map(columns_taken, lines)) <= room
    names = [column.rstrip(">?") for column in columns]
    head = lines[0].split() if columns_taken(names[0]) <= room else []
    order = [at for at, name in enumerate(names) if name in head]
    order += [at for at, name in enumerate(names) if name not in head]
    read_back(lines[1:], [row[at] for row in rows for at in order])


@given(text=CELLS, room=st.integers(20, 200))
def test_a_line_is_broken_at_blanks_and_loses_nothing_else(text: str, room: int) -> None:
    lines = wrapped(text, room)
    assert max(map(columns_taken, lines)) <= room
    assert bare("".join(lines)) == bare(text)
    words = [word for line in lines for word in line.split()]
    assert all(word in words for word in text.split() if word.isascii() and word.isalnum() and len(word) < room // 2)


def test_where_all_fits_a_row_is_a_line() -> None:
    assert Layout(["name", "n>", "take profit>?"], [["a", "1", "-"], ["bbbbb", "22", "7"]], 80).lines() == [
        "name    n  take profit",
        "a       1            -",
        "bbbbb  22            7",
    ]


def test_what_does_not_fit_stands_below_its_row_with_its_name_minor_columns_first() -> None:
    columns, rows = ["name", "at?", "equity>", "state"], [["a" * 10, "12:00:00", "1,000.00", "running"]]
    assert Layout(columns, rows, 30).lines() == [
        "name          equity  state",
        "aaaaaaaaaa  1,000.00  running",
        "    at 12:00:00",
    ]
    assert Layout(columns, rows, 20).lines() == [
        "name          equity",
        "aaaaaaaaaa  1,000.00",
        "    at 12:00:00",
        "    state running",
    ]


def test_a_long_text_leaves_the_grid_before_numbers_do() -> None:
    lines = Layout(["id", "detail", "n>"], [["x", "many words " * 9, "12.5"]], 60).lines()
    assert lines[:2] == ["id     n", "x   12.5"]
    assert lines[2].startswith("    detail many words many")


def test_a_column_without_a_name_stands_below_in_any_width() -> None:
    assert Layout(["name", "n>", ""], [["a", "1", "the first"], ["b", "22", LONG]], 200).lines() == [
        "name   n",
        "a      1",
        "    the first",
        "b     22",
        f"    {LONG}",
    ]


def test_wide_characters_take_two_columns() -> None:
    assert Layout(["name", "n>"], [["\u4f60\u597d", "1"], ["abcde", "2"]], 80).lines()[1:] == [
        "\u4f60\u597d   1",
        "abcde  2",
    ]


def test_a_table_without_rows_says_none(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("Things", ["name", "n>"], [])
    assert capsys.readouterr().out == "Things: none\n"


@pytest.mark.parametrize(
    ("given_columns", "expected"), [("80", 80), ("0", UNKNOWN_WIDTH), ("wide", UNKNOWN_WIDTH), ("", UNKNOWN_WIDTH)]
)
def test_the_width_is_that_of_columns_where_it_is_set(
    monkeypatch: pytest.MonkeyPatch, given_columns: str, expected: int
) -> None:
    monkeypatch.setenv("COLUMNS", given_columns)
    for name in ("stdout", "stderr", "stdin"):
        monkeypatch.setattr(sys, name, io.StringIO())
    assert width() == expected


def on_terminal(columns: int, **environment: str) -> str:
    """Return what a child prints on a terminal of so many columns."""
    import fcntl
    import struct
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")}
    subprocess.run(
        [sys.executable, "-c", SHOWN], stdout=follower, env={**kept, "TERM": "xterm", **environment}, timeout=120
    )
    os.close(follower)
    with os.fdopen(leader, "rb") as shown:
        return shown.read1(100_000).decode()


@pytest.mark.processes
def test_colour_is_on_a_terminal_only_and_never_where_it_is_not_wanted() -> None:
    painted = on_terminal(80)
    assert "\x1b[33msafe mode\x1b[0m" in painted
    for unwanted in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        shown = on_terminal(80, **unwanted)
        assert "\x1b" not in shown
        assert "safe mode" in shown


def test_a_pipe_has_no_colour(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("Things", ["name"], [[Styled("safe mode", "yellow")]])
    say("wrong", "bold red")
    assert capsys.readouterr().out == "Things\nname\nsafe mode\nwrong\n"


def test_markup_is_shown_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        show_table("Things [red]", ["name"], [["[bold]b"]])
    assert terminal.getvalue() == "\x1b[1mThings [red]\x1b[0m\n\x1b[2mname\x1b[0m\n[bold]b\n"


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "-"),
        (Decimal(0), "0.0000"),
        (Decimal("0.000014"), "<0.0001"),
        (Decimal("0.0029"), "0.0029"),
        (Decimal(2000), "2,000.0000"),
    ],
)
def test_what_a_call_costs_never_looks_like_nothing(amount: Decimal | None, text: str) -> None:
    assert fine_usd(amount) == text
