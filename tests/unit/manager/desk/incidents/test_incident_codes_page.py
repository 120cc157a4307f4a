"""docs/incident-codes.md is what the registry says, and the registry has every code that is raised."""

import ast
from collections.abc import Iterator
from pathlib import Path

from manager.desk.incidents.codes import DESK_INCIDENTS, INCIDENTS, Severity
from manager.desk.incidents.safe_mode import SAFE_MODE
from manager.jobs.overload import OVERLOADED
from manager.spending.budget_incidents import EXHAUSTED, WARNING
from pages import incident_codes as incident_page

ROOT = Path(__file__).parents[5]


def told() -> Iterator[str]:
    """Yield the codes that the sources give to an incident."""
    for path in (ROOT / "manager").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                found = node.args[:1] if name in {"incident", "keep_incident"} else []
                yield from (str(code.value) for code in found if isinstance(code, ast.Constant))


def test_the_page_is_current() -> None:
    page = (ROOT / "docs" / "incident-codes.md").read_text(encoding="utf-8")
    assert page == incident_page.render(), "run: make docs"


def test_every_code_is_registered_and_every_registered_one_raised() -> None:
    assert set(told()) == set(DESK_INCIDENTS)
    assert set(INCIDENTS) - set(DESK_INCIDENTS) == {SAFE_MODE, WARNING, EXHAUSTED, OVERLOADED}
    assert all(f"| {code} |" in incident_page.render() for code in INCIDENTS)


def test_what_may_cost_money_unseen_is_high_and_dust_is_not() -> None:
    high = {code for code, row in INCIDENTS.items() if row.severity is Severity.HIGH}
    assert {"STOP_FAILED", "NAKED_POSITION", "EXTERNAL_OVERLAP", "ACCOUNT_LIQUIDATION", "VENUE_UNAVAILABLE"} <= high
    assert not high & {"DUST", "FUNDING_DIFFERENCE", "EXTERNAL_FILL", "LEVERAGE_REFUSED", WARNING}
