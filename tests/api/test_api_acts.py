"""Acts over the API: once for each key, only from the version that was read, refused with field, value and mend."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from api_desk import ApiDesk, api_desk
from desk_factory import BTC
from manager.state.kinds import EventKind, Role
from manager.state.records import DEFAULT_TENANT, EventRow, TraderRow
from manager.state.store import Store

NEW: Final[dict[str, Any]] = {
    "id": "late",
    "exchange": "paper",
    "executor": {"type": "baseline", "style": "trend"},
    "symbols": [BTC],
    "decision_interval": "3m",
    "risk_params": {"min_confidence": 80.5},
}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ApiDesk]:
    async with api_desk(tmp_path) as served:
        yield served


async def rows(api: ApiDesk, kind: type[Any], **where: Any) -> list[Any]:
    async with api.store.transaction(DEFAULT_TENANT) as tx:
        return list(await tx.find(kind, where))


async def test_a_trader_is_made_read_changed_moved_and_dismissed(api: ApiDesk) -> None:
    made = await api.ask("POST", "/traders", json=NEW | {"reason": "for the night"})
    assert (made.status_code, made.headers["Location"]) == (201, "/api/v1/traders/late")
    read = await api.ask("GET", "/traders/late/definition")
    assert read.headers["ETag"] == made.headers["ETag"]
    assert read.json()["definition"]["risk_params"]["min_confidence"] == "80.5"
    assert (
        await api.ask("GET", "/traders/late/definition", headers={"If-None-Match": read.headers["ETag"]})
    ).text == ""
    change = {"risk_params": {"max_positions": 2}, "allocation_pct": "0", "reason": "fewer"}
    changed = await api.ask("PATCH", "/traders/late", json=change, headers={"If-Match": read.headers["ETag"]})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != read.headers["ETag"]
    limits = (await rows(api, TraderRow, trader_id="late"))[0].spec.limits
    assert (limits.max_positions, str(limits.min_confidence)) == (2, "80.5")
    stale = await api.ask("PATCH", "/traders/late", json=change, headers={"If-Match": read.headers["ETag"]})
    assert (stale.status_code, stale.json()["type"]) == (412, "/problems/version-moved")
    for act, state in (("pause", "paused"), ("resume", "running"), ("stop", "stopped"), ("start", "running")):
        moved = await api.ask("POST", f"/traders/late/{act}", json={"reason": act})
        assert (moved.status_code, moved.json()["state"]) == (200, state)
    again = await api.ask("POST", "/traders/late/start", json={})
    assert (again.status_code, again.json()["type"]) == (409, "/problems/illegal-move")
    gone = await api.ask("DELETE", "/traders/late", params={"reason": "done"})
    assert gone.json() == {"trader_id": "late", "outcome": "removed"}
    assert (await api.ask("GET", "/traders/late")).status_code == 404
    told = [event.reason for event in await rows(api, EventRow, trader_id="late")]
    assert sorted(told) == sorted(["for the night", "fewer", "pause", "resume", "stop", "start", "done"])


async def test_a_change_names_the_version_that_was_read(api: ApiDesk) -> None:
    missing = await api.ask("PATCH", "/traders/one", json={"name": "First"})
    assert (missing.status_code, missing.json()["errors"][0]["field"]) == (428, "header.If-Match")
    assert (
        await api.ask("PATCH", "/traders/one", json={"name": "First"}, headers={"If-Match": "*"})
    ).status_code == 200


async def test_a_wrong_definition_says_every_field_value_and_mend(api: ApiDesk) -> None:
    wrong = NEW | {"id": "a b", "exchange": "nowhere", "decision_interval": "3x", "risk_params": {"max_positions": 0}}
    answer = await api.ask("POST", "/traders", json=wrong)
    problem = answer.json()
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
    fields = {one["field"]: one["value"] for one in problem["errors"]}
    assert fields == {
        "id": "'a b'",
        "exchange": "'nowhere'",
        "decision_interval": "'3x'",
        "risk_params.max_positions": "0",
    }
    assert all(one["mend"] for one in problem["errors"])
    assert await rows(api, TraderRow, trader_id="late") == []


@pytest.mark.parametrize(
    "executor",
    [
        {"type": "llm", "model": "m", "api_key": "${DATABASE_URL}"},
        {"type": "llm", "model": "m", "api_key": "sk-typed-here"},
        {"type": "remote", "url": "https://decide.example.com", "key": "sk-typed-here"},
    ],
)
async def test_no_key_and_no_variable_of_the_host_enters_by_a_definition(api: ApiDesk, executor: Any) -> None:
    answer = await api.ask("POST", "/traders", json=NEW | {"executor": executor})
    assert answer.status_code == 422
    assert "sk-typed-here" not in answer.text


async def test_a_key_does_its_act_once_and_nothing_else(api: ApiDesk) -> None:
    once: dict[str, Any] = {"headers": {"Idempotency-Key": "k-1"}, "json": {"reason": "lunch"}}
    first, second = [await api.ask("POST", "/traders/one/pause", **once) for _ in range(2)]
    assert (first.status_code, second.status_code, second.json()) == (200, 200, first.json())
    assert (first.headers.get("Idempotency-Replayed"), second.headers["Idempotency-Replayed"]) == (None, "true")
    other = await api.ask("POST", "/traders/one/pause", headers={"Idempotency-Key": "k-1"}, json={"reason": "dinner"})
    assert (other.status_code, other.json()["type"]) == (422, "/problems/act-key-refused")
    events = [event for event in await rows(api, EventRow, trader_id="one") if event.kind == EventKind.TRADER_STATE]
    assert len(events) == 1


@pytest.mark.database
async def test_twenty_twins_of_one_post_make_one_trader(tmp_path: Path, postgres_store: Store) -> None:
    async with api_desk(tmp_path, store=postgres_store) as api:
        asks = [api.ask("POST", "/traders", json=NEW, headers={"Idempotency-Key": "k-1"}) for _ in range(20)]
        answers = await asyncio.gather(*asks)
        found = {answer.status_code for answer in answers}
        assert found <= {201, 409}, [answer.text for answer in answers]
        assert 201 in found
        later = await api.ask("POST", "/traders", json=NEW, headers={"Idempotency-Key": "k-1"})
        made = next(answer for answer in answers if answer.status_code == 201)
        assert (later.status_code, later.json()["version"]) == (201, made.json()["version"])
        assert len(await rows(api, TraderRow, trader_id="late")) == 1
        kinds = [event.kind for event in await rows(api, EventRow, trader_id="late")]
        assert kinds == [EventKind.TRADER_REGISTERED]


async def test_a_flatten_needs_the_token_of_its_own_dry_run_of_the_last_minute(api: ApiDesk) -> None:
    plan = (await api.ask("GET", "/flatten", params={"account": "paper", "then": "stop"})).json()
    body = {"account": "paper", "then": "stop", "confirm": plan["confirm"]}
    assert (await api.ask("POST", "/flatten", json=body | {"then": "halt"})).status_code == 409
    assert (await api.ask("POST", "/flatten", json=body | {"account": "", "trader": "one"})).status_code == 409
    assert (await api.ask("POST", "/flatten", json=body, role=Role.VIEWER)).status_code == 403
    api.clock.set(api.clock.now() + timedelta(seconds=61))
    late = await api.ask("POST", "/flatten", json=body)
    assert (late.status_code, "older than 60 s" in late.text) == (409, True)
    body["confirm"] = (await api.ask("GET", "/flatten", params={"account": "paper", "then": "stop"})).json()["confirm"]
    done = await api.ask("POST", "/flatten", json=body)
    assert (done.status_code, done.json()["stopped"]) == (202, ["one", "two"])
    [part] = done.json()["parts"]
    progress = await api.ask("GET", f"/flatten/{part['flatten_id']}")
    assert (progress.status_code, progress.json()["left"]) == (200, [])
    assert (await api.ask("POST", "/flatten/cancel", json={"account": "paper"})).status_code in (200, 404)


async def test_both_a_trader_and_an_account_are_no_scope(api: ApiDesk) -> None:
    answer = await api.ask("GET", "/flatten", params={"account": "paper", "trader": "one"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body.account")


async def test_what_is_not_known_of_a_query_is_refused(api: ApiDesk) -> None:
    answer = await api.ask("GET", "/trades", params={"tradre": "one"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "query.tradre")
    naive = await api.ask("GET", "/trades", params={"since": "2026-03-01T00:00:00"})
    assert (naive.status_code, naive.json()["errors"][0]["field"]) == (422, "query.since")


async def test_pages_follow_one_another_and_tell_each_trader_once(api: ApiDesk) -> None:
    for number in range(7):
        await api.ask("POST", "/traders", json=NEW | {"id": f"t{number}"})
    told: list[str] = []
    after = ""
    while True:
        page = (await api.ask("GET", "/traders", params={"limit": 3, "sort": "pnl", "after": after})).json()
        told += [one["id"] for one in page["traders"]]
        after = page["next"]
        if not after:
            break
    assert sorted(told) == sorted(["one", "two", *(f"t{number}" for number in range(7))])
    assert (await api.ask("GET", "/traders", params={"sort": "id", "after": "nonsense"})).status_code == 422


async def test_each_scope_is_switched_and_the_service_only_by_its_admin(api: ApiDesk) -> None:
    for body in ({"trader": "one"}, {"account": "paper"}, {}, {"service": True}):
        for act, state in (("halt", "halted"), ("reduce", "reducing"), ("resume", "active")):
            done = await api.ask("POST", f"/risk/{act}", json=body | {"reason": "try"})
            assert (done.status_code, done.json()["now"]["state"]) == (200, state), done.text
    refused = await api.ask("POST", "/risk/halt", json={"service": True}, role=Role.ADMIN)
    assert (refused.status_code, "service_admin" in refused.text) == (403, True)
    await api.ask("POST", "/risk/halt", json={"trader": "one", "reason": "odd"})
    states = (await api.ask("GET", "/risk/trading")).json()["scopes"]
    assert [(one["scope"], one["name"], one["state"], one["reason"]) for one in states][-1] == (
        "trader",
        "one",
        "halted",
        "odd",
    )


async def test_a_key_is_made_once_shown_and_never_above_the_role_of_its_maker(api: ApiDesk) -> None:
    made = await api.ask("POST", "/keys", json={"name": "grafana", "role": "viewer"}, role=Role.ADMIN)
    assert made.status_code == 201
    text, key_id = made.json()["api_key"], made.json()["key"]["key_id"]
    assert (await api.client.get("/api/v1/whoami", headers={"X-API-Key": text})).json()["name"] == "grafana"
    assert text not in (await api.ask("GET", "/keys")).text
    assert (
        await api.ask("POST", "/keys", json={"name": "x", "role": "service_admin"}, role=Role.ADMIN)
    ).status_code == 403
    rotated = (await api.ask("POST", f"/keys/{key_id}/rotate", json={})).json()["api_key"]
    assert (await api.client.get("/api/v1/whoami", headers={"X-API-Key": text})).status_code == 401
    assert (await api.client.get("/api/v1/whoami", headers={"X-API-Key": rotated})).status_code == 200
    gone = await api.ask("POST", f"/keys/{rotated.split('_')[1]}/revoke", json={"reason": "lost"})
    assert (gone.status_code, gone.json()["state"]) == (200, "revoked")
    assert (await api.client.get("/api/v1/whoami", headers={"X-API-Key": rotated})).status_code == 401


@pytest.mark.parametrize(
    "path", ["decisions", "intents", "orders", "conflicts", "risk/verdicts", "trades", "operations"]
)
async def test_a_trader_is_known_before_it_has_a_book(api: ApiDesk, path: str) -> None:
    await api.ask("POST", "/traders", json=NEW)
    assert (await api.ask("GET", f"/{path}", params={"trader": "late"})).status_code == 200
    assert (await api.ask("GET", f"/{path}", params={"trader": "nobody"})).status_code == 404
    assert (await api.ask("GET", "/accounts/paper/series", params={"trader": "late"})).json()["points"] == []


async def test_no_role_ends_or_replaces_the_key_of_one_above_it(api: ApiDesk) -> None:
    above = api.keys[Role.SERVICE_ADMIN].split("_")[1]
    for act in ("revoke", "rotate"):
        assert (await api.ask("POST", f"/keys/{above}/{act}", json={}, role=Role.ADMIN)).status_code == 403
    assert (await api.ask("GET", "/whoami")).status_code == 200


async def test_a_switch_takes_no_key_because_it_would_not_count(api: ApiDesk) -> None:
    for act in ("halt", "reduce", "resume"):
        answer = await api.ask("POST", f"/risk/{act}", json={"account": "paper"}, headers={"Idempotency-Key": "k"})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "header.Idempotency-Key")


@pytest.mark.database
async def test_of_two_changes_from_one_version_one_is_refused(tmp_path: Path, postgres_store: Store) -> None:
    async with api_desk(tmp_path, store=postgres_store) as api:
        read = await api.ask("GET", "/traders/one/definition")
        match = {"If-Match": read.headers["ETag"]}
        bodies: list[dict[str, Any]] = [{"risk_params": {"max_positions": 1}}, {"name": "First"}, {"author": "ann"}]
        asks = [api.ask("PATCH", "/traders/one", json=body, headers=match) for body in bodies]
        found = sorted(answer.status_code for answer in await asyncio.gather(*asks))
        assert found == [200, 412, 412]


@pytest.mark.database
async def test_of_two_ends_of_one_key_one_counts(tmp_path: Path, postgres_store: Store) -> None:
    async with api_desk(tmp_path, store=postgres_store) as api:
        made = await api.ask("POST", "/keys", json={"name": "grafana", "role": "viewer"})
        key_id = made.json()["key"]["key_id"]
        asks = [api.ask("POST", f"/keys/{key_id}/{act}", json={}) for act in ("rotate", "revoke", "rotate")]
        assert sorted(answer.status_code for answer in await asyncio.gather(*asks)) == [200, 409, 409]
