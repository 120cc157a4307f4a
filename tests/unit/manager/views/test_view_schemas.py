"""Each view has a stable JSON form: a schema that is checked in, and values that it accepts and gives back."""

import json
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from desk_history import AT, DECISION, ENTRY, STOP, desk_with_history, incident, round_trip
from executor.contract import Action, Decision, FullDecision, Usage
from executor.prompts.sample import sample_context
from manager.state.access import ApiKeyRow
from manager.state.records import DEFAULT_TENANT
from manager.state.spending import BudgetRow
from manager.state.store import Store
from manager.views.costs import CostPage, CostQuery, read_model_costs
from manager.views.events import EventPage, EventQuery, read_events
from manager.views.incidents import IncidentPage, IncidentQuery, read_incidents
from manager.views.keys import KeyPage, KeyQuery, read_keys
from manager.views.operations import OperationPage, OperationQuery, read_operations
from manager.views.pages import jsonable
from manager.views.performance import PerformancePage, PerformanceQuery, read_performance
from manager.views.prompt_diff import Comparison, Difference, Totals
from manager.views.status import StatusPage, StatusQuery, read_status
from manager.views.trader import TraderPage, TraderQuery, read_trader
from manager.views.trades import TradePage, TradeQuery, read_trades
from manager.views.why import Story, read_story
from state_rows import make_row
from traders.spec import TraderId

SCHEMAS = Path(__file__).parent / "schemas"
RENEW = "PROPDESK_RENEW_SCHEMAS"
VIEWS: dict[str, Any] = {
    "status": StatusPage,
    "operations": OperationPage,
    "why": Story,
    "incidents": IncidentPage,
    "costs": CostPage,
    "events": EventPage,
    "prompt_diff": Comparison,
    "performance": PerformancePage,
    "trades": TradePage,
    "trader": TraderPage,
    "keys": KeyPage,
}
READ: dict[str, Callable[[Store], Awaitable[Any]]] = {
    "status": lambda store: read_status(store, DEFAULT_TENANT, StatusQuery(now=AT + timedelta(seconds=5))),
    "operations": lambda store: read_operations(store, DEFAULT_TENANT, OperationQuery(sound_decisions=True, limit=4)),
    "why": lambda store: read_story(store, DEFAULT_TENANT, ENTRY),
    "why-stop": lambda store: read_story(store, DEFAULT_TENANT, STOP),
    "why-decision": lambda store: read_story(store, DEFAULT_TENANT, DECISION),
    "incidents": lambda store: read_incidents(store, DEFAULT_TENANT, IncidentQuery()),
    "costs": lambda store: read_model_costs(store, DEFAULT_TENANT, CostQuery(now=AT)),
    "events": lambda store: read_events(store, DEFAULT_TENANT, EventQuery()),
    "performance": lambda store: read_performance(store, DEFAULT_TENANT, PerformanceQuery(now=AT)),
    "trader": lambda store: read_trader(store, DEFAULT_TENANT, TraderQuery(now=AT, trader_id=TraderId("bull"))),
    "trades": lambda store: read_trades(store, DEFAULT_TENANT, TradeQuery(limit=1)),
    "keys": lambda store: read_keys(store, DEFAULT_TENANT, KeyQuery(now=AT)),
    "trades-open": lambda store: read_trades(store, DEFAULT_TENANT, TradeQuery(open_only=True)),
}


def _plain(schema: Any) -> Any:
    """Leave out what says no more than docstrings do."""
    if isinstance(schema, dict):
        return {name: _plain(part) for name, part in schema.items() if name != "description" or isinstance(part, dict)}
    return [_plain(part) for part in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize("view", VIEWS)
def test_the_schema_of_a_view_is_the_one_that_is_checked_in(view: str) -> None:
    file = SCHEMAS / f"{view}.json"
    schema = json.dumps(_plain(TypeAdapter(VIEWS[view]).json_schema(mode="serialization")), indent=1, sort_keys=True)
    if os.environ.get(RENEW):
        file.write_text(f"{schema}\n", encoding="utf-8")
    assert file.exists(), f"{file} is missing; write it with {RENEW}=1 in the environment of this test"
    assert f"{schema}\n" == file.read_text(encoding="utf-8"), (
        f"the JSON of {VIEWS[view].__name__} has changed, on which programs of users rely; if that is meant, and "
        f"nothing they read was renamed or taken away, run this test once with {RENEW}=1 and commit {file.name}"
    )


@pytest.mark.parametrize("read", READ)
async def test_what_a_view_prints_is_of_its_schema_and_reads_back_the_same(read: str) -> None:
    store = await desk_with_history(incident(), *round_trip("one", "bear", AT), *round_trip("two", "bull", AT))
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([make_row(ApiKeyRow, expires_at=AT, revoked_by="ann")])
        await tx.upsert([BudgetRow(tenant_id=DEFAULT_TENANT, scope="tenant", name="", usd=AT.year * Usage().cost_usd)])
    value = await READ[read](store)
    printed = json.dumps(jsonable(value), allow_nan=False)
    assert TypeAdapter(VIEWS[read.partition("-")[0]]).validate_json(printed) == value


def test_a_comparison_reads_back_the_same() -> None:
    context = sample_context()
    full = FullDecision(decisions=(Decision(symbol=context.symbols[0], action=Action.HOLD),))
    totals = Totals.of("a.md", [full])
    value = Comparison(
        contexts=1,
        first=totals,
        second=totals,
        rows=tuple(Difference.of(1, context, full, full)),
        compared=1,
        agreement_pct=100.0,
        prompts_read=False,
    )
    assert TypeAdapter(Comparison).validate_json(json.dumps(jsonable(value))) == value


def test_every_view_is_checked() -> None:
    assert {read.partition("-")[0] for read in READ} | {"prompt_diff"} == set(VIEWS)
    assert {file.stem for file in SCHEMAS.iterdir()} == set(VIEWS)
