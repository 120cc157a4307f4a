"""Many traders: nothing is computed within a transaction, and who comes between a check and its writing is seen."""

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from config_files import SOUND, changed, write_config
from desk_factory import AT, BTC, make_spec
from exchanges.clock import ManualClock
from manager.config import load_config
from manager.errors import RegistrationError
from manager.manager import Manager
from manager.processes.handover import handed_over, taken_over
from manager.roster.registration import Applicants, RegistrationCheck, registration_check
from manager.roster.schedules import spread
from manager.roster.writing import RosterAct, RosterWriter
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, TenantId, TraderRow
from traders.spec import ManagedBy, TraderSpec


class WatchedStore(MemoryStore):
    """Count the transactions that are open."""

    open = 0

    @asynccontextmanager
    async def transaction(self, tenant: TenantId, **more: Any) -> AsyncIterator[Any]:
        async with super().transaction(tenant, **more) as tx:
            self.open += 1
            try:
                yield tx
            finally:
                self.open -= 1


class WatchedCheck(RegistrationCheck):
    """Note whether a transaction is open whenever definitions are checked; let somebody in after each check."""

    def __init__(self, inner: RegistrationCheck, store: "SlippingStore") -> None:
        self._inner = inner
        self._store = store
        self.open: list[int] = []
        self.after: list[TraderSpec] = []

    def venue(self, tenant: TenantId, account: str) -> str:
        return self._inner.venue(tenant, account)

    def check_budget(self, tenant: TenantId, spec: TraderSpec) -> None:
        self._inner.check_budget(tenant, spec)

    def beside(self, tenant: TenantId, known: Iterable[TraderSpec]) -> Applicants:
        self.open.append(self._store.open)
        applicants = self._inner.beside(tenant, known)
        for spec in self.after:
            self._store.slip_in(spec)
        self.after = []
        return applicants


class SlippingStore(WatchedStore):
    """Take on a trader, as another process does, just before the next transaction."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[TraderSpec] = []

    def slip_in(self, spec: TraderSpec) -> None:
        """Take `spec` on before the next transaction."""
        self._waiting.append(spec)

    @asynccontextmanager
    async def transaction(self, tenant: TenantId, **more: Any) -> AsyncIterator[Any]:
        waiting, self._waiting = self._waiting, []
        for spec in waiting:
            act = RosterAct(tenant=tenant, now=AT, schedule=spread, actor="other")
            async with super().transaction(tenant) as tx:
                writer = RosterWriter(tx, act)
                await writer.ensure_account(spec.account, "paper")
                await writer.insert([act.newcomer(spec, 500, "meanwhile")])
        async with super().transaction(tenant, **more) as tx:
            yield tx


class Desk:
    """A manager whose store and check are watched."""

    def __init__(self, folder: Path) -> None:
        self.config = load_config(write_config(folder, SOUND), {})
        self.store = SlippingStore()
        self.check = WatchedCheck(registration_check(self.config), self.store)
        self.manager = Manager(self.store, ManualClock(AT), self.check)

    async def ids(self) -> set[str]:
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            return {row.trader_id for row in await tx.find(TraderRow, {})}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def _spec(trader_id: str) -> TraderSpec:
    return make_spec(trader_id, account="paper", symbols=(BTC,), managed_by=ManagedBy.API)


async def test_definitions_are_checked_with_no_transaction_open(desk: Desk) -> None:
    await desk.manager.sync(desk.config)
    await desk.manager.register(DEFAULT_TENANT, _spec("more"), actor="test")
    assert desk.check.open == [0, 0]


async def test_a_sync_sees_who_came_between_its_check_and_its_writing(desk: Desk) -> None:
    taken = desk.config.tenants[DEFAULT_TENANT].traders[0].id
    desk.check.after = [_spec(taken.upper())]
    with pytest.raises(RegistrationError, match="is taken by"):
        await desk.manager.sync(desk.config)
    assert await desk.ids() == {taken.upper()}


async def test_a_registration_sees_who_came_between_its_check_and_its_writing(desk: Desk) -> None:
    await desk.manager.sync(desk.config)
    before = await desk.ids()
    desk.check.after = [_spec("NEWEST")]
    with pytest.raises(RegistrationError, match="is taken by NEWEST"):
        await desk.manager.register(DEFAULT_TENANT, _spec("newest"), actor="test")
    assert await desk.ids() == {*before, "NEWEST"}


def test_a_child_reads_the_config_of_its_parent_as_often_as_it_starts_and_its_own_secrets(tmp_path: Path) -> None:
    text = changed("traders:\n", 'models: {m: {api_key: "${DESK_KEY}", model: gpt}}\ntraders:\n')
    config = load_config(write_config(tmp_path, text), {"DESK_KEY": "parents-secret"})
    descriptor = handed_over(config)
    try:
        assert b"parents-secret" not in os.pread(descriptor, 1 << 20, 0)
        (tmp_path / "config.yaml").write_text("broken: [", encoding="utf-8")
        for _ in range(2):
            taken = taken_over(descriptor, {"DESK_KEY": "own-secret"})
            assert taken.tenants == config.tenants
            assert dict(taken.secrets) == {"DESK_KEY": "own-secret"}
    finally:
        os.close(descriptor)
