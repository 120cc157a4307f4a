"""Who calls: each route but the open ones asks for a role here, and gets the tenant whose rows it may see."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import Depends, Header, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from exchanges.clock import Clock
from manager.access.keys import Caller
from manager.api.desk import Desk
from manager.api.gate import Gate
from manager.api.problems import HttpProblem
from manager.manager import Manager
from manager.state.acts import ActKey
from manager.state.kinds import Role
from manager.state.records import TenantId
from manager.state.store import Store

_BEARER: Final = HTTPBearer(auto_error=False, description="An API key: `Authorization: Bearer pd_...`")
_HEADER: Final = APIKeyHeader(
    name="X-API-Key", auto_error=False, description="The same key, for who cannot set a bearer"
)
REASON: Final = "over the API"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Hold who calls, for which tenant, and the desk; `actor` is what events say of the caller."""

    caller: Caller
    tenant: TenantId
    desk: Desk

    @property
    def actor(self) -> str:
        """Return the caller as events name it."""
        return self.caller.actor

    @property
    def store(self) -> Store:
        """Return the desk's store."""
        return self.desk.parts.store

    @property
    def manager(self) -> Manager:
        """Return the desk's manager."""
        return self.desk.parts.manager

    @property
    def clock(self) -> Clock:
        """Return the desk's clock."""
        return self.desk.clock

    async def check_role(self, request: Request, role: Role) -> None:
        """Raise HttpProblem (403) unless the caller has the role."""
        gate: Gate = request.app.state.gate
        await gate.check_role(request, self.caller, role)

    async def is_worker_alive(self) -> bool:
        """Tell whether a worker has given a sign of life in the last seconds."""
        return (await self.desk.probe.look()).is_watched


class Needs:
    """Stand before a route: let in who has a key of this role or a higher one, tell the others why not."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(
        self,
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
        plain: Annotated[str | None, Depends(_HEADER)],
        x_tenant: Annotated[
            str | None, Header(description="Of a service admin: the tenant to act in; by default its own.")
        ] = None,
    ) -> Seat:
        """Return the caller's seat; raise HttpProblem: 401 without a sound key, 403 without the role, 429 too often."""
        desk: Desk = request.app.state.desk
        gate: Gate = request.app.state.gate
        caller = await gate.admitted(request, bearer.credentials if bearer else plain or "")
        await gate.check_role(request, caller, self.role)
        tenant = TenantId(x_tenant) if x_tenant else caller.tenant
        if tenant != caller.tenant:
            await gate.check_role(request, caller, Role.SERVICE_ADMIN)
        return Seat(caller=caller, tenant=tenant, desk=desk)


async def act_key(
    request: Request,
    seat_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=200,
            description="The same key with the same body does a thing once, and gets the same answer for 24 hours.",
        ),
    ] = None,
) -> AsyncIterator[ActKey | None]:
    """Give the key of an act; raise HttpProblem (409) while the same one is under way here."""
    under_way: set[tuple[str, str]] = request.app.state.under_way
    if seat_key is None:
        yield None
        return
    # By the caller's own key, too: nobody can keep another from an act by using its key.
    place = (request.headers.get("authorization", "") or request.headers.get("x-api-key", ""), seat_key)
    if place in under_way:
        raise HttpProblem(
            HTTPStatus.CONFLICT,
            "under-way",
            f"a request with Idempotency-Key {seat_key!r} is under way; ask again in a moment for its answer",
            headers={"Retry-After": "1"},
            field="header.Idempotency-Key",
        )
    under_way.add(place)
    try:
        yield ActKey(seat_key)
    finally:
        under_way.discard(place)


Viewer = Annotated[Seat, Depends(Needs(Role.VIEWER))]
Operator = Annotated[Seat, Depends(Needs(Role.OPERATOR))]
Admin = Annotated[Seat, Depends(Needs(Role.ADMIN))]
ServiceAdmin = Annotated[Seat, Depends(Needs(Role.SERVICE_ADMIN))]
Once = Annotated[ActKey | None, Depends(act_key)]
