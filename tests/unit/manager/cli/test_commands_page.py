"""docs/commands.md says what the command line and the web process offer."""

from pages.api import bare_app, routes
from pages.commands import PAGE, commands, render


def test_the_page_is_the_one_that_the_code_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run: make docs"


def test_every_command_and_route_has_an_entry() -> None:
    page = render()
    names = [path for path, _ in commands()]
    assert {"propdesk run", "propdesk traders list", "propdesk config check"} <= set(names)
    assert [name for name in names if f"### `{name}" not in page] == []
    assert [path for _, path, _, text in routes(bare_app().routes) if not text] == []


def test_every_command_says_what_it_does_and_every_option_what_it_means() -> None:
    silent = [path for path, command in commands() if not command.help]
    silent += [f"{path} {one.opts[0]}" for path, command in commands() for one in command.params if not one.help]
    assert silent == []
