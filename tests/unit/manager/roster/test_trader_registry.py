"""Definitions: what is taken on, what may change, and what a sync with a config does."""

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from config_files import SOUND, changed, write_config
from desk_factory import AT, BTC, ETH, make_spec
from exchanges.clock import ManualClock
from executor.contract import Limits
from executor.registry import ExecutorSpec, ExecutorType
from manager.config import Config, load_config
from manager.errors import RegistrationError, UnknownAccount, UnknownTrader
from manager.manager import Manager
from manager.roster.registration import registration_check
from manager.spending.meter import Spending
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, EventRow, ScheduleRow, StateCode, TraderRow, TraderState
from manager.state.spending import BudgetRow
from traders.spec import ManagedBy, TraderId, TraderSpec

KEYED = """\
  - id: keyed
    exchange: paper
    executor: {type: llm, model: m, api_key: "${DESK_KEY}", base_url: "http://127.0.0.1:9/v1"}
    prompt_template: prompts/general.md
    symbols: ["BTC/USDT:USDT"]
    decision_interval: 1m
"""


class Desk:
    """A manager on a memory store, with the config it registers against."""

    def __init__(self, folder: Path, text: str = SOUND) -> None:
        self.folder = folder
        self.store = MemoryStore()
        self.clock = ManualClock(AT)
        self.config = self.load(text)
        self.manager = Manager(self.store, self.clock, registration_check(self.config))

    def load(self, text: str, env: Mapping[str, str] | None = None) -> Config:
        return load_config(write_config(self.folder, text), env or {})

    async def sync(self, text: str = SOUND, env: Mapping[str, str] | None = None) -> Any:
        config = self.load(text, env)
        return await Manager(self.store, self.clock, registration_check(config)).sync(config)

    def later(self) -> None:
        self.clock.set(self.clock.now() + timedelta(minutes=1))

    async def rows(self, kind: type[Any]) -> dict[str, Any]:
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            found = await tx.find(kind, {})
        return {row.event_id if kind is EventRow else row.trader_id: row for row in found}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def api_spec(**changes: Any) -> TraderSpec:
    return make_spec("api", **{"symbols": (BTC,), "managed_by": ManagedBy.API, "allocation_pct": Decimal(0), **changes})


WRONG: list[tuple[str, dict[str, Any], type[Exception]]] = [
    ("is reserved", {"id": "EXTERNAL"}, RegistrationError),
    ("1 to 64 letters", {"id": "a b"}, RegistrationError),
    ("taken by one", {"id": "ONE"}, RegistrationError),
    ("exchange is 'nowhere': no such account", {"account": "nowhere"}, UnknownAccount),
    ("name is ' '", {"name": " "}, RegistrationError),
    ("symbols is an empty list", {"symbols": ()}, RegistrationError),
    ("symbols[0] is 'PEPE/USDT'", {"symbols": ("PEPE/USDT",)}, RegistrationError),
    ("symbols[1] is 'BTC/USDT:USDT': is listed twice", {"symbols": (BTC, BTC)}, RegistrationError),
    ("decision_interval is '0s'", {"decision_interval_s": 0}, RegistrationError),
    ("allocations of account paper add up to 101 %", {"allocation_pct": Decimal(1)}, RegistrationError),
    ("allocation_pct is -1", {"allocation_pct": Decimal(-1)}, RegistrationError),
    ("risk_params.max_positions is 0", {"limits": Limits(max_positions=0)}, RegistrationError),
    (
        "risk_params.max_position_size_usd is NaN",
        {"limits": Limits(max_position_size_usd=Decimal("NaN"))},
        RegistrationError,
    ),
    ("risk_params.altcoin_leverage is 0", {"limits": Limits(altcoin_leverage=0)}, RegistrationError),
    ("executor.style is 'lucky'", {"executor": ExecutorSpec(style="lucky")}, RegistrationError),
    ("for a replay", {"executor": ExecutorSpec(type=ExecutorType.RECORDED)}, RegistrationError),
    (
        "executor.model is empty",
        {"executor": ExecutorSpec(type=ExecutorType.LLM, base_url="http://h")},
        RegistrationError,
    ),
    ("prompts/none.md", {"executor": ExecutorSpec(prompt_template="prompts/none.md")}, RegistrationError),
]


