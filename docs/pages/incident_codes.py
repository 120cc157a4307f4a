"""Write docs/incident-codes.md from the registry."""

from pathlib import Path

from manager.desk.incidents.codes import INCIDENTS, IncidentCode, Severity
from pages.markdown import table

PAGE = Path(__file__).parents[1] / "incident-codes.md"
_INTRO = """\
# Incident codes

Written by `make docs`; change the rows of `manager/desk/incidents/codes.py`, not this page.
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
        table(("code", "severity", "means", "ends"), ((*_cells(row), row.ends) for row in lasting)),
        "## Events\n",
        _EVENTS,
        table(("code", "severity", "means"), (_cells(row) for row in events)),
    ]
    return "\n".join(parts)


def _cells(row: IncidentCode) -> tuple[str, str, str]:
    severity = f"**{row.severity}**" if row.severity is Severity.HIGH else row.severity.value
    return row.code, severity, row.doc
