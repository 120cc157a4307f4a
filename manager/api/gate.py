"""The gate before every route but the open ones: a sound key, not too often refused, not too fast, of the role."""

from http import HTTPStatus
from math import ceil
from typing import TYPE_CHECKING

from fastapi import Request

from manager.access.keys import Caller
from manager.access.lockout import Lockout, RateLimit
from manager.access.refused import WhyRefused
from manager.access.roles import may
from manager.api.problems import HttpProblem
from manager.state.kinds import Role

if TYPE_CHECKING:
    from manager.api.desk import Desk


class Gate:
    """Let callers in by their keys; who is refused too often is locked out by address, never by the id of a key."""

    def __init__(self, desk: "Desk") -> None:
        self._desk = desk
        self._lockout = Lockout(desk.clock, desk.patience)
        self._rate = RateLimit(desk.clock, desk.rate)

    async def admitted(self, request: Request, text: str) -> Caller:
        """Return whose key it is; raise HttpProblem (401) for what opens nothing, 429 for who must wait."""
        keys, source = self._desk.parts.keys, _source(request)
        # A sound key always passes: behind a proxy all have one address, and nobody may keep the others from a halt.
        caller = await keys.check(text, source)
        if caller is None:
            wait_s = self._lockout.wait_s(source)
            if wait_s:
                await keys.refused(source, WhyRefused.LOCKED_OUT)
                raise _too_many(f"this address was refused too often; wait {ceil(wait_s)} s", wait_s)
            self._lockout.refused(source)
            told = "this key opens nothing: it is unknown, expired or revoked" if text else "a key is needed"
            raise HttpProblem(
                HTTPStatus.UNAUTHORIZED,
                "unauthorized",
                f"{told}; make one with `propdesk keys create`, and send it as `Authorization: Bearer pd_...`",
                headers={"WWW-Authenticate": 'Bearer realm="propdesk"'},
                field="header.Authorization",
            )
        wait_s = self._rate.take(caller.key_id)
        if wait_s:
            await keys.refused(source, WhyRefused.TOO_FAST, tenant=caller.tenant, key_id=caller.key_id)
            raise _too_many("this key asks too often; slow down", wait_s)
        return caller

    async def check_role(self, request: Request, caller: Caller, needed: Role) -> None:
        """Raise HttpProblem (403) for a caller whose role is below the one that is needed, and tell it."""
        if may(caller.role, needed):
            return
        keys = self._desk.parts.keys
        await keys.refused(_source(request), WhyRefused.ROLE, tenant=caller.tenant, key_id=caller.key_id)
        raise HttpProblem(
            HTTPStatus.FORBIDDEN,
            "forbidden",
            f"this needs the role {needed}; the key {caller.key_id} ({caller.name}) is a {caller.role}'s",
        )


def _source(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _too_many(told: str, wait_s: float) -> HttpProblem:
    headers = {"Retry-After": str(max(1, ceil(wait_s)))}
    return HttpProblem(HTTPStatus.TOO_MANY_REQUESTS, "too-many-requests", told, headers=headers)
