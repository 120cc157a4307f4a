"""Starts, stops, ended processes and changed settings are in the log of operations, on both stores."""

from datetime import timedelta
from pathlib import Path

from config_files import write_config
from exchanges.clock import ManualClock
from live_desk import LIVELY
from manager.config import load_config
from manager.roster.desk_log import DeskLog, settings_text
from manager.state.kinds import EventKind
from manager.state.records import DEFAULT_TENANT, EventRow
from manager.state.store import Store
from manager.views.operations import Operation, OperationKind, OperationQuery, read_operations
from state_rows import AT, make_account, make_row

_TENANTS = (DEFAULT_TENANT,)
_MODEL = "models: {m: {base_url: 'https://m.example/v1', model: x, api_key: '${KEY}'}}\n"


async def _read(store: Store, query: OperationQuery) -> list[Operation]:
    found: list[Operation] = []
    while True:
        page = await read_operations(store, DEFAULT_TENANT, query)
        found += page.operations
        if not page.next:
            return found
        query = OperationQuery(kinds=query.kinds, limit=query.limit, after=page.next)


async def test_the_life_of_a_desk_is_told(store: Store, tmp_path: Path) -> None:
    clock = ManualClock(AT)
    log = DeskLog(store, clock, actor="worker h:1")
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([make_account("paper"), make_row(EventRow, account_id="paper", at=AT)])
    for text in (LIVELY, LIVELY, LIVELY.replace("decision_timeout: 5s", "decision_timeout: 7s")):
        clock.set(clock.now() + timedelta(seconds=1))
        config = load_config(write_config(tmp_path, text), {})
        await log.started(config)
    clock.set(clock.now() + timedelta(seconds=1))
    await log.ended(_TENANTS, "web", -9, 0.5)
    clock.set(clock.now() + timedelta(seconds=1))
    await log.ended(_TENANTS, "worker", 1, 10)
    clock.set(clock.now() + timedelta(seconds=1))
    await log.stopped(_TENANTS, "told to stop")
    whole = await _read(store, OperationQuery(kinds=(OperationKind.EVENT,)))
    told = [(one.what, one.outcome, one.detail) for one in whole if not one.account_id]
    path = str(config.path.resolve())
    assert sorted(told[:3]) == [
        ("desk_stopped", "worker stopped", "worker h:1: told to stop"),
        ("process_ended", "web ended: SIGKILL", "worker h:1: started again in 0.5 s"),
        ("process_ended", "worker ended: code 1", "worker h:1: started again in 10 s"),
    ]
    changed = ("config_changed", "changed", f"manager.decision_timeout_s: 5 -> 7 (worker h:1: {path})")
    assert [one for one in told if one[0] == "config_changed"] == [
        changed,
        ("config_changed", "taken", f"worker h:1: {path}"),
    ]
    assert [one for one in told if one[0] == EventKind.DESK_STARTED] == [
        ("desk_started", "worker ready", f"worker h:1: {path}")
    ] * 3
    in_pages = await _read(store, OperationQuery(kinds=(OperationKind.EVENT,), limit=2))
    assert sorted(in_pages, key=lambda one: one.ref) == sorted(whole, key=lambda one: one.ref)
    assert len({one.ref for one in whole}) == len(whole) == 9


async def test_settings_show_no_key_and_every_change(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, _MODEL + LIVELY), {"KEY": "sk-1"})
    text = settings_text(config, config.tenants[DEFAULT_TENANT])
    assert "sk-1" not in text
    assert '"max_positions": 40' in text
    assert text == settings_text(config, config.tenants[DEFAULT_TENANT])
