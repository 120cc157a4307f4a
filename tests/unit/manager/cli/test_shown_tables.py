"""Tables where there is little room: ids stay whole, long texts have a line of their own."""

import io
import sys
from decimal import Decimal

import pytest

from manager.cli.render import fine_usd, short, show_entries, show_table

CODE = "ENTRY_PRICE_MOVED"
LONG = "9f86d081884c7d659a2feaa0c55ad015"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch, columns: list[str], row: list[str]) -> str:
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", "60")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        show_table("Things", columns, [row])
    return terminal.getvalue()


def test_on_a_terminal_words_are_whole_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_terminal(monkeypatch, ["a", "b", "c", "d", "code"], ["many words " * 9] * 4 + [f"{CODE} ETH/USDT:USDT"])
    assert CODE in shown
    assert "words" in shown


def test_on_a_terminal_a_long_address_takes_no_room_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    address = "http://127.0.0.1:38871/v1/chat/completions"
    assert CODE in on_terminal(monkeypatch, ["a", "b", "code"], [address, "many words " * 9, CODE])


def test_on_a_terminal_no_column_is_lost_where_words_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "seen" in on_terminal(monkeypatch, ["id"] * 9 + ["text"], [LONG] * 9 + ["seen"])


def test_entries_are_aligned_rows_each_with_a_line_under_it(capsys: pytest.CaptureFixture[str]) -> None:
    show_entries("Things", ["name", "n>"], [["a", "1", "the first"], ["bbbbb", "22", LONG]])
    assert capsys.readouterr().out == f"Things\nname    n\na       1\n    the first\nbbbbb  22\n    {LONG}\n"
    show_entries("Things", ["name", "n>"], [])
    assert capsys.readouterr().out == "Things: none\n"


def test_a_text_is_cut_to_its_room_and_put_on_one_line() -> None:
    assert [short("a\n b", 5), short("abcdef", 5), short("abcde", 5)] == ["a b", "ab...", "abcde"]


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
