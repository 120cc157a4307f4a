"""What every store promises the scheduler: fair, ordered claims that no two workers share."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from executor.prompts.sample import sample_context
from manager.state.journal import EquityRow
from manager.state.keys import Row
from manager.state.records import (
    DEFAULT_TENANT,
    AccountId,
    DecisionRow,
    IncidentRow,
    IntentStatus,
    PromptRow,
    ScheduleRow,
    StateCode,
    TenantId,
    TraderRow,
    TraderState,
)
from manager.state.store import Backlog, Claim, GateRoom, Store
from state_rows import AT, make_account, make_intent, make_row, make_trader
from traders.performance import Performance
from traders.spec import TraderId

OTHER = TenantId("other")
SECOND = timedelta(seconds=1)
GOOD = Performance(returns=30, mean=0.01, m2=0.01)


async def _seed(store: Store, *rows: Row, tenant: TenantId = DEFAULT_TENANT) -> None:
    async with store.service() as service:
        await service.ensure_tenant(tenant)
    async with store.transaction(tenant) as transaction:
        account: Row = make_account(tenant_id=tenant)
        await transaction.insert([account, *(replace(row, tenant_id=tenant) for row in rows)])


async def _seed_more(store: Store, *rows: Row) -> None:
    async with store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.insert(rows)


async def _claim(store: Store, now: datetime = AT, limit: int = 100, room: Sequence[GateRoom] = ()) -> Sequence[Claim]:
    async with store.service() as service:
        return await service.claim_due(now, limit, room)


def _room(gate: str, free: int, *, shared: str = "", **values: Any) -> GateRoom:
    given = {"tenant_id": DEFAULT_TENANT, **values}
    return GateRoom(gate=gate, free=free, shared=shared or gate, **given)


async def _schedule(store: Store, trader_id: str) -> ScheduleRow:
    async with store.transaction(DEFAULT_TENANT) as transaction:
        found = await transaction.get(ScheduleRow, trader_id)
    assert found is not None
    return found


async def test_01_the_order_is_positions_then_sharpe_then_allocation_then_first_in(store: Store) -> None:
    made: list[tuple[str, dict[str, Any]]] = [
        ("late", {"seq": 9}),
        ("early", {"seq": 1}),
        ("rich", {"seq": 8, "allocated": Decimal(5)}),
        ("sharp", {"seq": 7, "performance": GOOD}),
        ("bad", {"seq": 0, "performance": replace(GOOD, mean=-0.01)}),
        ("holding", {"seq": 6, "open_positions": 1, "performance": replace(GOOD, mean=-0.02)}),
    ]
    await _seed(store, *(row for name, values in made for row in make_trader(name, **values)))
    expected = ["holding", "sharp", "rich", "early", "late", "bad"]
    assert [claim.trader_id for claim in await _claim(store)] == expected


async def test_02_a_claim_moves_the_schedule_and_is_given_once(store: Store) -> None:
    await _seed(store, *make_trader("t1", interval_s=60, phase_s=7))
    now = AT + 100 * SECOND
    due_at = AT + 67 * SECOND
    assert await _claim(store, now) == [
        Claim(tenant_id=DEFAULT_TENANT, account_id=AccountId("acco"), trader_id=TraderId("t1"), due_at=due_at)
    ]
    schedule = await _schedule(store, "t1")
    assert (schedule.in_flight_due_at, schedule.claimed_at, schedule.next_due_at) == (due_at, now, due_at + 60 * SECOND)
    assert await _claim(store, now + 300 * SECOND) == []


async def test_03_slots_are_exact_at_their_instant(store: Store) -> None:
    await _seed(store, *make_trader("t1", interval_s=60))
    assert [claim.due_at for claim in await _claim(store, AT)] == [AT]
    assert (await _schedule(store, "t1")).next_due_at == AT + 60 * SECOND


@pytest.mark.parametrize("state", [state for state in TraderState if state is not TraderState.RUNNING])
async def test_04_only_running_traders_are_claimed(store: Store, state: TraderState) -> None:
    trader, schedule, book = make_trader("t1")
    assert isinstance(trader, TraderRow)
    await _seed(store, replace(trader, state=state), schedule, book)
    assert await _claim(store) == []
    async with store.service() as service:
        assert await service.next_due() is None


@pytest.mark.parametrize(
    ("code", "held", "asked"),
    [
        (StateCode.SHARPE, 1, True),
        (StateCode.BANKRUPT, 2, True),
        (StateCode.OPERATOR, 0, False),
        (StateCode.FAILURES, 1, False),
    ],
)
async def test_04b_an_isolated_trader_is_claimed_while_it_holds_but_not_for_its_failures(
    store: Store, code: StateCode, held: int, asked: bool
) -> None:
    trader, schedule, book = make_trader("t1", open_positions=held)
    assert isinstance(trader, TraderRow)
    await _seed(store, replace(trader, state=TraderState.ISOLATED, state_code=code), schedule, book)
    async with store.service() as service:
        assert (await service.next_due() is not None) is asked
    assert [claim.trader_id for claim in await _claim(store)] == (["t1"] if asked else [])


async def test_05_not_before_its_time_and_not_without_a_time(store: Store) -> None:
    await _seed(store, *make_trader("soon", next_due_at=AT + SECOND), *make_trader("never", next_due_at=None))
    assert await _claim(store) == []
    async with store.service() as service:
        assert await service.next_due() == AT + SECOND


async def test_06_tenants_take_turns(store: Store) -> None:
    names = [f"t{n}" for n in range(4)]
    await _seed(store, *(row for n in names for row in make_trader(n, seq=int(n[1]), open_positions=1)))
    await _seed(store, *(row for n in names[:2] for row in make_trader(n, seq=int(n[1]))), tenant=OTHER)
    claims = [(claim.tenant_id, claim.trader_id) for claim in await _claim(store, limit=4)]
    assert claims == [("default", "t0"), ("other", "t0"), ("default", "t1"), ("other", "t1")]


async def test_07_two_workers_never_get_the_same_claim(store: Store) -> None:
    await _seed(store, *(row for n in range(20) for row in make_trader(f"t{n}")))
    gate = asyncio.Event()

    async def work() -> Sequence[Claim]:
        await gate.wait()
        return await _claim(store, limit=8)

    workers = [asyncio.create_task(work()) for _ in range(3)]
    gate.set()
    claimed = [claim.trader_id for worker in workers for claim in await worker]
    assert len(claimed) == len(set(claimed)) == 20


async def test_08_stale_claims_are_told_and_freed_for_their_own_slot_only(store: Store) -> None:
    await _seed(store, *make_trader("t1"), *make_trader("t2"))
    [first] = await _claim(store, AT, limit=1)
    [second] = await _claim(store, AT + 10 * SECOND, limit=1)
    async with store.service() as service:
        assert await service.stale_claims(AT + 10 * SECOND) == [first]
        assert await service.release([first, replace(second, due_at=second.due_at - SECOND)]) == 1
        assert await service.release([first]) == 0
    assert (await _schedule(store, first.trader_id)).in_flight_due_at is None
    assert (await _schedule(store, second.trader_id)).in_flight_due_at == second.due_at
    assert [claim.trader_id for claim in await _claim(store, AT + 120 * SECOND)] == [first.trader_id]


async def test_09_accounts_with_pending_intents_are_found_across_tenants(store: Store) -> None:
    await _seed(store, make_intent("i1"), make_intent("i2"), make_account("quiet"))
    await _seed(store, make_intent("i1", status=IntentStatus.DONE), tenant=OTHER)
    async with store.service() as service:
        assert await service.tenants() == ["default", "other"]
        keys = [(key.tenant_id, key.account_id) for key in await service.accounts()]
        assert keys == [("default", "acco"), ("default", "quiet"), ("other", "acco")]
        waiting = [(key.tenant_id, key.account_id) for key in await service.accounts_with_intents()]
    assert waiting == [("default", "acco")]


async def test_10_a_service_transaction_is_rolled_back_whole(store: Store) -> None:
    await _seed(store, *make_trader("t1"))
    with pytest.raises(RuntimeError):  # noqa: PT012 - the block ends the transaction
        async with store.service() as service:
            await service.ensure_tenant(OTHER)
            assert len(await service.claim_due(AT, 1)) == 1
            raise RuntimeError
    async with store.service() as service:
        assert await service.tenants() == ["default"]
    assert (await _schedule(store, "t1")).in_flight_due_at is None


async def test_11_only_prompts_older_than_their_retention_are_forgotten(store: Store) -> None:
    old, fresh = (
        make_row(PromptRow, decision_id=name, account_id="acco", at=at)
        for name, at in (("old", AT), ("new", AT + SECOND))
    )
    await _seed(store, old, fresh)
    await _seed(store, old, tenant=OTHER)
    async with store.service() as service:
        assert await service.forget_prompts(AT) == 0
        assert await service.forget_prompts(AT + SECOND) == 2
    async with store.transaction(DEFAULT_TENANT) as transaction:
        assert list(await transaction.find(PromptRow, {})) == [fresh]


async def test_12_contexts_outlive_the_prompts_that_were_made_of_them(store: Store) -> None:
    old = make_row(DecisionRow, decision_id="old", account_id="acco", decided_at=AT, context=sample_context())
    await _seed(store, old)
    await _seed(store, old, tenant=OTHER)
    async with store.service() as service:
        assert await service.forget_prompts(AT + SECOND) == 0
        assert await service.forget_contexts(AT + SECOND, 1) == 1
        assert await service.forget_contexts(AT + SECOND, 9) == 1
    for tenant in (DEFAULT_TENANT, OTHER):
        async with store.transaction(tenant) as transaction:
            [found] = await transaction.find(DecisionRow, {})
        assert found.context is None
        assert found.prompt_hash == old.prompt_hash


async def test_13_incidents_that_ended_long_ago_are_forgotten_and_open_ones_never(store: Store) -> None:
    ended = {"old": AT, "new": AT + SECOND, "open": None}
    rows = [
        make_row(IncidentRow, incident_id=name, account_id="acco", at=AT - SECOND, resolved_at=at)
        for name, at in ended.items()
    ]
    await _seed(store, *rows)
    await _seed(store, *rows, tenant=OTHER)
    async with store.service() as service:
        assert await service.forget_incidents(AT) == 0
        assert await service.forget_incidents(AT + SECOND) == 2
    for tenant in (DEFAULT_TENANT, OTHER):
        async with store.transaction(tenant) as transaction:
            assert {row.incident_id for row in await transaction.find(IncidentRow, {})} == {"new", "open"}


async def test_20_lateness_comes_before_rank_in_whole_intervals_and_after_positions(store: Store) -> None:
    made: list[tuple[str, dict[str, Any]]] = [
        ("sharp", {"performance": GOOD, "next_due_at": AT + 59 * SECOND}),
        ("late", {"next_due_at": AT}),
        ("slow", {"next_due_at": AT, "interval_s": 120, "seq": 0}),
        ("holding", {"open_positions": 1, "next_due_at": AT + 60 * SECOND}),
    ]
    rows = [row for name, values in made for row in make_trader(name, **{"interval_s": 60, "seq": 5, **values})]
    await _seed(store, *rows)
    claims = await _claim(store, AT + 60 * SECOND)
    assert [claim.trader_id for claim in claims] == ["holding", "late", "sharp", "slow"]


async def test_21_a_gate_is_given_no_more_than_it_has_room_for(store: Store) -> None:
    await _seed(store, *(row for n in range(6) for row in make_trader(f"slow{n}", gate="model", seq=n)))
    await _seed_more(store, *(row for n in range(3) for row in make_trader(f"quick{n}", seq=10 + n)))
    claims = await _claim(store, limit=5, room=[_room("model", 2)])
    assert [claim.trader_id for claim in claims] == ["slow0", "slow1", "quick0", "quick1", "quick2"]
    assert {claim.gate for claim in claims} == {"model", ""}
    assert await _claim(store, room=[_room("model", 0)]) == []
    assert [claim.trader_id for claim in await _claim(store)] == ["slow2", "slow3", "slow4", "slow5"]


async def test_22_names_of_one_endpoint_share_its_room_also_between_tenants(store: Store) -> None:
    await _seed(store, *make_trader("a", gate="m1", seq=0), *make_trader("b", gate="m2", seq=1))
    await _seed(store, *make_trader("c", gate="m1"), tenant=OTHER)
    room = [
        _room("m1", 2, shared="e"),
        _room("m2", 2, shared="e"),
        _room("m1", 2, shared="e", tenant_id=OTHER),
    ]
    claims = [(claim.tenant_id, claim.trader_id) for claim in await _claim(store, room=room)]
    assert claims == [("default", "a"), ("other", "c")]


@pytest.mark.parametrize(("passed_s", "slot_s"), [(0, 0), (49, 0), (50, 60), (59, 60)])
async def test_23_a_slot_that_is_over_before_the_decision_can_end_gives_way_to_the_next(
    store: Store, passed_s: int, slot_s: int
) -> None:
    await _seed(store, *make_trader("t1", interval_s=60, gate="model"))
    claims = await _claim(store, AT + passed_s * SECOND, room=[_room("model", 1, takes_s=10)])
    assert [claim.due_at for claim in claims] == [AT + slot_s * SECOND]
    assert (await _schedule(store, "t1")).next_due_at == AT + (slot_s + 60) * SECOND


async def test_24_the_backlog_counts_who_waits_and_who_decided(store: Store) -> None:
    made: list[tuple[str, dict[str, Any]]] = [
        ("late", {"next_due_at": AT - 130 * SECOND}),
        ("due", {"next_due_at": AT - SECOND}),
        ("early", {"next_due_at": AT + SECOND, "last_decision_at": AT - 30 * SECOND}),
        ("deciding", {"next_due_at": AT - 600 * SECOND, "in_flight_due_at": AT - 660 * SECOND, "claimed_at": AT}),
    ]
    await _seed(store, *(row for name, values in made for row in make_trader(name, **{"interval_s": 60, **values})))
    async with store.service() as service:
        [backlog] = await service.backlogs(AT, AT - 60 * SECOND)
    assert backlog == Backlog(tenant_id=DEFAULT_TENANT, due=2, lag_s=130.0, intervals=2, made=1)


async def test_25_samples_of_equity_are_thinned_to_the_last_of_an_hour_and_forgotten_some_at_a_time(
    store: Store,
) -> None:
    minutes = [0, 10, 59, 60, 61, 180]
    rows = [
        make_row(EquityRow, account_id="acco", trader_id=name, at=AT + timedelta(minutes=m))
        for name in ("t1", "")
        for m in minutes
    ]
    await _seed(store, *rows)

    async def left() -> list[int]:
        async with store.transaction(DEFAULT_TENANT) as transaction:
            found = await transaction.find(EquityRow, {"trader_id": "t1"})
        return sorted(int((row.at - AT).total_seconds() // 60) for row in found)

    async with store.service() as service:
        assert await service.thin_equity(AT, AT + timedelta(hours=2), 2) == 2
        assert await service.thin_equity(AT, AT + timedelta(hours=2), 100) == 4
        assert await service.thin_equity(AT, AT + timedelta(hours=2), 100) == 0
    assert await left() == [59, 61, 180]
    async with store.service() as service:
        assert await service.forget_equity(AT + timedelta(minutes=61), 100) == 2
    assert await left() == [61, 180]


async def test_26_contexts_are_forgotten_some_at_a_time(store: Store) -> None:
    context = sample_context(("BTC/USDT:USDT",))
    made = [
        make_row(DecisionRow, decision_id=f"d{n}", due_at=AT + n * SECOND, decided_at=AT + n * SECOND, context=context)
        for n in range(4)
    ]
    await _seed(store, *made)
    async with store.service() as service:
        assert await service.forget_contexts(AT + 3 * SECOND, 2) == 2
        assert await service.forget_contexts(AT + 3 * SECOND, 2) == 1
    async with store.transaction(DEFAULT_TENANT) as transaction:
        kept = [row.decision_id for row in await transaction.find(DecisionRow, {}) if row.context is not None]
    assert kept == ["d3"]
