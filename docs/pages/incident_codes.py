"""Write docs/incident-codes.md from the registry."""

from pathlib import Path

from manager.desk.incidents.codes import INCIDENTS, IncidentCode, Severity
from pages.markdown import table

PAGE = Path(__file__).parents[1] / "incident-codes.md"
_INTRO = """\
# Incident codes

Written by `make docs`; change the rows of `manager/desk/incidents/codes.py`, not this page.
What incidents are, when they end and where they are shown is in [incidents](concepts/incidents.md). Severity: **high**
wants a look at once, **medium** on the same day, **low** is good to know. The light that one gives its account in
`propdesk status`: **red** where it endangers money or stops the desk, yellow where only decisions fail.
"""
_LASTING = "Open from the pass that meets them to the pass that finds them over; shown as open or resolved.\n"
_EVENTS = "They happen and are over; shown as happened. Their light stays for an hour.\n"


def render() -> str:
    """Return the page as Markdown."""
    lasting = [row for row in INCIDENTS.values() if row.ends]
    events = [row for row in INCIDENTS.values() if not row.ends]
    parts = [
        _INTRO,
        "## Incidents that last\n",
        _LASTING,
        table(("code", "severity", "light", "means", "ends"), ((*_cells(row), row.ends) for row in lasting)),
        "## Events\n",
        _EVENTS,
        table(("code", "severity", "light", "means"), (_cells(row) for row in events)),
    ]
    return "\n".join(parts)


def _cells(row: IncidentCode) -> tuple[str, str, str, str]:
    if row.severity is not Severity.HIGH:
        return row.code, row.severity.value, "", row.doc
    light = f"**red**: {row.threat}" if row.threat.red else f"yellow: {row.threat}"
    return row.code, f"**{row.severity}**", light, row.doc
