"""Secrets at rest: the service key, what is derived from it, and values that nothing but it can open.

A value is sealed by its tenant's data key (AES-256-GCM), which is stored wrapped by the service key. Either is bound to
where it belongs, so that no row opens in the place of another. Another service key needs the data keys wrapped anew,
and no value touched. Subkeys are derived by HKDF (RFC 5869), one for each purpose.
"""

import base64
import contextlib
import hmac
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from exchanges.clock import Clock
from manager.errors import SecretKeyRefused
from manager.state.access import SecretRow, TenantKeyRow
from manager.state.errors import DuplicateRow, OtherServiceKey, SecretDamaged
from manager.state.kinds import EventKind, SecretKind
from manager.state.records import AccountId, EventRow, TenantId
from manager.state.store import Store

KEY_BYTES: Final = 32
VARIABLE: Final = "PROPDESK_SECRET_KEY"
FILE: Final = "secret.key"
_NONCE_BYTES: Final = 12
_MARK_BYTES: Final = 6
_LONGEST_FILE: Final = 1024
_PRIVATE: Final = 0o600
_FIRST: Final = "1"
_FORMS: Final = re.compile(r"[0-9a-fA-F]{64}|[A-Za-z0-9_-]{43}=?")
_EXPECTED: Final = "32 random bytes as 64 hexadecimal digits or 43 characters of base64url (`openssl rand -hex 32`)"


class Purpose(StrEnum):
    """Name what a subkey is for; no two purposes share one."""

    MARK = "mark"
    WRAPPING = "wrapping"
    API_KEYS = "api-keys"
    TOKENS = "tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceKey:
    """Hold the one key of an installation, which leaves this value only as subkeys."""

    value: bytes = field(repr=False)

    @property
    def mark(self) -> str:
        """Return what tells this key from others and says nothing of it."""
        return self.subkey(Purpose.MARK)[:_MARK_BYTES].hex()

    def subkey(self, purpose: Purpose) -> bytes:
        """Return the key for one purpose."""
        info = f"propdesk/{purpose}".encode()
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(self.value)

    def mac(self, purpose: Purpose, *parts: str) -> str:
        """Return the HMAC-SHA-256 of some texts, which no other texts have."""
        return hmac.new(self.subkey(purpose), _joined(*parts), sha256).hexdigest()

    def wrap(self, tenant: TenantId, data_key: bytes) -> str:
        """Return a tenant's data key as only this key can unwrap it."""
        return _sealed(self.subkey(Purpose.WRAPPING), data_key, _joined("data key", tenant))

    def unwrap(self, row: TenantKeyRow) -> bytes:
        """Return a tenant's data key; raise OtherServiceKey if another key wrapped it, else SecretDamaged."""
        if row.fingerprint != self.mark:
            raise OtherServiceKey(row.fingerprint, self.mark)
        try:
            return _opened(self.subkey(Purpose.WRAPPING), row.wrapped, _joined("data key", row.tenant_id))
        except InvalidTag:
            raise SecretDamaged(f"the data key of tenant {row.tenant_id} was changed in the database") from None


def service_key(given: str, data_dir: Path) -> ServiceKey:
    """Return the key that is `given`, else the one in the data directory, made at the first call.

    However many processes make it at once, all get the same. Raises SecretKeyRefused, which shows no part of a key.
    """
    if given.strip():
        return _parsed(given, f"{VARIABLE} is", f"; or unset it, then {data_dir / FILE} is made")
    path = data_dir / FILE
    try:
        if not path.exists():
            _make(path)
        return key_in(path)
    except OSError as error:
        mend = f"make room or mend its folder, or set {VARIABLE}"
        raise SecretKeyRefused(f"{path} cannot be used ({error.strerror}); {mend}") from None


