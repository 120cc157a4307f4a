"""API keys: `pd_<id>_<secret>`, shown once and kept as a hash; each change is one event in its transaction."""

import base64
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from secrets import choice, token_bytes
from typing import Final
from uuid import uuid4

from exchanges.clock import Clock
from manager.access.refused import RefusedFold, WhyRefused
from manager.errors import KeyRefused, UnknownKey, UnknownTenant
from manager.state.access import ApiKeyRow, KeyId
from manager.state.acts import ActKey, ActRow, only_change
from manager.state.errors import DuplicateRow
from manager.state.kinds import ActKind, EventKind, Role
from manager.state.records import DEFAULT_TENANT, AccountId, EventRow, TenantId
from manager.state.secrets import KEY_BYTES, Purpose, ServiceKey, claim_mark
from manager.state.store import Store, Transaction
from manager.views.keys import KeyPage, KeyQuery, read_keys

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz234567"
_ID_LENGTH: Final = 12
_KEY: Final = re.compile(r"pd_([a-z2-7]{12})_([A-Za-z0-9_-]{43})")
_ID: Final = re.compile(r"[a-z2-7]{12}")
_LONGEST_NAME: Final = 100
_SHOWN: Final = 16
_USED_EVERY: Final = timedelta(minutes=1)
_FIRST: Final = ActKey("first-admin-key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Say who asks: a key, whose tenant it is and what it may do."""

    tenant: TenantId
    key_id: KeyId
    role: Role
    name: str

    @property
    def actor(self) -> str:
        """Return who acts, for the event."""
        return f"key:{self.key_id} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """Say which key is wanted; without `expires_at` it is good until it is revoked."""

    name: str
    role: Role
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """Hold a new key: `text` is the key itself, which is nowhere else and is never had again."""

    text: str = field(repr=False)
    row: ApiKeyRow


class Keys:
    """Issue, change and check API keys; the secret leaves only with `Issued`."""

    def __init__(self, store: Store, secrets: ServiceKey, clock: Clock) -> None:
        self._store = store
        self._secrets = secrets
        self._clock = clock
        self._refused = RefusedFold(clock)

    async def issue(self, tenant: TenantId, wanted: NewKey, *, actor: str, reason: str = "") -> Issued:
        """Make a key; raise KeyRefused, UnknownTenant, or OtherServiceKey where this host has not the desk's key."""
        self._check(tenant, wanted)
        await self._ready(tenant)
        made = self._made(tenant, wanted, actor)
        async with self._store.transaction(tenant) as tx:
            await tx.insert([made.row, self._event(made.row, EventKind.KEY_ISSUED, actor, reason)])
        return made

    async def first(self, wanted: NewKey, *, actor: str, reason: str) -> Issued | None:
        """Make the first key of a desk; None where it has had one, however many ask for it at once."""
        await self._ready(DEFAULT_TENANT)
        made, at = self._made(DEFAULT_TENANT, wanted, actor), self._clock.now()
        act = ActRow(
            tenant_id=DEFAULT_TENANT, key=_FIRST, act=ActKind.FIRST_KEY, arguments="", at=at, actor=actor, result="{}"
        )
        try:
            async with self._store.transaction(DEFAULT_TENANT) as tx:
                if await tx.find(ApiKeyRow, {}, limit=1):
                    return None
                await tx.insert([act, made.row, self._event(made.row, EventKind.KEY_ISSUED, actor, reason)])
        except DuplicateRow:
            return None
        return made

    async def rotate(
        self, tenant: TenantId, key_id: KeyId, *, actor: str, reason: str = "", overlap_s: int = 0
    ) -> Issued:
        """Replace a key by a new one of the same name, role and lifetime; the old one ends after `overlap_s`.

        Raises UnknownKey, KeyRefused for a key that has ended, and as `issue`.
        """
        await self._ready(tenant)
        now = self._clock.now()
        async with self._store.transaction(tenant) as tx:
            old = await self._standing(tx, key_id, now)
            await tx.insert([only_change(tenant, f"key {key_id}", old.revoked_at, at=now, actor=actor)])
            lasts = None if old.expires_at is None else now + (old.expires_at - old.created_at)
            made = self._made(tenant, NewKey(name=old.name, role=old.role, expires_at=lasts), actor)
            ends = _sooner(old.revoked_at, now + timedelta(seconds=overlap_s))
            await tx.patch(ApiKeyRow, (key_id,), revoked_at=ends, revoked_by=actor)
            event = self._event(made.row, EventKind.KEY_ROTATED, actor, reason)
            until = f"until {ends:%Y-%m-%d %H:%M:%S} UTC"
            await tx.insert([made.row, replace(event, before=f"{_told(old)} {until}")])
        return made

    async def revoke(self, tenant: TenantId, key_id: KeyId, *, actor: str, reason: str = "") -> ApiKeyRow:
        """End a key at once; raise UnknownKey, or KeyRefused for one that has ended."""
        now = self._clock.now()
        async with self._store.transaction(tenant) as tx:
            old = await self._standing(tx, key_id, now)
            await tx.insert([only_change(tenant, f"key {key_id}", old.revoked_at, at=now, actor=actor)])
            await tx.patch(ApiKeyRow, (key_id,), revoked_at=now, revoked_by=actor)
            event = self._event(old, EventKind.KEY_REVOKED, actor, reason)
            await tx.insert([replace(event, before=_told(old), after="revoked")])
        return replace(old, revoked_at=now, revoked_by=actor)

    async def list(self, tenant: TenantId) -> KeyPage:
        """Return the keys of a tenant, ended ones too, the oldest first."""
        return await read_keys(self._store, tenant, KeyQuery(now=self._clock.now()))

    async def check(self, text: str, source: str = "") -> Caller | None:
        """Return whose key it is, None for what opens nothing; then an event tells it, of a source one a minute."""
        found = _KEY.fullmatch(text)
        if found is None:
            await self.refused(source, WhyRefused.MALFORMED if text else WhyRefused.NO_KEY)
            return None
        key_id, now = KeyId(found[1]), self._clock.now()
        async with self._store.service() as service:
            rows = await service.api_keys(key_id)
        row = next((row for row in rows if hmac.compare_digest(self._hash(row, found[2]), row.hash)), None)
        why = self._why_refused(row, rows, now)
        if row is None or why is not None:
            told = row or next(iter(rows), None)
            tenant = DEFAULT_TENANT if told is None else told.tenant_id
            await self.refused(source, why or WhyRefused.UNKNOWN_KEY, tenant=tenant, key_id=key_id)
            return None
        if row.last_used_at is None or now - row.last_used_at >= _USED_EVERY:
            async with self._store.transaction(row.tenant_id) as tx:
                await tx.patch(ApiKeyRow, (key_id,), last_used_at=now)
        return Caller(tenant=row.tenant_id, key_id=key_id, role=row.role, name=row.name)

    async def logged_in(self, caller: Caller, source: str) -> None:
        """Tell that somebody has logged in with a key."""
        event = self._plain_event(caller.tenant, EventKind.LOGGED_IN, caller.actor, f"from {source}")
        async with self._store.transaction(caller.tenant) as tx:
            await tx.insert([replace(event, after=caller.role)])

    async def refused(
        self, source: str, why: WhyRefused, *, tenant: TenantId = DEFAULT_TENANT, key_id: KeyId = KeyId("")
    ) -> None:
        """Tell that a source was refused, unless that was told within a minute; the event counts those between."""
        times = self._refused.count(source, why)
        if not times:
            return
        asked = f"key {key_id}" if key_id else "no known key"
        more = f", {times} times since it was told last" if times > 1 else ""
        event = self._plain_event(tenant, EventKind.ACCESS_REFUSED, f"address:{source or 'unknown'}", f"{asked}{more}")
        async with self._store.service() as service:
            await service.ensure_tenant(tenant)
        async with self._store.transaction(tenant) as tx:
            await tx.insert([replace(event, after=why)])

    def _why_refused(self, row: ApiKeyRow | None, known: Sequence[ApiKeyRow], now: datetime) -> WhyRefused | None:
        if row is None:
            if any(one.fingerprint != self._secrets.mark for one in known):
                return WhyRefused.OTHER_SERVICE_KEY
            return WhyRefused.WRONG_KEY if known else WhyRefused.UNKNOWN_KEY
        state = row.state(now)
        return None if state.opens else WhyRefused(state)

    async def _ready(self, tenant: TenantId) -> None:
        async with self._store.service() as service:
            if tenant == DEFAULT_TENANT:
                await service.ensure_tenant(tenant)
            elif tenant not in await service.tenants():
                raise UnknownTenant(f"there is no tenant {tenant!r}; a config makes one, or leave --tenant out")
        await claim_mark(self._store, self._secrets)

    def _made(self, tenant: TenantId, wanted: NewKey, actor: str) -> Issued:
        key_id = KeyId("".join(choice(_LETTERS) for _ in range(_ID_LENGTH)))
        secret = base64.urlsafe_b64encode(token_bytes(KEY_BYTES)).decode().rstrip("=")
        row = ApiKeyRow(
            tenant_id=tenant,
            key_id=key_id,
            name=wanted.name,
            role=wanted.role,
            hash="",
            fingerprint=self._secrets.mark,
            created_at=self._clock.now(),
            created_by=actor,
            expires_at=wanted.expires_at,
        )
        return Issued(text=f"pd_{key_id}_{secret}", row=replace(row, hash=self._hash(row, secret)))

    def _hash(self, row: ApiKeyRow, secret: str) -> str:
        return self._secrets.mac(Purpose.API_KEYS, row.tenant_id, row.key_id, row.role, secret)

    def _check(self, tenant: TenantId, wanted: NewKey) -> None:
        name = wanted.name
        if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
            raise KeyRefused(f"name {name[:_LONGEST_NAME]!r} is none; give 1 to {_LONGEST_NAME} printable characters")
        if wanted.expires_at is not None and wanted.expires_at <= self._clock.now():
            raise KeyRefused(f"expires_at {wanted.expires_at:%Y-%m-%d %H:%M:%S} UTC is past; give a later one, or none")
        if wanted.role is Role.SERVICE_ADMIN and tenant != DEFAULT_TENANT:
            raise KeyRefused(
                f"role service_admin is of tenant {DEFAULT_TENANT} only, not of {tenant}; give the role admin"
            )

    @staticmethod
    async def _standing(tx: Transaction, key_id: KeyId, now: datetime) -> ApiKeyRow:
        row = await tx.get(ApiKeyRow, key_id)
        if row is None:
            raise UnknownKey(f"there is no key {key_id!r}; `propdesk keys list` names them")
        if not (state := row.state(now)).opens:
            raise KeyRefused(f"key {key_id} ({row.name}) is {state} already; nothing is changed")
        return row

    def _event(self, row: ApiKeyRow, kind: EventKind, actor: str, reason: str) -> EventRow:
        return replace(self._plain_event(row.tenant_id, kind, actor, reason), after=_told(row))

    def _plain_event(self, tenant: TenantId, kind: EventKind, actor: str, reason: str) -> EventRow:
        at = self._clock.now()
        return EventRow(
            tenant_id=tenant,
            event_id=f"access/{at.isoformat()}/{kind}/{uuid4().hex[:8]}",
            at=at,
            actor=actor,
            kind=kind,
            account_id=AccountId(""),
            reason=reason,
        )


def key_id_of(text: str) -> KeyId:
    """Return the id that a text names: an id, or a key, of which nothing else is kept or shown; raise UnknownKey."""
    if found := _KEY.fullmatch(text.strip()):
        return KeyId(found[1])
    plain = text.strip().removeprefix("pd_")
    if not _ID.fullmatch(plain):
        given = f"KEY {text!r}" if len(text) <= _SHOWN else "KEY"
        raise UnknownKey(f"{given} is no id of a key, 12 characters of a-z and 2-7; `propdesk keys list` has them")
    return KeyId(plain)


def _sooner(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else min(one, other)


def _told(row: ApiKeyRow) -> str:
    return f"key {row.key_id} {row.name} ({row.role})"
