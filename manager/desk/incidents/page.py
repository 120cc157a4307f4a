"""Write docs/incident-codes.md from the registry: `python -m manager.desk.incidents.page [FILE]`."""

import sys
from collections.abc import Iterable
from pathlib import Path

from manager.desk.incidents.codes import INCIDENTS, IncidentCode, Severity

PAGE = Path("docs/incident-codes.md")
_INTRO = """\
# Incident codes

Written by `python -m manager.desk.incidents.page`; change the rows of `manager/desk/incidents/codes.py`, not this page.
What incidents are, when they end and where they are shown is in [incidents](concepts/incidents.md). Severity: **high**
turns the light of `propdesk status` red, **medium** wants a look on the same day, **low** is good to know.
"""
_LASTING = "Open from the pass that meets them to the pass that finds them over; shown as open or resolved.\n"
_EVENTS = "They happen and are over; shown as happened. High ones keep the light red for an hour.\n"


def render() -> str:
    """Return the page as Markdown."""
    lasting = [row for row in INCIDENTS.values() if row.ends]
    events = [row for row in INCIDENTS.values() if not row.ends]
    parts = [
        _INTRO,
        "## Incidents that last\n",
        _LASTING,
        _table(("code", "severity", "means", "ends"), ((*_cells(row), row.ends) for row in lasting)),
        "## Events\n",
        _EVENTS,
        _table(("code", "severity", "means"), (_cells(row) for row in events)),
    ]
    return "\n".join(parts)


def main() -> None:
    """Write the page to the given file, docs/incident-codes.md by default."""
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(), encoding="utf-8")


def _cells(row: IncidentCode) -> tuple[str, str, str]:
    severity = f"**{row.severity}**" if row.severity is Severity.HIGH else row.severity.value
    return row.code, severity, row.doc


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    lines.insert(1, "|---" * len(head) + "|")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
