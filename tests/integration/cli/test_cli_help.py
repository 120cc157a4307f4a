"""What --help says of options and commands that are easily mistaken."""

import re

from typer.testing import CliRunner

from manager.cli.app import app


def help_of(*command: str) -> str:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    return re.sub(r"[\s│]+", " ", result.stdout)


def test_the_window_of_a_replay_says_its_format_and_that_a_date_is_its_first_instant() -> None:
    text = help_of("replay")
    for end in ("before, for indicators too", "after"):
        assert f"Leave out what comes {end}; 2025-05-04T12:00:00Z, or 2025-05-04 for 00:00 UTC of that day." in text


def test_halt_reduce_and_resume_tell_each_other_apart() -> None:
    halt, reduce, resume = help_of("halt"), help_of("reduce"), help_of("resume")
    assert "move no capital" in halt
    assert "being wound down" in reduce
    assert "limited as by `propdesk halt`" in reduce
    assert "a paused trader needs `propdesk traders resume`" in resume
