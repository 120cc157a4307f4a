"""Tables of who may do what and of what is encrypted: API keys, tenants' data keys, secrets."""

from datetime import datetime

from sqlalchemy import Index
from sqlmodel import Field

from manager.state.tables.types import INSTANT, KEY, TEXT, Declared


class ApiKeyTable(Declared, table=True):
    """Declare ApiKeyRow; `api_keys_by_id` finds a key before its tenant is known."""

    __tablename__ = "api_keys"
    __table_args__ = (Index("api_keys_by_id", "key_id"),)

    tenant_id: str = Field(sa_type=KEY, primary_key=True, foreign_key="tenants.tenant_id")
    key_id: str = Field(sa_type=KEY, primary_key=True)
    name: str = Field(sa_type=TEXT)
    role: str = Field(sa_type=TEXT)
    hash: str = Field(sa_type=TEXT)
    fingerprint: str = Field(sa_type=TEXT)
    created_at: datetime = Field(sa_type=INSTANT)
    created_by: str = Field(sa_type=TEXT)
    expires_at: datetime | None = Field(sa_type=INSTANT)
    last_used_at: datetime | None = Field(sa_type=INSTANT)
    revoked_at: datetime | None = Field(sa_type=INSTANT)
    revoked_by: str = Field(sa_type=TEXT)


class TenantKeyTable(Declared, table=True):
    """Declare TenantKeyRow."""

    __tablename__ = "tenant_keys"

    tenant_id: str = Field(sa_type=KEY, primary_key=True, foreign_key="tenants.tenant_id")
    key_id: str = Field(sa_type=KEY, primary_key=True)
    wrapped: str = Field(sa_type=TEXT)
    fingerprint: str = Field(sa_type=TEXT)
    created_at: datetime = Field(sa_type=INSTANT)


class SecretTable(Declared, table=True):
    """Declare SecretRow; its owner may be entered after it, so it is no foreign key."""

    __tablename__ = "secrets"

    tenant_id: str = Field(sa_type=KEY, primary_key=True, foreign_key="tenants.tenant_id")
    kind: str = Field(sa_type=KEY, primary_key=True)
    owner: str = Field(sa_type=KEY, primary_key=True)
    name: str = Field(sa_type=KEY, primary_key=True)
    key_id: str = Field(sa_type=KEY)
    ciphertext: str = Field(sa_type=TEXT)
    at: datetime = Field(sa_type=INSTANT)
    actor: str = Field(sa_type=TEXT)
