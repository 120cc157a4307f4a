"""API keys: make, list, replace and end those of a tenant; a key is shown once, in the answer that makes it."""

from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Response
from pydantic import Field

from manager.access.keys import Issued, NewKey, key_id_of
from manager.access.roles import may
from manager.api.answers import answer
from manager.api.caller import Admin, Seat
from manager.api.problems import HttpProblem, documented
from manager.api.routes.traders import Why
from manager.state.access import KeyId
from manager.state.kinds import Role
from manager.views.keys import KeyPage, KeyQuery, ShownKey, read_keys

router: Final = APIRouter(prefix="/keys", tags=["keys"])
_ACTS: Final = documented(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
_LONGEST_DAYS: Final = 36_500
_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeKey:
    """Hold a new key: `api_key` is the key itself, which is never shown again."""

    api_key: str
    key: ShownKey


class KeyBody(Why):
    """Say what a key is for, what it may do, and how long it is good."""

    name: str = Field(max_length=100, examples=["grafana"])
    role: Role = Field(examples=[Role.VIEWER])
    expires_in_days: int | None = Field(default=None, ge=1, le=_LONGEST_DAYS, examples=[90])


class RotateBody(Why):
    """Say how long the old key is good beside the new one."""

    overlap_s: int = Field(default=0, ge=0, le=30 * _DAY_S, examples=[3600])


@router.get("", response_model=KeyPage)
async def list_keys(seat: Admin) -> Response:
    """List the keys of the tenant, ended ones too; the secrets are nowhere."""
    return answer(await read_keys(seat.store, seat.tenant, KeyQuery(now=seat.clock.now())))


@router.post("", status_code=HTTPStatus.CREATED, response_model=MadeKey, responses=_ACTS)
async def create(seat: Admin, body: KeyBody) -> Response:
    """Make a key of the caller's role at most. No Idempotency-Key counts here: an answer with a secret is not kept."""
    _check_role(seat, body.role)
    lasts = None if body.expires_in_days is None else timedelta(days=body.expires_in_days)
    wanted = NewKey(name=body.name, role=body.role, expires_at=None if lasts is None else seat.clock.now() + lasts)
    made = await seat.desk.parts.keys.issue(seat.tenant, wanted, actor=seat.actor, reason=body.reason)
    return answer(_shown(seat, made), HTTPStatus.CREATED)


@router.post("/{key_id}/rotate", response_model=MadeKey, responses=_ACTS)
async def rotate(seat: Admin, key_id: str, body: RotateBody) -> Response:
    """Replace a key by a new one of the same name, role and lifetime."""
    keys, wanted = seat.desk.parts.keys, await _within_reach(seat, key_id)
    by = {"actor": seat.actor, "reason": body.reason}
    return answer(_shown(seat, await keys.rotate(seat.tenant, wanted, **by, overlap_s=body.overlap_s)))


@router.post("/{key_id}/revoke", response_model=ShownKey, responses=_ACTS)
async def revoke(seat: Admin, key_id: str, body: Why) -> Response:
    """End a key at once."""
    by = {"actor": seat.actor, "reason": body.reason}
    row = await seat.desk.parts.keys.revoke(seat.tenant, await _within_reach(seat, key_id), **by)
    return answer(ShownKey.of(row, seat.clock.now()))


def _shown(seat: Seat, made: Issued) -> MadeKey:
    return MadeKey(api_key=made.text, key=ShownKey.of(made.row, seat.clock.now()))


async def _within_reach(seat: Seat, key_id: str) -> KeyId:
    """Return the id of a key that the caller may change; a role never changes the key of one above it."""
    wanted = key_id_of(key_id)
    for one in (await seat.desk.parts.keys.list(seat.tenant)).keys:
        if one.key_id == wanted:
            _check_role(seat, one.role)
    return wanted


def _check_role(seat: Seat, wanted: Role) -> None:
    if not may(seat.caller.role, wanted):
        raise HttpProblem(
            HTTPStatus.FORBIDDEN,
            "forbidden",
            f"a {seat.caller.role}'s key makes and changes none of role {wanted}; ask a {wanted} for it",
            field="body.role",
        )