def key_in(path: Path) -> ServiceKey:
    """Return the key that a private file holds; raise SecretKeyRefused, or OSError for one that cannot be read."""
    return _parsed(_read(path), f"{path} holds", "; restore the file, without it what is encrypted is lost")


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner may read, whole or not at all; raise FileExistsError if there is one."""
    # Root's data directory is passed through by the account that the embedded server drops to.
    path.parent.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{token_hex(8)}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _make(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        write_private(path, f"{base64.urlsafe_b64encode(token_bytes(KEY_BYTES)).decode().rstrip('=')}\n")


def _read(path: Path) -> str:
    with path.open("rb") as file:
        found, user = os.fstat(file.fileno()), os.geteuid()
        if not stat.S_ISREG(found.st_mode):
            raise SecretKeyRefused(f"{path} is no file; take it away, or set {VARIABLE}")
        if found.st_uid != user:
            mend = f"run `chown {user} {path}`, or set {VARIABLE}"
            raise SecretKeyRefused(f"{path} belongs to user {found.st_uid}, Propdesk runs as {user}; {mend}")
        if found.st_mode & 0o077:
            told = f"{path} may be read or written by others (mode {stat.S_IMODE(found.st_mode):04o})"
            raise SecretKeyRefused(f"{told}; run `chmod 600 {path}`, and change the key if others may have seen it")
        return file.read(_LONGEST_FILE).decode("ascii", "replace")


def _parsed(text: str, where: str, mend: str) -> ServiceKey:
    text = text.strip()
    if not _FORMS.fullmatch(text):
        raise SecretKeyRefused(f"{where} no key ({len(text)} characters); expected {_EXPECTED}{mend}")
    plain = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.urlsafe_b64decode(text.rstrip("=") + "=")
    return ServiceKey(value=plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretPlace:
    """Say what a secret is: the `name` of a field of an account or a model."""

    tenant_id: TenantId
    kind: SecretKind
    owner: str
    name: str

    @classmethod
    def of(cls, row: SecretRow) -> Self:
        """Return the place of a stored secret."""
        return cls(tenant_id=row.tenant_id, kind=row.kind, owner=row.owner, name=row.name)

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.name} of {self.kind} {self.owner}"

    @property
    def bound(self) -> bytes:
        """Return what a sealed value is bound to."""
        return _joined("secret", self.tenant_id, self.kind, self.owner, self.name)


class Vault:
    """Seal and open secrets of tenants; the rows are the caller's to write, in the transaction of its act."""

    def __init__(self, store: Store, key: ServiceKey, clock: Clock) -> None:
        self._store = store
        self._key = key
        self._clock = clock

    async def seal(self, place: SecretPlace, text: str, *, actor: str) -> SecretRow:
        """Return the row that keeps a secret; raise OtherServiceKey where this host has not the desk's key."""
        data_key = await self._data_key(place.tenant_id)
        return SecretRow(
            tenant_id=place.tenant_id,
            kind=place.kind,
            owner=place.owner,
            name=place.name,
            key_id=_FIRST,
            ciphertext=_sealed(data_key, text.encode(), place.bound),
            at=self._clock.now(),
            actor=actor,
        )

    async def open(self, row: SecretRow) -> str:
        """Return the secret of a row; raise OtherServiceKey, or SecretDamaged if the row was changed or moved."""
        place = SecretPlace.of(row)
        async with self._store.transaction(row.tenant_id) as tx:
            found = await tx.get(TenantKeyRow, row.key_id)
        if found is None:
            raise SecretDamaged(f"{place} was sealed by data key {row.key_id!r}, which is gone; enter it anew")
        try:
            return _opened(self._key.unwrap(found), row.ciphertext, place.bound).decode()
        except InvalidTag:
            raise SecretDamaged(f"{place} was changed in the database; enter it anew") from None

    async def rewrap(self, old: ServiceKey, *, actor: str, reason: str = "") -> Mapping[TenantId, int]:
        """Wrap all data keys, which `old` wrapped, by the key of this vault; return how many of each tenant.

        What a run that was cut off has done already is left as it is; no ciphertext is touched. Raises OtherServiceKey
        if `old` is not the key of the installation, before anything is changed.
        """
        async with self._store.service() as service:
            stored, tenants = await service.key_mark(old.mark), await service.tenants()
        if stored not in (old.mark, self._key.mark):
            raise OtherServiceKey(stored, old.mark)
        done = {tenant: await self._rewrap(tenant, old, actor, reason) for tenant in tenants}
        async with self._store.service() as service:
            await service.key_mark(self._key.mark, instead_of=old.mark)
        return done

    async def _rewrap(self, tenant: TenantId, old: ServiceKey, actor: str, reason: str) -> int:
        at = self._clock.now()
        async with self._store.transaction(tenant) as tx:
            rows = [row for row in await tx.find(TenantKeyRow, {}) if row.fingerprint != self._key.mark]
            for row in rows:
                wrapped = self._key.wrap(tenant, old.unwrap(row))
                await tx.patch(TenantKeyRow, (row.key_id,), wrapped=wrapped, fingerprint=self._key.mark)
            if rows:
                event = EventRow(
                    tenant_id=tenant,
                    event_id=f"access/{at.isoformat()}/{EventKind.SERVICE_KEY_CHANGED}/{token_hex(4)}",
                    at=at,
                    actor=actor,
                    kind=EventKind.SERVICE_KEY_CHANGED,
                    account_id=AccountId(""),
                    before=old.mark,
                    after=self._key.mark,
                    reason=reason,
                )
                await tx.insert([event])
        return len(rows)

    async def _data_key(self, tenant: TenantId) -> bytes:
        async with self._store.transaction(tenant) as tx:
            found = await tx.get(TenantKeyRow, _FIRST)
        if found is None:
            found = await self._made(tenant)
        return self._key.unwrap(found)

    async def _made(self, tenant: TenantId) -> TenantKeyRow:
        await claim_mark(self._store, self._key)
        row = TenantKeyRow(
            tenant_id=tenant,
            key_id=_FIRST,
            wrapped=self._key.wrap(tenant, token_bytes(KEY_BYTES)),
            fingerprint=self._key.mark,
            created_at=self._clock.now(),
        )
        try:
            async with self._store.transaction(tenant) as tx:
                await tx.insert([row])
        except DuplicateRow:
            async with self._store.transaction(tenant) as tx:
                return await tx.get(TenantKeyRow, _FIRST) or row
        return row


async def claim_mark(store: Store, key: ServiceKey) -> None:
    """Make `key` the one of the installation if it has none yet; raise OtherServiceKey if it has another."""
    async with store.service() as service:
        stored = await service.key_mark(key.mark)
    if stored != key.mark:
        raise OtherServiceKey(stored, key.mark)


def _joined(*parts: str) -> bytes:
    return json.dumps(parts).encode()


def _sealed(key: bytes, plain: bytes, bound: bytes) -> str:
    nonce = token_bytes(_NONCE_BYTES)
    return base64.b64encode(nonce + AESGCM(key).encrypt(nonce, plain, bound)).decode()


def _opened(key: bytes, sealed: str, bound: bytes) -> bytes:
    try:
        raw = base64.b64decode(sealed, validate=True)
        return AESGCM(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], bound)
    except ValueError:
        raise InvalidTag from None
