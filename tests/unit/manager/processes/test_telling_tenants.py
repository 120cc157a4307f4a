"""A run names the tenant in each of its lines where there are several, and none where there is one."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from exchanges.clock import ManualClock
from manager.processes.telling import Teller
from manager.state.kinds import EventKind
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, EventRow, FillPartRow, TenantId
from state_rows import AT, make_row, parents_of

ACME = TenantId("acme")


class Heard:
    """Keep what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str, at: datetime | None = None) -> None:
        del at
        self.lines.append(text)


@pytest.mark.parametrize(
    ("tenants", "begins"),
    [((DEFAULT_TENANT, ACME), ("default: ", "acme: ")), ((ACME,), ("", "")), ((DEFAULT_TENANT,), ("", ""))],
)
async def test_a_line_says_whose_it_is(tenants: tuple[TenantId, ...], begins: tuple[str, str]) -> None:
    store, heard = MemoryStore(), Heard()
    for tenant in tenants:
        async with store.service() as service:
            await service.ensure_tenant(tenant)
        fill = make_row(FillPartRow, tenant_id=tenant, trader_id="tom", at=AT)
        started = replace(make_row(EventRow, tenant_id=tenant, event_id="e", at=AT), kind=EventKind.DESK_STARTED)
        async with store.transaction(tenant) as tx:
            await tx.insert([*parents_of(fill), fill, started])
    speaker: Any = heard
    teller = Teller(tenants, ManualClock(AT - timedelta(seconds=1)), speaker)
    await teller.look(store)
    told = dict(zip(tenants, begins, strict=False)) if len(tenants) > 1 else {tenants[0]: ""}
    for tenant, begin in told.items():
        assert any(line.startswith(f"{begin}tom buys") for line in heard.lines), (tenant, heard.lines)
        assert any(line.startswith(f"{begin}The desk trades") for line in heard.lines), (tenant, heard.lines)
    await teller.finish(store)
    assert heard.lines[-1].startswith("in total: " if len(tenants) > 1 else "acco: ")
