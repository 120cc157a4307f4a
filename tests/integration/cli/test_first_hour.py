"""docs/first-hour.md is what a newcomer sees: every command of it is typed again, and its words are compared."""

from pathlib import Path

import pytest

from pages.first_hour import COMMAND, PAGE, first_hour, render, words_of


@pytest.mark.timeout(900)
def test_the_first_hour_is_as_the_page_tells(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    typed = first_hour(tmp_path)
    assert [one.command.split()[:2] for one in typed] == [one.split()[:2] for one in COMMAND.findall(page)]
    missing = words_of(page) - words_of(render(typed))
    assert not missing, f"`make first-hour` writes the page anew; not printed any more: {sorted(missing)}"
