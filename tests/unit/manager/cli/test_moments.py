"""What --since and --until take: so long ago, a day by its name, or an instant."""

from datetime import UTC, datetime, timedelta

import pytest
import typer

from exchanges.clock import ManualClock
from manager.cli import options
from manager.cli.options import parse_moment

NOW = datetime(2026, 3, 1, 0, 30, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("1h", datetime(2026, 2, 28, 23, 30, 15, tzinfo=UTC)),
        ("3D", NOW - timedelta(days=3)),
        (" 2w", NOW - timedelta(days=14)),
        ("today", datetime(2026, 3, 1, tzinfo=UTC)),
        ("Yesterday", datetime(2026, 2, 28, tzinfo=UTC)),
        ("2026-02-28", datetime(2026, 2, 28, tzinfo=UTC)),
        ("2026-02-28T01:00:00+02:00", datetime(2026, 2, 27, 23, tzinfo=UTC)),
    ],
)
def test_a_moment_is_the_instant_that_it_says(given: str, expected: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "SystemClock", lambda: ManualClock(NOW))
    assert parse_moment(given) == expected


@pytest.mark.parametrize("given", ["", "h", "1.5h", "-1h", "1y", "tomorrow", "999999w", "0001-01-01T00:00:00+02:00"])
def test_anything_else_is_refused_with_what_is_taken(given: str) -> None:
    with pytest.raises(typer.BadParameter, match="write 15m, 2h or 3d for so long ago"):
        parse_moment(given)
