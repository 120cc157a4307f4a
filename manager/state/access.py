"""The rows of who may do what, and of what is kept encrypted: API keys, tenants' data keys, secrets."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NewType

from manager.state.kinds import KeyState, Role, SecretKind
from manager.state.records import TenantId

KeyId = NewType("KeyId", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyRow:
    """Hold one API key without its secret; written by the manager.

    `hash` binds the secret to tenant, id and role under the service key of `fingerprint`. From `revoked_at` on it opens
    nothing; that may lie ahead while a successor is brought to those who use it.
    """

    tenant_id: TenantId
    key_id: KeyId
    name: str
    role: Role
    hash: str = field(repr=False)
    fingerprint: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str = ""

    def state(self, now: datetime) -> KeyState:
        """Return whether it opens anything at an instant."""
        if self.revoked_at is not None and self.revoked_at <= now:
            return KeyState.REVOKED
        if self.expires_at is not None and self.expires_at <= now:
            return KeyState.EXPIRED
        return KeyState.ACTIVE if self.revoked_at is None else KeyState.ENDING


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantKeyRow:
    """Hold the data key of a tenant, wrapped by the service key of `fingerprint`."""

    tenant_id: TenantId
    key_id: str
    wrapped: str = field(repr=False)
    fingerprint: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRow:
    """Hold one secret of an account or a model, sealed by the tenant's data key `key_id`; `actor` set it last, `at`."""

    tenant_id: TenantId
    kind: SecretKind
    owner: str
    name: str
    key_id: str
    ciphertext: str = field(repr=False)
    at: datetime
    actor: str
