"""Spend within a budget in a process of its own: `python spending_process.py DSN TENANT_USD CALLS AT_ONCE answer|hold`.

Every call may cost 1 USD and costs 0.25. Prints `held`, `cost USD` and `refused`, one line for each call; `hold` never
ends a call.
"""

import asyncio
import os
import sys
from datetime import UTC, datetime
from decimal import Decimal

from exchanges.clock import ManualClock
from executor.contract import Usage
from executor.errors import BudgetExhausted
from executor.models.metering import Charge
from manager.spending.meter import Spending
from manager.state.postgres.store import PostgresStore
from manager.state.records import DEFAULT_TENANT
from spending_scene import budget_config, quote, trader

AT = datetime(2025, 5, 1, 12, tzinfo=UTC)
COST = Decimal("0.25")


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


async def _main(dsn: str, tenant_usd: str, calls: str, at_once: str, mode: str) -> None:
    store = PostgresStore.open(dsn, pool_size=4)
    spending = Spending(store, ManualClock(AT), budget_config(Decimal(tenant_usd)))
    places = asyncio.Semaphore(int(at_once))

    async def call(number: int) -> None:
        meter = spending.meter(DEFAULT_TENANT, trader(f"t{number % 3}", None))
        async with places:
            try:
                hold = await meter.reserve(quote(1))
            except BudgetExhausted:
                _say("refused")
                return
            _say("held")
            if mode == "hold":
                await asyncio.Event().wait()
            await asyncio.sleep(0.002)
            await meter.settle(hold, Charge(calls=1, usage=Usage(input_tokens=1, cost_usd=COST)))
            _say(f"cost {COST}")

    await asyncio.gather(*(call(number) for number in range(int(calls))))
    await store.close()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
