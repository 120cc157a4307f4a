"""The service key and what it seals: where it comes from, what does not open, and that nothing of it is shown."""

import base64
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.clock import ManualClock
from manager.errors import SecretKeyRefused
from manager.state.access import TenantKeyRow
from manager.state.errors import OtherServiceKey, SecretDamaged
from manager.state.kinds import EventKind, SecretKind
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, EventRow, TenantId
from manager.state.secrets import FILE, Purpose, SecretPlace, ServiceKey, Vault, claim_mark, service_key
from source_files import ROOT
from state_rows import AT

ONE, TWO = ServiceKey(value=bytes(range(32))), ServiceKey(value=bytes(range(1, 33)))
OTHER = TenantId("other")
API_SECRET = SecretPlace(tenant_id=DEFAULT_TENANT, kind=SecretKind.ACCOUNT, owner="paper", name="api_secret")


@pytest.fixture
async def store(memory_store: MemoryStore) -> MemoryStore:
    async with memory_store.service() as service:
        await service.ensure_tenant(OTHER)
    return memory_store


def vault(store: MemoryStore, key: ServiceKey = ONE) -> Vault:
    return Vault(store, key, ManualClock(AT))


@pytest.mark.parametrize(
    "form",
    [
        bytes.hex,
        lambda key: f" {key.hex().upper()}\n",
        lambda key: base64.urlsafe_b64encode(key).decode(),
        lambda key: base64.urlsafe_b64encode(key).decode().rstrip("="),
    ],
)
def test_a_key_is_hexadecimal_or_base64url(form: Callable[[bytes], str], tmp_path: Path) -> None:
    assert service_key(form(bytes(range(200, 232))), tmp_path).value == bytes(range(200, 232))
    assert list(tmp_path.iterdir()) == []


@given(st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=90))
def test_anything_else_is_refused_and_not_shown(text: str) -> None:
    if len(text) in (43, 44, 64):
        text = f"{text}!"
    with pytest.raises(SecretKeyRefused) as caught:
        service_key(text, Path("data"))
    told = str(caught.value)
    assert told.startswith(f"PROPDESK_SECRET_KEY is no key ({len(text.strip())} characters); expected 32 random bytes")
    assert "data/secret.key is made" in told
    assert len(text) < 6 or text not in told


def test_the_file_is_made_once_and_read_after(tmp_path: Path) -> None:
    place = tmp_path / "new" / "data"
    made = service_key("", place)
    assert made == service_key("  ", place) != service_key("", tmp_path)
    assert [path.name for path in place.iterdir()] == [FILE]
    assert stat.S_IMODE((place / FILE).stat().st_mode) == 0o600
    assert made.value not in (ONE.value, bytes(32))