@pytest.mark.parametrize(("said", "fields", "error"), WRONG, ids=[said for said, _, _ in WRONG])
async def test_a_wrong_definition_is_refused_and_nothing_is_stored(
    desk: Desk, said: str, fields: dict[str, Any], error: type[Exception]
) -> None:
    await desk.sync()
    with pytest.raises(error, match=re.escape(said)):
        await desk.manager.register(DEFAULT_TENANT, api_spec(**fields), actor="test")
    assert set(await desk.rows(TraderRow)) == {"one", "two"}


async def test_a_registered_trader_runs_and_first_decides_within_its_interval_and_ten_seconds(desk: Desk) -> None:
    for interval in (3, 3600):
        spec = api_spec(id=f"every{interval}", decision_interval_s=interval)
        row = await desk.manager.register(DEFAULT_TENANT, spec, actor="test", reason="why not")
        schedule = (await desk.rows(ScheduleRow))[spec.id]
        assert row.state is TraderState.RUNNING
        assert 0 <= (schedule.next_due_at - AT).total_seconds() < min(interval, 10)
        assert 0 <= schedule.phase_s < interval
    events = (await desk.rows(EventRow)).values()
    assert [(event.kind, event.actor, event.reason) for event in events] == [
        ("trader_registered", "test", "why not")
    ] * 2


async def test_one_that_does_not_start_by_itself_has_no_due_time(desk: Desk) -> None:
    row = await desk.manager.register(DEFAULT_TENANT, api_spec(auto_start=False), actor="test")
    assert (row.state, (await desk.rows(ScheduleRow))["api"].next_due_at) == (TraderState.STOPPED, None)


async def test_the_allowed_fields_change_and_a_new_interval_moves_the_schedule(desk: Desk) -> None:
    await desk.sync()
    before = (await desk.rows(ScheduleRow))["one"]
    changes = {"name": "First", "symbols": [ETH], "decision_interval": "7s", "allocation_pct": 10}
    await desk.manager.update(DEFAULT_TENANT, TraderId("one"), changes, actor="test")
    spec, schedule = (await desk.rows(TraderRow))["one"].spec, (await desk.rows(ScheduleRow))["one"]
    assert (spec.name, spec.symbols, spec.decision_interval_s, spec.allocation_pct) == ("First", (ETH,), 7, 10)
    assert schedule.interval_s == 7
    assert schedule.phase_s < 7
    assert schedule.next_due_at != before.next_due_at


async def test_an_update_is_an_event_that_names_what_changed_in_plain_words(desk: Desk) -> None:
    await desk.sync()
    changes = {
        "name": "First",
        "symbols": [ETH],
        "allocation_pct": Decimal("1E+1"),
        "risk_params": {"max_positions": 2},
    }
    await desk.manager.update(DEFAULT_TENANT, TraderId("one"), changes, actor="test")
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        [event] = await tx.find(EventRow, {"kind": "trader_updated"})
    old = "BTC/USDT:USDT"
    assert (event.before, event.after.split("; ")) == (
        "",
        [
            "name: one -> First",
            f"symbols: {old} -> {ETH}",
            "allocation_pct: 60 -> 10",
            "limits.max_positions: 3 -> 2",
        ],
    )


async def test_an_update_is_checked_like_a_registration(desk: Desk) -> None:
    await desk.sync()
    with pytest.raises(RegistrationError, match="add up to 101 %"):
        await desk.manager.update(DEFAULT_TENANT, TraderId("one"), {"allocation_pct": 61}, actor="test")
    with pytest.raises(UnknownTrader):
        await desk.manager.update(DEFAULT_TENANT, TraderId("nobody"), {"name": "x"}, actor="test")
    assert (await desk.rows(TraderRow))["one"].spec.allocation_pct == 60


