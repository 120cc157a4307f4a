"""What is sent while files change: never half a file, never another one of the same name, never another version."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from executor.errors import PromptError
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context

HEADER = "---\nversion: {}\ndescription: test\n---\n{{% block user %}}u{{% endblock %}}"
SYSTEM = '{{% block system %}}{} {{% include "_rules.md" %}}{{% endblock %}}'


@dataclass
class Folders:
    """A user's folder and the shipped one, with one library over both."""

    own: Path
    shipped: Path
    prompts: PromptLibrary

    def system(self) -> tuple[str, int]:
        """Return what is sent, and as which version."""
        prompt = self.prompts.render("general.md", sample_context())
        return prompt.system, prompt.version


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    own.mkdir()
    shipped.mkdir()
    template(shipped, 2, "SHIPPED")
    part(shipped, "shipped rules")
    return Folders(own, shipped, PromptLibrary(own, shipped))


def template(folder: Path, version: int, mandate: str) -> None:
    (folder / "general.md").write_text(HEADER.format(version) + SYSTEM.format(mandate), encoding="utf-8")


def part(folder: Path, text: str) -> None:
    (folder / "_rules.md").write_text(f"{text}\n{{# end #}}\n", encoding="utf-8")


def test_an_own_template_added_beside_a_running_desk_is_sent_whole(folders: Folders) -> None:
    assert folders.system() == ("SHIPPED shipped rules", 2)
    template(folders.own, 99, "MINE")
    assert folders.system() == ("MINE shipped rules", 99)
    part(folders.own, "my rules")
    assert folders.system() == ("MINE my rules", 99)


def test_a_change_that_is_taken_is_a_line_in_the_log(folders: Folders) -> None:
    template(folders.own, 98, "MINE")
    part(folders.own, "my rules")
    with capture_logs() as told:
        folders.system()
        template(folders.own, 99, "MINE TOO")
        for _ in range(2):
            assert folders.system() == ("MINE TOO my rules", 99)
    assert [(one["event"], one["log_level"], one["version"]) for one in told] == [("prompt_change_taken", "info", 99)]


def test_an_own_file_that_is_gone_for_a_moment_is_not_replaced_by_the_shipped_one(folders: Folders) -> None:
    template(folders.own, 99, "MINE")
    part(folders.own, "my rules")
    assert folders.system() == ("MINE my rules", 99)
    for name in ("general.md", "_rules.md"):
        os.rename(folders.own / name, folders.own / "aside")
        with capture_logs() as told:
            assert folders.system() == ("MINE my rules", 99)
            assert folders.system() == ("MINE my rules", 99)
        assert [(one["event"], one["template"]) for one in told] == [("prompt_change_not_taken", "general.md")]
        with pytest.raises(PromptError, match=r"is gone|in none of the prompt folders"):
            folders.prompts.check("general.md")
        os.rename(folders.own / "aside", folders.own / name)
        assert folders.system() == ("MINE my rules", 99)
    folders.prompts.check("general.md")


@pytest.mark.parametrize("name", ["general.md", "_rules.md"])
def test_no_part_of_a_file_that_is_being_written_is_ever_sent(folders: Folders, name: str) -> None:
    template(folders.own, 3, "OLD {{ limits.max_positions }}")
    part(folders.own, "old rules {{ limits.max_positions }}")
    before = folders.system()
    new = (folders.own / name).read_text(encoding="utf-8").replace("OLD", "NEW").replace("old", "new")
    for length in range(len(new.rstrip())):
        (folders.own / name).write_text(new[:length], encoding="utf-8")
        assert folders.system() == before
    (folders.own / name).write_text(new, encoding="utf-8")
    assert folders.system() == (
        before[0].replace("OLD" if name == "general.md" else "old", "NEW" if name == "general.md" else "new"),
        3,
    )


@pytest.mark.parametrize(
    ("text", "told", "line"),
    [
        ("", "an included part ends with the line {# end #}", 1),
        ("one\ntwo {{ nothing }}\n{# end #}\n", "'nothing' is undefined", 2),
        ("{% if %}\n{# end #}\n", "Expected an expression", 1),
        ("{% include '_gone.md' %}\n{# end #}\n", "_gone.md", None),
        ("x" * 70_000, "longer than", None),
    ],
)
def test_a_change_that_fails_is_told_with_file_and_line_and_what_was_good_goes_on(
    folders: Folders, text: str, told: str, line: int | None
) -> None:
    before = folders.system()
    (folders.own / "_rules.md").write_text(text, encoding="utf-8")
    with capture_logs() as logged:
        assert folders.system() == before
    assert told in logged[0]["reason"]
    with pytest.raises(PromptError) as caught:
        folders.prompts.check("general.md")
    assert caught.value.line == line
    part(folders.own, "mended")
    assert folders.system() == ("SHIPPED mended", 2)


def test_a_template_that_was_never_good_is_an_error(folders: Folders) -> None:
    (folders.own / "_rules.md").write_text("half", encoding="utf-8")
    with pytest.raises(PromptError, match=r"_rules\.md, line 1: is not complete"):
        folders.system()


def test_header_and_text_are_of_one_read(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folders.system()[1] == 2
    template(folders.own, 7, "SEVEN")
    read = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *how, **more: _written_after(read(path, *how, **more), path, folders)
    )
    first = folders.system()
    monkeypatch.undo()
    assert first == ("SEVEN shipped rules", 7)
    assert folders.system() == ("EIGHT shipped rules", 8)


def test_a_file_that_vanishes_at_any_moment_raises_nothing_else(tmp_path: Path) -> None:
    path, stop = tmp_path / "own.md", threading.Event()
    path.write_text(HEADER.format(1) + "{% block system %}s{% endblock %}", encoding="utf-8")
    prompts, told = PromptLibrary(tmp_path), []

    def flip() -> None:
        while not stop.is_set():
            os.rename(path, tmp_path / "aside")
            os.rename(tmp_path / "aside", path)

    thread = threading.Thread(target=flip)
    prompts.render("own.md", sample_context())
    thread.start()
    try:
        with capture_logs() as told:
            shown = {prompts.render("own.md", sample_context()).system for _ in range(300)}
    finally:
        stop.set()
        thread.join()
    assert shown == {"s"}
    assert {one["event"] for one in told} <= {"prompt_change_not_taken", "prompt_change_taken"}


def _written_after(file: object, path: Path, folders: Folders) -> object:
    """Another version is written while the file is open: a rename, as editors do."""
    if path == folders.own / "general.md":
        aside = folders.own / "new"
        if aside.exists():
            return file
        aside.mkdir()
        template(aside, 8, "EIGHT")
        os.replace(aside / "general.md", path)
    return file
