"""What every store promises the scheduler: fair, ordered claims that no two workers share."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from executor.prompts.sample import sample_context
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
from manager.state.store import Claim, Store
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


async def _claim(store: Store, now: datetime = AT, limit: int = 100) -> Sequence[Claim]:
    async with store.service() as service:
        return await service.claim_due(now, limit)


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


async def test_08_stale_claims_are_freed(store: Store) -> None:
    await _seed(store, *make_trader("t1"), *make_trader("t2"))
    await _claim(store, AT, limit=1)
    await _claim(store, AT + 10 * SECOND, limit=1)
    async with store.service() as service:
        assert await service.release_stale_claims(AT + 10 * SECOND) == 1
    freed = [name for name in ("t1", "t2") if (await _schedule(store, name)).in_flight_due_at is None]
    assert len(freed) == 1
    assert [claim.trader_id for claim in await _claim(store, AT + 120 * SECOND)] == freed


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


async def test_12_contexts_are_forgotten_with_the_prompts_that_were_made_of_them(store: Store) -> None:
    old, fresh = (
        make_row(DecisionRow, decision_id=name, account_id="acco", decided_at=at, context=sample_context())
        for name, at in (("old", AT), ("new", AT + SECOND))
    )
    await _seed(store, old, fresh)
    await _seed(store, old, tenant=OTHER)
    async with store.service() as service:
        assert await service.forget_prompts(AT + SECOND) == 0
    for tenant, kept in ((DEFAULT_TENANT, {"old": False, "new": True}), (OTHER, {"old": False})):
        async with store.transaction(tenant) as transaction:
            found = await transaction.find(DecisionRow, {})
        assert {row.decision_id: row.context is not None for row in found} == kept
        assert {row.prompt_hash for row in found} == {old.prompt_hash}


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