async def test_no_words_of_an_operator_undo_his_own_stop(desk: Desk) -> None:
    await desk.sync()
    await desk.manager.stop(DEFAULT_TENANT, TraderId("two"), actor="me", reason="no longer in the config")
    assert (await desk.sync()).returned == ()
    row = (await desk.rows(TraderRow))["two"]
    assert (row.state, row.state_reason) == (TraderState.STOPPED, "no longer in the config")
    changes = {"allocation_pct": 61}
    with pytest.raises(RegistrationError, match="add up to 101 %"):
        await desk.manager.update(DEFAULT_TENANT, TraderId("one"), changes, actor="test")
    assert (await desk.manager.start(DEFAULT_TENANT, TraderId("two"), actor="me")).state is TraderState.RUNNING


async def test_what_a_config_no_longer_has_is_known_by_its_code_until_it_comes_back(desk: Desk) -> None:
    await desk.sync()
    await desk.sync(SOUND[: SOUND.index("  - id: two")])
    assert (await desk.rows(TraderRow))["two"].state_code is StateCode.REMOVED_FROM_CONFIG
    await desk.sync()
    assert (await desk.rows(TraderRow))["two"].state_code is StateCode.NONE


async def test_a_sync_registers_updates_stops_and_takes_back(desk: Desk) -> None:
    assert (await desk.sync()).registered == ("default/one", "default/two")
    assert await desk.sync() == type(await desk.sync())()
    without_two = SOUND[: SOUND.index("  - id: two")]
    report = await desk.sync(without_two.replace("decision_interval: 3m", "decision_interval: 1m"))
    assert (report.updated, report.stopped) == (("default/one",), ("default/two",))
    rows = await desk.rows(TraderRow)
    assert (rows["two"].state, rows["one"].spec.decision_interval_s) == (TraderState.STOPPED, 60)
    with pytest.raises(RegistrationError, match="no longer in the config"):
        await desk.manager.start(DEFAULT_TENANT, TraderId("two"), actor="test")
    assert (await desk.sync()).returned == ("default/two",)
    assert (await desk.rows(TraderRow))["two"].state is TraderState.RUNNING


WITHOUT_TWO = SOUND[: SOUND.index("  - id: two")]


async def test_a_pause_outlasts_an_absence_from_the_config(desk: Desk) -> None:
    await desk.sync()
    await desk.manager.pause(DEFAULT_TENANT, TraderId("two"), actor="test", reason="not before the news")
    for _ in range(2):
        desk.later()
        assert (await desk.sync(WITHOUT_TWO)).stopped == ("default/two",)
        desk.later()
        assert (await desk.sync()).returned == ("default/two",)
        row = (await desk.rows(TraderRow))["two"]
        assert (row.state, row.state_reason) == (TraderState.PAUSED, "not before the news")
    assert (await desk.sync()).returned == ()
    await desk.manager.resume(DEFAULT_TENANT, TraderId("two"), actor="test")


async def test_a_trader_that_comes_back_and_is_not_to_start_by_itself_can_be_started(desk: Desk) -> None:
    waits = SOUND + "    auto_start: false\n"
    await desk.sync()
    desk.later()
    await desk.sync(WITHOUT_TWO)
    desk.later()
    await desk.sync(waits)
    assert (await desk.rows(TraderRow))["two"].state is TraderState.STOPPED
    assert (await desk.manager.start(DEFAULT_TENANT, TraderId("two"), actor="test")).state is TraderState.RUNNING


async def test_a_share_that_left_the_config_is_free_again(desk: Desk) -> None:
    await desk.sync()
    report = await desk.sync(changed("id: two", "id: three"))
    assert (report.registered, report.stopped) == (("default/three",), ("default/two",))


async def test_a_sync_leaves_traders_of_the_api_and_stopped_ones_as_they_are(desk: Desk) -> None:
    await desk.sync()
    await desk.manager.register(DEFAULT_TENANT, api_spec(), actor="test")
    await desk.manager.stop(DEFAULT_TENANT, TraderId("one"), actor="test", reason="enough")
    before = await desk.rows(TraderRow)
    await desk.sync()
    assert await desk.rows(TraderRow) == before


