"""Which API keys a tenant has; nothing of their secrets."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from manager.state.access import ApiKeyRow, KeyId
from manager.state.kinds import KeyState, Role
from manager.state.records import TenantId
from manager.state.store import Store
from manager.views.pages import cursor_of, parts_of


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyQuery:
    """Say which keys to return at which time; `after` is the cursor of a page."""

    now: datetime
    key_id: KeyId = KeyId("")
    limit: int | None = None
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownKey:
    """Hold what may be shown of a key; `last_used_at` is good to a minute, `service_key` the mark of what hashed it."""

    key_id: KeyId
    name: str
    role: Role
    state: KeyState
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str
    service_key: str

    @classmethod
    def of(cls, row: ApiKeyRow, now: datetime) -> "ShownKey":
        """Return what may be shown of a row."""
        names = {one.name for one in fields(cls)} - {"state", "service_key"}
        shown: dict[str, Any] = {name: getattr(row, name) for name in names}
        return cls(**shown, state=row.state(now), service_key=row.fingerprint)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPage:
    """Hold keys, ended ones too, the oldest first; `next` is the cursor of the page that follows, empty at the end."""

    keys: tuple[ShownKey, ...]
    next: str = ""


async def read_keys(store: Store, tenant: TenantId, query: KeyQuery) -> KeyPage:
    """Return the keys of a tenant; raise UnknownCursor."""
    past = parts_of(query.after, str, str) if query.after else ()
    async with store.transaction(tenant) as tx:
        rows = await tx.find(ApiKeyRow, {"key_id": query.key_id} if query.key_id else {}, limit=None)
    placed = sorted((((row.created_at.isoformat(), str(row.key_id)), row) for row in rows), key=lambda one: one[0])
    rest = [one for one in placed if one[0] > past]
    page = rest[: query.limit]
    following = cursor_of(*page[-1][0]) if len(rest) > len(page) else ""
    return KeyPage(keys=tuple(ShownKey.of(row, query.now) for _, row in page), next=following)