def test_processes_that_make_it_at_once_get_the_same(tmp_path: Path) -> None:
    program = "import sys; from manager.state.secrets import *; print(service_key('', Path(sys.argv[1])).mark)"
    command = [sys.executable, "-c", program, str(tmp_path / "data")]
    given = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = [subprocess.Popen(command, env=given, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    marks = {process.communicate(timeout=120)[0] for process in started}
    assert marks == {f"{service_key('', tmp_path / 'data').mark}\n"}
    assert [path.name for path in (tmp_path / "data").iterdir()] == [FILE]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda path: path.chmod(0o640), "may be read or written by others (mode 0640); run `chmod 600"),
        (lambda path: path.write_text("short"), "holds no key (5 characters); expected 32 random bytes"),
        (lambda path: path.write_text(""), "holds no key (0 characters)"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be used (Is a directory)"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_the_mend(
    tmp_path: Path, spoil: Callable[[Path], object], told: str
) -> None:
    key = service_key("", tmp_path)
    spoil(tmp_path / FILE)
    with pytest.raises(SecretKeyRefused) as caught:
        service_key("", tmp_path)
    assert told in str(caught.value)
    assert base64.urlsafe_b64encode(key.value).decode()[:8] not in str(caught.value)


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service_key("", tmp_path)
    owner = (tmp_path / FILE).stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(SecretKeyRefused, match=f"belongs to user {owner}, Propdesk runs as {owner + 1}; run `chown"):
        service_key("", tmp_path)


def test_subkeys_differ_by_purpose_and_key_and_say_nothing_of_it() -> None:
    found = {key.subkey(purpose) for key in (ONE, TWO) for purpose in Purpose}
    assert len(found) == 2 * len(Purpose)
    assert ONE.mac(Purpose.API_KEYS, "a", "bc") != ONE.mac(Purpose.API_KEYS, "ab", "c")
    assert ONE.value.hex() not in f"{ONE!r} {ONE.mark}"
    assert repr(ONE) == "ServiceKey()"


@given(secret=st.text(max_size=300))
async def test_a_secret_opens_where_it_was_sealed_and_nowhere_else(secret: str) -> None:
    store = MemoryStore()
    async with store.service() as service:
        await service.ensure_tenant(DEFAULT_TENANT)
        await service.ensure_tenant(OTHER)
    kept = vault(store)
    row = await kept.seal(API_SECRET, secret, actor="ann")
    await kept.seal(replace(API_SECRET, tenant_id=OTHER), secret, actor="ann")
    assert await kept.open(row) == secret
    moved = [
        replace(row, tenant_id=OTHER),
        replace(row, kind=SecretKind.MODEL),
        replace(row, owner="live"),
        replace(row, name="api_key"),
        replace(row, key_id="2"),
        replace(row, ciphertext=row.ciphertext[:-4] + "AAAA"),
        replace(row, ciphertext="nothing"),
        replace(row, ciphertext=""),
    ]
    for one in moved:
        with pytest.raises(SecretDamaged, match="api_"):
            await kept.open(one)


async def test_equal_secrets_are_sealed_differently_and_not_shown(store: MemoryStore) -> None:
    first, second = [await vault(store).seal(API_SECRET, "sk-venue", actor="ann") for _ in range(2)]
    assert first.ciphertext != second.ciphertext
    assert first.ciphertext not in repr(first)
    async with store.transaction(DEFAULT_TENANT) as tx:
        [data_key] = await tx.find(TenantKeyRow, {})
    assert data_key.wrapped not in repr(data_key)


async def test_another_service_key_opens_nothing_and_says_what_to_do(store: MemoryStore) -> None:
    row = await vault(store).seal(API_SECRET, "sk-venue", actor="ann")
    for attempt in (vault(store, TWO).open(row), claim_mark(store, TWO)):
        with pytest.raises(OtherServiceKey) as caught:
            await attempt
        assert f"under the service key {ONE.mark}, and this host has {TWO.mark}: give it the key" in str(caught.value)
    with pytest.raises(OtherServiceKey):
        await vault(store, TWO).seal(replace(API_SECRET, tenant_id=OTHER), "sk", actor="ann")


async def test_a_rotation_wraps_anew_and_touches_no_ciphertext(store: MemoryStore) -> None:
    places = [replace(API_SECRET, tenant_id=tenant) for tenant in (DEFAULT_TENANT, OTHER)]
    rows = [await vault(store).seal(place, place.tenant_id, actor="ann") for place in places]
    with pytest.raises(OtherServiceKey):
        await vault(store, TWO).rewrap(ServiceKey(value=bytes(32)), actor="ann")
    for done in (1, 0):
        assert await vault(store, TWO).rewrap(ONE, actor="ann") == {DEFAULT_TENANT: done, OTHER: done}
    for tenant in (DEFAULT_TENANT, OTHER):
        async with store.transaction(tenant) as tx:
            [event] = await tx.find(EventRow, {})
        assert (event.kind, event.actor, event.before, event.after) == (
            *(EventKind.SERVICE_KEY_CHANGED, "ann"),
            *(ONE.mark, TWO.mark),
        )
    assert [await vault(store, TWO).open(row) for row in rows] == [DEFAULT_TENANT, OTHER]
    await claim_mark(store, TWO)
    with pytest.raises(OtherServiceKey):
        await vault(store).open(rows[0])


async def test_a_rotation_that_was_cut_off_is_carried_on(store: MemoryStore) -> None:
    row = await vault(store).seal(API_SECRET, "sk", actor="ann")
    async with store.transaction(DEFAULT_TENANT) as tx:
        [data_key] = await tx.find(TenantKeyRow, {})
        wrapped = TWO.wrap(DEFAULT_TENANT, ONE.unwrap(data_key))
        await tx.patch(TenantKeyRow, (data_key.key_id,), wrapped=wrapped, fingerprint=TWO.mark)
    assert await vault(store, TWO).rewrap(ONE, actor="ann") == {DEFAULT_TENANT: 0, OTHER: 0}
    await claim_mark(store, TWO)
    assert await vault(store, TWO).open(row) == "sk"


async def test_a_wrapped_key_is_bound_to_its_tenant(store: MemoryStore) -> None:
    places = [replace(API_SECRET, tenant_id=tenant) for tenant in (DEFAULT_TENANT, OTHER)]
    rows = [await vault(store).seal(place, "sk", actor="ann") for place in places]
    async with store.transaction(OTHER) as tx:
        [theirs] = await tx.find(TenantKeyRow, {})
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(TenantKeyRow, (theirs.key_id,), wrapped=theirs.wrapped)
    with pytest.raises(SecretDamaged, match="data key of tenant default was changed"):
        await vault(store).open(rows[0])
