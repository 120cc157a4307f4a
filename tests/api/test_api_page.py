"""docs/api.md is what a desk answers: its routes are those of the schema, every call of it is made again."""

import json
import re
import shutil
from pathlib import Path

import pytest

from pages.api import COMMAND, PAGE, TOUR, bare_app, render, tour

_NAME = re.compile(r'"(\w+)":')
_DIFFERS = re.compile(r"[0-9a-f]{24}|f-[0-9a-f]{12}")


def test_the_page_names_every_route() -> None:
    known = render([], bare_app())
    page = PAGE.read_text(encoding="utf-8")
    assert page.startswith(known), "`make api-tour` writes the page anew"
    assert {f"`{path}`" for path in bare_app().openapi()["paths"]} <= set(re.findall("`/[^ ]*`", known))


@pytest.mark.processes
@pytest.mark.database
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl, the only client of the page")
def test_a_desk_run_with_curl_alone_answers_as_the_page_tells(tmp_path: Path) -> None:
    told = PAGE.read_text(encoding="utf-8").partition(TOUR)[2]
    called = tour(tmp_path)
    commands = [_DIFFERS.sub("x", one) for one in COMMAND.findall(told)]
    assert [_DIFFERS.sub("x", one.command) for one in called] == commands
    # What traders hold at the moment of a call differs, so a field that is in the schema alone will do.
    known = set(_NAME.findall(json.dumps([one.answer for one in called]) + json.dumps(bare_app().openapi())))
    assert set(_NAME.findall(told)) <= known | set(_NAME.findall(" ".join(commands)))
    problems = [one.answer["status"] for one in called if "detail" in one.answer]
    assert problems == [401, 422, 412]