@pytest.mark.parametrize(
    ("given", "said"), [("id: api", "managed by the API"), ("id: API", "taken by api")], ids=["same", "other case"]
)
async def test_a_config_cannot_take_over_a_trader_of_the_api(desk: Desk, given: str, said: str) -> None:
    await desk.sync()
    await desk.manager.register(DEFAULT_TENANT, api_spec(), actor="test")
    before = await desk.rows(TraderRow)
    with pytest.raises(RegistrationError, match=said):
        await desk.sync(changed("id: two", given))
    assert await desk.rows(TraderRow) == before


async def test_a_trader_cannot_move_to_another_account(desk: Desk) -> None:
    await desk.sync()
    second = "  other: {type: paper, market: {type: synthetic, seed: 8}}\ntraders:"
    moved = SOUND.replace("traders:", second, 1).replace("exchange: paper", "exchange: other", 1)
    with pytest.raises(RegistrationError, match="its books are on paper"):
        await desk.sync(moved)


async def test_neither_key_nor_reference_reaches_the_store(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    await desk.sync(SOUND + KEYED, {"DESK_KEY": "sk-very-secret"})
    stored = await desk.rows(TraderRow)
    assert stored["keyed"].spec.executor.api_key == ""
    assert "DESK_KEY" not in repr(await desk.rows(EventRow))
    assert (await desk.sync(SOUND + KEYED, {"DESK_KEY": "another"})).updated == ()


MODELS = """\
models:
  priced: {base_url: "http://127.0.0.1:9/v1", model: x, price_per_mtok: {input: 1, output: 1}, CAP}
  free: {base_url: "http://127.0.0.1:9/v1", model: y}
""".replace("CAP", "extra_body: {max_tokens: 9}")


def budgets(given: str) -> str:
    return f"budgets: {{{given}}}\n{MODELS}{SOUND}"


@pytest.mark.parametrize("given", ["tenant_usd_per_day: 1", "trader_usd_per_day: 1"])
async def test_a_budget_that_comes_later_is_held_against_traders_of_the_api(tmp_path: Path, given: str) -> None:
    desk = Desk(tmp_path, MODELS + SOUND)
    await desk.sync(MODELS + SOUND)
    for name in ("priced", "free"):
        asks = ExecutorSpec(type=ExecutorType.LLM, model=name, prompt_template="prompts/general.md")
        await desk.manager.register(DEFAULT_TENANT, api_spec(id=name, executor=asks), actor="me")
    assert {row.spec.executor.budget_usd_per_day for row in (await desk.rows(TraderRow)).values()} == {None}
    with pytest.raises(RegistrationError, match=r"trader free: .*'free' without a price"):
        await desk.sync(budgets(given))
    assert await _stored_budgets(desk) == {}
    await desk.manager.unregister(DEFAULT_TENANT, TraderId("free"), actor="me")
    await desk.sync(budgets(given))
    assert set((await _stored_budgets(desk)).values()) == {1}


async def test_the_default_budget_counts_for_traders_that_were_added_before_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path, MODELS + SOUND)
    asks = ExecutorSpec(type=ExecutorType.LLM, model="priced", prompt_template="prompts/general.md")
    row = await desk.manager.register(DEFAULT_TENANT, api_spec(executor=asks), actor="me")
    for usd in (1, 2):
        spending = Spending(desk.store, desk.clock, desk.load(budgets(f"trader_usd_per_day: {usd}")))
        budgets_of_call = spending.budgets(DEFAULT_TENANT, row.spec, "priced", None)
        assert [budget.usd for budget in budgets_of_call] == [None, usd, None]


async def test_a_sync_stores_the_budgets_of_the_config_and_no_others(desk: Desk) -> None:
    own = "y, budget_usd_per_day: 3, price_per_mtok: {input: 0, output: 0}}"
    await desk.sync(budgets("tenant_usd_per_day: 9, trader_usd_per_day: 2").replace("y}", own))
    assert await _stored_budgets(desk) == {("tenant", ""): 9, ("trader", ""): 2, ("model", "free"): 3}
    await desk.sync(budgets("tenant_usd_per_day: 8"))
    assert await _stored_budgets(desk) == {("tenant", ""): 8}


async def _stored_budgets(desk: Desk) -> dict[tuple[str, str], Decimal]:
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        return {(row.scope, row.name): row.usd for row in await tx.find(BudgetRow, {})}
