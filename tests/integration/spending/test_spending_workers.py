"""Workers that share a budget through PostgreSQL: never over it, and exact when one of them is killed."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from database_fixtures import Database
from exchanges.clock import ManualClock
from executor.errors import BudgetExhausted
from executor.models.metering import Charge
from manager.spending.budget_incidents import EXHAUSTED
from manager.spending.meter import Spending
from manager.state.postgres.store import PostgresStore
from manager.state.records import DEFAULT_TENANT, IncidentRow
from manager.state.spending import HoldRow, SpendingRow, day_of
from spending_process import AT, COST
from spending_scene import budget_config, costs, quote, trader

pytestmark = [pytest.mark.database, pytest.mark.processes]

ZERO = Decimal(0)
_ROOT = Path(__file__).parents[3]
_SCRIPT = _ROOT / "tests" / "support" / "spending_process.py"


@contextmanager
def worker(database: Database, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """Run one spending process; kill it at the end if it still runs."""
    path = os.pathsep.join([str(_ROOT), str(_SCRIPT.parent)])
    command = [sys.executable, str(_SCRIPT), database.dsn, *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def sums(store: PostgresStore) -> dict[str, SpendingRow]:
    async with store.transaction(DEFAULT_TENANT) as tx:
        found = await tx.find(SpendingRow, {"day": day_of(AT)})
    return {f"{row.scope} {row.name}".strip(): row for row in found}


def spending(store: PostgresStore, usd: int, after: timedelta = timedelta(0)) -> Spending:
    return Spending(store, ManualClock(AT + after), budget_config(Decimal(usd)))


async def test_two_processes_spend_the_budget_and_no_more(postgres_store: PostgresStore, database: Database) -> None:
    with worker(database, 20, 200, 6, "answer") as one, worker(database, 20, 200, 6, "answer") as two:
        told = Counter(
            line.strip() for text in (one.communicate()[0], two.communicate()[0]) for line in text.split("\n")
        )
    assert (one.returncode, two.returncode) == (0, 0)
    made = told[f"cost {COST}"]
    assert told["held"] == made
    assert made + told["refused"] == 400
    tenant = (await sums(postgres_store))["tenant"]
    assert (tenant.spent_usd, tenant.calls) == (made * COST, made)
    assert (tenant.reserved_usd, tenant.unknown_usd) == (ZERO, ZERO)
    assert Decimal(20) - 12 <= tenant.spent_usd <= 20
    traders = [row for name, row in (await sums(postgres_store)).items() if name.startswith("trader")]
    assert sum(row.spent_usd for row in traders) == tenant.spent_usd
    async with postgres_store.transaction(DEFAULT_TENANT) as tx:
        assert await tx.find(HoldRow, {}) == ()
        assert EXHAUSTED in [row.code for row in await tx.find(IncidentRow, {})]


async def test_what_is_known_survives_a_kill_to_the_cent(postgres_store: PostgresStore, database: Database) -> None:
    before = spending(postgres_store, 20).meter(DEFAULT_TENANT, trader("t0", None))
    await before.settle(await before.reserve(quote(1)), costs(Decimal("0.3")))
    with worker(database, 20, 5, 5, "hold") as killed:
        assert killed.stdout is not None
        assert [killed.stdout.readline().strip() for _ in range(5)] == ["held"] * 5
        killed.kill()
    tenant = (await sums(postgres_store))["tenant"]
    assert (tenant.spent_usd, tenant.reserved_usd, tenant.unknown_usd) == (Decimal("0.3"), Decimal(5), ZERO)
    later = spending(postgres_store, 20, timedelta(minutes=5)).meter(DEFAULT_TENANT, trader("t0", None))
    with pytest.raises(BudgetExhausted, match="5 of unknown cost"):
        await later.reserve(quote(15))
    held = await later.reserve(quote(14))
    await later.settle(held, Charge())
    tenant = (await sums(postgres_store))["tenant"]
    assert (tenant.spent_usd, tenant.reserved_usd, tenant.unknown_usd) == (Decimal("0.3"), ZERO, Decimal(5))
