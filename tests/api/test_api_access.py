"""Every route of the routing table: nothing without a key, above a role, or of another tenant."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from api_desk import SECRETS, ApiDesk, api_desk, client_of, issue_keys
from config_files import SOUND
from exchanges.clock import ManualClock
from manager.access.keys import Keys, NewKey
from manager.access.lockout import Patience
from manager.access.refused import WhyRefused
from manager.api.app import create_app
from manager.api.caller import Needs
from manager.api.desk import Desk
from manager.state.kinds import EventKind, Role
from manager.state.records import EventRow, TenantId

OPEN: Final = {"/", "/healthz", "/readyz", "/openapi.json"}
THEIRS: Final = ('"id": "paper"', '"account_id": "paper"', '"one"', '"two"')
OTHER: Final = TenantId("other")
TWO_TENANTS = f"""{SOUND}
tenants:
  other:
    exchanges:
      theirs: {{type: paper, market: {{type: synthetic, seed: 8}}, fee_bps: 4.5}}
    traders:
      - id: stranger
        exchange: theirs
        executor: {{type: baseline, style: trend}}
        symbols: ["BTC/USDT:USDT"]
        decision_interval: 3m
        allocation_pct: 60
"""


class Route(NamedTuple):
    """One method of one path, and the role that it needs."""

    method: str
    path: str
    role: Role | None

    @property
    def filled(self) -> str:
        """Return the path with ids of the first tenant."""
        named = {"trader_id": "one", "account_id": "paper"}
        return re.sub(r"{(\w+)}", lambda found: named.get(found[1], "x"), self.path)


def routes(within: Any) -> Iterator[Route]:
    """Yield every route of an application, those of included routers too."""
    for route in within:
        if hasattr(route, "effective_candidates"):
            yield from routes(route.effective_candidates())
        elif hasattr(route, "dependant"):
            needs = [one.call for one in route.dependant.dependencies if isinstance(one.call, Needs)]
            for method in sorted(route.methods):
                yield Route(method, route.path, needs[0].role if needs else None)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ApiDesk]:
    async with api_desk(tmp_path, TWO_TENANTS) as served:
        yield served


def table(api: ApiDesk) -> list[Route]:
    found = list(routes(api.app.routes))
    described = api.app.openapi()["paths"]
    assert {route.path for route in found} >= set(described)
    return found


async def asked(api: ApiDesk, route: Route, key: str, **headers: str) -> Any:
    given = {"Authorization": f"Bearer {key}", **headers} if key else headers
    return await api.client.request(route.method, route.filled, headers=given, json={})


async def test_only_the_open_routes_need_no_key(api: ApiDesk) -> None:
    assert {route.path for route in table(api) if route.role is None} | {"/openapi.json"} == OPEN
    for route in table(api):
        if route.role is not None:
            answer = await asked(api, route, "")
            assert answer.status_code == 401, route
            assert answer.json()["errors"][0]["field"] == "header.Authorization"
            assert (await asked(api, route, "pd_abcdefghijkl_" + "A" * 43)).status_code == 401, route


async def test_every_route_refuses_the_role_below_the_one_that_it_needs(api: ApiDesk) -> None:
    roles, found = list(Role), 0
    for route in table(api):
        if route.role is not None and route.role is not Role.VIEWER:
            below = roles[roles.index(route.role) - 1]
            assert (await asked(api, route, api.keys[below])).status_code == 403, route
            found += 1
    assert found > 10


async def test_what_changes_something_needs_more_than_a_viewer(api: ApiDesk) -> None:
    changing = [route for route in table(api) if route.method not in ("GET", "HEAD")]
    assert [route for route in changing if route.role in (None, Role.VIEWER)] == []


async def test_no_route_tells_another_tenant_anything(api: ApiDesk) -> None:
    keys = await issue_keys(api.store, api.clock, OTHER)
    for route in table(api):
        if route.role is None or route.path.endswith("/stream"):
            continue
        answer = await asked(api, route, keys[Role.ADMIN])
        text = answer.text
        assert answer.status_code in (200, 202, 404, 409, 422, 428), (route, answer.status_code)
        told = [name for name in THEIRS if name in text]
        assert not told or answer.status_code == 404, (route, text)
        crossing = await asked(api, route, keys[Role.ADMIN], **{"X-Tenant": "default"})
        assert crossing.status_code == 403, route


async def test_a_service_admin_acts_in_the_tenant_that_it_names(api: ApiDesk) -> None:
    answer = await api.ask("GET", "/traders", headers={"X-Tenant": OTHER})
    assert [one["id"] for one in answer.json()["traders"]] == ["stranger"]
    moved = await api.ask("POST", "/traders/stranger/pause", headers={"X-Tenant": OTHER}, json={"reason": "lunch"})
    assert moved.json()["state"] == "paused"
    async with api.store.transaction(OTHER) as tx:
        [event] = await tx.find(EventRow, {"kind": EventKind.TRADER_STATE})
    assert (event.after, event.reason) == ("paused", "lunch")
    assert event.actor.startswith("key:")


async def test_an_expired_and_a_revoked_key_open_nothing(api: ApiDesk) -> None:
    ring = Keys(api.store, api.desk.secrets, api.clock)
    made = await ring.issue(TenantId("default"), NewKey(name="short", role=Role.VIEWER), actor="test")
    headers = {"X-API-Key": made.text}
    assert (await api.client.get("/api/v1/whoami", headers=headers)).status_code == 200
    await ring.revoke(TenantId("default"), made.row.key_id, actor="test")
    assert (await api.client.get("/api/v1/whoami", headers=headers)).status_code == 401


async def test_who_is_refused_too_often_waits_and_the_holder_of_the_key_does_not(tmp_path: Path) -> None:
    async with api_desk(tmp_path, patience=Patience(refused=3)) as api:
        wrong = api.keys[Role.ADMIN][:-1] + ("A" if api.keys[Role.ADMIN][-1] != "A" else "B")
        for _ in range(3):
            assert (await api.client.get("/api/v1/whoami", headers={"X-API-Key": wrong})).status_code == 401
        locked = await api.client.get("/api/v1/whoami", headers={"X-API-Key": wrong})
        assert (locked.status_code, locked.headers["Retry-After"]) == (429, "30")
        assert (await api.ask("POST", "/risk/halt", json={"account": "paper"})).status_code == 200
        async with client_of(api.app, "10.0.0.9") as other:
            sound = {"X-API-Key": api.keys[Role.ADMIN]}
            assert (await other.get("/api/v1/whoami", headers=sound)).status_code == 200


async def test_refused_attempts_are_events_without_the_key(api: ApiDesk) -> None:
    await api.client.get("/api/v1/whoami", headers={"X-API-Key": api.keys[Role.ADMIN][:-3] + "AAA"})
    async with api.store.transaction(TenantId("default")) as tx:
        events = await tx.find(EventRow, {"kind": EventKind.ACCESS_REFUSED})
    assert [event.after for event in events] == [WhyRefused.WRONG_KEY]
    assert api.keys[Role.ADMIN][20:] not in str(events)


async def test_without_a_database_the_api_says_so_and_health_answers(tmp_path: Path) -> None:
    async with api_desk(tmp_path) as api:
        bare = Desk(config=api.desk.config, clock=ManualClock(api.clock.now()), secrets=SECRETS)
        async with client_of(create_app(bare)) as client:
            answer = await client.get("/api/v1/status", headers={"X-API-Key": api.keys[Role.ADMIN]})
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
            assert (await client.get("/healthz")).json()["status"] == "starting"
            assert (await client.get("/readyz")).status_code == 503
