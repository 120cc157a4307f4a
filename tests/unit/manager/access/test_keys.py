"""API keys: what opens, what does not, what is told of it, and that no secret is kept or shown."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchanges.clock import ManualClock
from manager.access.keys import Caller, Issued, Keys, NewKey, key_id_of
from manager.access.refused import WhyRefused
from manager.access.roles import may
from manager.errors import KeyRefused, UnknownKey, UnknownTenant
from manager.state.access import ApiKeyRow, KeyId
from manager.state.errors import OtherServiceKey
from manager.state.kinds import EventKind, Role
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, EventRow, TenantId
from manager.state.secrets import ServiceKey
from manager.state.store import Store
from state_rows import AT

KEY, OTHER_KEY = ServiceKey(value=bytes(range(32))), ServiceKey(value=bytes(32))
OTHER = TenantId("other")
BOT = NewKey(name="bot", role=Role.OPERATOR)
HERE = "192.0.2.7"


class Door:
    """Keys on a store whose tenants are `default` and `other`, with a clock to move."""

    def __init__(self, store: Store) -> None:
        self.store, self.clock = store, ManualClock(AT)
        self.keys = Keys(store, KEY, self.clock)

    def after(self, seconds: float) -> None:
        self.clock.set(self.clock.now() + timedelta(seconds=seconds))

    async def rows(self, kind: type[Any], tenant: TenantId = DEFAULT_TENANT) -> list[Any]:
        async with self.store.transaction(tenant) as tx:
            return list(await tx.find(kind, {}, limit=None))

    async def event(self, kind: EventKind) -> EventRow:
        [found] = [row for row in await self.rows(EventRow) if row.kind == kind]
        assert isinstance(found, EventRow)
        return found

    async def issued(self, tenant: TenantId = DEFAULT_TENANT, **wanted: Any) -> Issued:
        return await self.keys.issue(tenant, replace(BOT, **wanted), actor="ann", reason="for the bot")


@pytest.fixture
async def door(store: Store) -> Door:
    async with store.service() as service:
        await service.ensure_tenant(OTHER)
    return Door(store)


async def test_a_key_opens_as_whose_it_is_and_is_told_once(door: Door) -> None:
    made = await door.issued(OTHER)
    assert re.fullmatch(r"pd_[a-z2-7]{12}_[A-Za-z0-9_-]{43}", made.text)
    assert await door.keys.check(made.text, HERE) == Caller(
        tenant=OTHER, key_id=made.row.key_id, role=Role.OPERATOR, name="bot"
    )
    [event] = await door.rows(EventRow, OTHER)
    assert (event.kind, event.actor, event.reason) == (EventKind.KEY_ISSUED, "ann", "for the bot")
    assert event.after == f"key {made.row.key_id} bot (operator)"
    assert await door.rows(EventRow) == []
    secret = made.text[16:]
    kept = [*await door.rows(ApiKeyRow, OTHER), event]
    assert secret not in " ".join(str(asdict(row)) for row in kept) + repr(made)
    assert kept[0].hash not in repr(kept[0])


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda text: "", WhyRefused.NO_KEY),
        (lambda text: text[:-1], WhyRefused.MALFORMED),
        (lambda text: f"{text}\n", WhyRefused.MALFORMED),
        (lambda text: text.upper(), WhyRefused.MALFORMED),
        (lambda text: f"pd_{'a' * 12}{text[15:]}", WhyRefused.UNKNOWN_KEY),
        (lambda text: text[:16] + "A" * 43, WhyRefused.WRONG_KEY),
    ],
)
async def test_what_is_no_key_opens_nothing_and_is_told_without_it(
    door: Door, spoil: Callable[[str], str], why: WhyRefused
) -> None:
    made = await door.issued()
    given_text = spoil(made.text)
    assert await door.keys.check(given_text, HERE) is None
    event = await door.event(EventKind.ACCESS_REFUSED)
    assert (event.kind, event.actor, event.after) == (EventKind.ACCESS_REFUSED, f"address:{HERE}", why)
    assert len(given_text) < 20 or given_text[16:] not in str(asdict(event))


async def test_a_key_ends_when_it_expires(door: Door) -> None:
    made = await door.issued(expires_at=AT + timedelta(hours=1))
    door.after(3599)
    assert await door.keys.check(made.text) is not None
    door.after(1)
    assert await door.keys.check(made.text, HERE) is None
    assert (await door.event(EventKind.ACCESS_REFUSED)).after == WhyRefused.EXPIRED


async def test_a_revoked_key_opens_nothing_from_then_on(door: Door) -> None:
    made, other = await door.issued(), await door.issued()
    door.after(1)
    row = await door.keys.revoke(DEFAULT_TENANT, made.row.key_id, actor="bob", reason="lost")
    assert (row.revoked_by, row.revoked_at) == ("bob", door.clock.now())
    assert await door.keys.check(made.text) is None
    assert await door.keys.check(other.text) is not None
    kinds = [(event.kind, event.actor) for event in await door.rows(EventRow)]
    assert kinds.count((EventKind.KEY_REVOKED, "bob")) == 1
    with pytest.raises(KeyRefused, match="is revoked already"):
        await door.keys.revoke(DEFAULT_TENANT, made.row.key_id, actor="bob")
    with pytest.raises(UnknownKey):
        await door.keys.revoke(OTHER, other.row.key_id, actor="bob")


async def test_a_rotated_key_has_a_successor_of_its_kind_and_ends_after_the_overlap(door: Door) -> None:
    old = await door.issued(role=Role.ADMIN, expires_at=AT + timedelta(days=90))
    door.after(86_400)
    new = await door.keys.rotate(DEFAULT_TENANT, old.row.key_id, actor="bob", reason="yearly", overlap_s=60)
    assert (new.row.name, new.row.role) == ("bot", Role.ADMIN)
    assert new.row.expires_at == door.clock.now() + timedelta(days=90)
    assert new.row.key_id != old.row.key_id
    for seconds, opens in ((0, True), (59, True), (1, False)):
        door.after(seconds)
        assert (await door.keys.check(old.text) is not None) is opens
        assert await door.keys.check(new.text) is not None
    [event] = [event for event in await door.rows(EventRow) if event.kind == EventKind.KEY_ROTATED]
    assert str(old.row.key_id) in event.before
    assert str(new.row.key_id) in event.after
    with pytest.raises(KeyRefused, match="is revoked already"):
        await door.keys.rotate(DEFAULT_TENANT, old.row.key_id, actor="bob")


async def test_a_rotation_without_overlap_ends_the_old_key_at_once(door: Door) -> None:
    old = await door.issued()
    await door.keys.rotate(DEFAULT_TENANT, old.row.key_id, actor="bob")
    assert await door.keys.check(old.text) is None


async def test_an_overlap_never_prolongs_a_key(door: Door) -> None:
    old = await door.issued()
    await door.keys.rotate(DEFAULT_TENANT, old.row.key_id, actor="bob", overlap_s=60)
    await door.keys.rotate(DEFAULT_TENANT, old.row.key_id, actor="bob", overlap_s=600)
    door.after(60)
    assert await door.keys.check(old.text) is None


async def test_use_is_noted_once_a_minute_at_most(door: Door) -> None:
    made = await door.issued()

    async def noted() -> Any:
        await door.keys.check(made.text)
        return (await door.rows(ApiKeyRow))[0].last_used_at

    assert await noted() == AT
    door.after(59)
    assert await noted() == AT
    door.after(1)
    assert await noted() == AT + timedelta(seconds=60)


async def test_a_row_that_was_changed_or_moved_opens_nothing(memory_store: MemoryStore) -> None:
    async with memory_store.service() as service:
        await service.ensure_tenant(OTHER)
    door = Door(memory_store)
    made = await door.issued(role=Role.VIEWER)
    rows = memory_store._tenants[DEFAULT_TENANT].tables[ApiKeyRow].rows
    rows[made.row.key_id] = replace(made.row, role=Role.SERVICE_ADMIN)
    assert await door.keys.check(made.text) is None
    del rows[made.row.key_id]
    theirs = memory_store._tenants[OTHER].tables[ApiKeyRow].rows
    theirs[made.row.key_id] = replace(made.row, tenant_id=OTHER)
    assert await door.keys.check(made.text) is None
    rows[made.row.key_id] = made.row
    assert await door.keys.check(made.text) is not None, "a forged twin of the id locks nobody out"


async def test_under_another_service_key_nothing_opens_and_nothing_is_issued(door: Door) -> None:
    made = await door.issued()
    there = Keys(door.store, OTHER_KEY, door.clock)
    assert await there.check(made.text, HERE) is None
    assert (await door.event(EventKind.ACCESS_REFUSED)).after == WhyRefused.OTHER_SERVICE_KEY
    for act in (
        there.issue(DEFAULT_TENANT, BOT, actor="ann"),
        there.rotate(DEFAULT_TENANT, made.row.key_id, actor="ann"),
        there.first(BOT, actor="ann", reason=""),
    ):
        with pytest.raises(OtherServiceKey, match=KEY.mark):
            await act


@pytest.mark.parametrize(
    ("tenant", "wanted", "error", "told"),
    [
        (DEFAULT_TENANT, replace(BOT, name=" "), KeyRefused, "name ' ' is none"),
        (DEFAULT_TENANT, replace(BOT, name="a\x1b[31m"), KeyRefused, "printable"),
        (DEFAULT_TENANT, replace(BOT, name="a" * 101), KeyRefused, "1 to 100"),
        (DEFAULT_TENANT, replace(BOT, expires_at=AT), KeyRefused, "expires_at 2025-01-01 12:00:00 UTC is past"),
        (OTHER, replace(BOT, role=Role.SERVICE_ADMIN), KeyRefused, "give the role admin"),
        (TenantId("nobody"), BOT, UnknownTenant, "no tenant 'nobody'"),
    ],
)
async def test_a_key_that_cannot_be_is_refused_and_nothing_is_told(
    door: Door, tenant: TenantId, wanted: NewKey, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=re.escape(told)):
        await door.keys.issue(tenant, wanted, actor="ann")
    assert await door.rows(EventRow) == await door.rows(ApiKeyRow) == []


async def test_the_first_key_is_made_once_however_many_ask(door: Door) -> None:
    wanted = NewKey(name="first admin", role=Role.SERVICE_ADMIN)
    others = [Keys(door.store, KEY, door.clock) for _ in range(3)]
    made = await asyncio.gather(*(keys.first(wanted, actor="run", reason="first start") for keys in others))
    [only] = [one for one in made if one is not None]
    assert (await door.keys.check(only.text)) is not None
    await door.keys.revoke(DEFAULT_TENANT, only.row.key_id, actor="ann")
    assert await door.keys.first(wanted, actor="run", reason="again") is None
    assert len(await door.rows(ApiKeyRow)) == 1


async def test_keys_are_listed_of_their_tenant_only(door: Door) -> None:
    mine = [await door.issued(), await door.issued(name="second")]
    theirs = await door.issued(OTHER)
    assert {key.key_id for key in (await door.keys.list(DEFAULT_TENANT)).keys} == {one.row.key_id for one in mine}
    assert [key.key_id for key in (await door.keys.list(OTHER)).keys] == [theirs.row.key_id]


async def test_a_log_in_is_an_event_of_its_own(door: Door) -> None:
    made = await door.issued()
    caller = await door.keys.check(made.text)
    assert caller is not None
    await door.keys.logged_in(caller, HERE)
    event = await door.event(EventKind.LOGGED_IN)
    assert (event.kind, event.reason, event.after) == (EventKind.LOGGED_IN, f"from {HERE}", "operator")
    assert event.actor == f"key:{made.row.key_id} bot"


async def test_who_is_refused_before_there_is_a_tenant_is_told_all_the_same() -> None:
    door = Door(MemoryStore())
    assert await door.keys.check("", HERE) is None
    assert [event.after for event in await door.rows(EventRow)] == [WhyRefused.NO_KEY]


@given(st.text(max_size=80))
@settings(suppress_health_check=list(HealthCheck), max_examples=50)
def test_a_text_that_names_no_key_is_not_shown(text: str) -> None:
    with pytest.raises(UnknownKey) as caught:
        key_id_of(f"{text}!")
    assert len(text) < 20 or text not in str(caught.value)


async def test_an_id_may_be_given_alone_with_its_sign_or_as_a_whole_key(door: Door) -> None:
    made = await door.issued()
    assert {key_id_of(text) for text in (made.row.key_id, f"pd_{made.row.key_id}", f" {made.text}\n")} == {
        KeyId(made.row.key_id)
    }


@pytest.mark.parametrize("role", Role)
def test_a_role_may_do_what_those_below_it_may(role: Role) -> None:
    order = [Role.VIEWER, Role.OPERATOR, Role.ADMIN, Role.SERVICE_ADMIN]
    assert [may(role, needed) for needed in order] == [order.index(needed) <= order.index(role) for needed in order]
