"""What the reading commands print: JSON with exact decimals, plain text in a pipe."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest
from typer.testing import CliRunner, Result

from config_files import changed, write_config
from desk_history import AT, BTC, DECISION, ENTRY, INTENT, ROUND, STOP, desk_with_history, incident
from executor.contract import Action, Decision
from manager.cli import connect
from manager.cli.app import app
from manager.state.memory.store import MemoryStore
from manager.state.records import (
    DEFAULT_TENANT,
    AccountId,
    AccountRow,
    DecisionId,
    EventRow,
    IntentId,
    IntentRow,
    TraderRow,
)
from manager.state.store import Store
from traders.spec import ManagedBy, TraderId

T = TypeVar("T")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    memory = asyncio.run(desk_with_history(incident()))

    def with_memory(data_dir: Path, work: Callable[[Store], Awaitable[T]]) -> T:
        async def run() -> T:
            return await work(memory)

        return asyncio.run(run())

    def with_memory_desk(data_dir: Path, work: Callable[[Store, bool], Awaitable[T]]) -> T:
        return with_memory(data_dir, lambda store: work(store, True))

    monkeypatch.setattr(connect, "with_store", with_memory)
    monkeypatch.setattr(connect, "with_desk", with_memory_desk)
    return memory


def propdesk(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code in (0, 1, 2), result.exception
    return result


def read(*arguments: str) -> Any:
    result = propdesk(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def on_a_line(text: str) -> str:
    return " ".join(text.split())


def events(store: MemoryStore, kind: str) -> list[EventRow]:
    async def find() -> list[EventRow]:
        async with store.transaction(DEFAULT_TENANT) as tx:
            return list(await tx.find(EventRow, {"kind": kind}, newest_first="at"))

    return asyncio.run(find())


@pytest.mark.usefixtures("store")
def test_status_as_json_keeps_decimals_exact() -> None:
    [account] = read("status")["accounts"]
    assert account["equity"] == "10004.55"
    assert account["utilization"] == {
        "total": "10004.55", "allocated": "4500", "utilized": "201", "reserve": "1000.455",
        "utilization_pct": "4.4667", "over_allocated": ["bear"], "deficit": "0",
    }  # fmt: skip
    assert account["traders"][0]["last_decision"]["actions"] == ["open_long BTC/USDT:USDT"]
    assert account["positions"][0]["unrealized_pnl"] == "5.00"
    assert account["incidents"][0]["code"] == "POSITION_MISMATCH"


def test_status_without_a_worker_says_so_for_the_account_and_its_traders(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(data_dir: Path, work: Callable[[Store, bool], Awaitable[T]]) -> T:
        del data_dir

        async def run() -> T:
            return await work(store, False)

        return asyncio.run(run())

    monkeypatch.setattr(connect, "with_desk", nobody)
    said = propdesk("status").stdout
    assert "paper (paper): stopped\n  no worker runs; stops are not watched\n" in said
    assert "running (no worker runs)" in said


@pytest.mark.usefixtures("store")
def test_status_in_a_pipe_is_plain_and_whole() -> None:
    result = propdesk("status")
    assert "paper (paper): stopped" in result.stdout
    told = on_a_line(result.stdout)
    assert "unallocated 1,000.00; all at the marks of 2025-06-01 12:00:00 UTC, trading " in told
    use = "reserve 1,000.46, allocated 4,500.00; over their allocation: bear"
    assert f"as last sampled or rebalanced: {use}" in told
    assert "margin in use 201.00 (2.01 % of equity), open positions 1, traders running 1 of 2" in told
    assert "\x1b[" not in result.stdout
    row = next(line for line in result.stdout.splitlines() if line.startswith("bull") and "open_long" in line)
    assert "4,504.55" in row
    told = result.stdout.split("Incidents, open or of the last hour")[1]
    assert next(line.split() for line in told.splitlines() if "POSITION_MISMATCH" in line)[2] == "open"


@pytest.mark.usefixtures("store")
def test_why_tells_the_story_and_names_what_is_unknown() -> None:
    text = propdesk("why", ENTRY).stdout
    for part in ("gpt-test", "prompt hash: ab12", "the trend is up", "ema_20", "DIRECTION", "bull stands", "t-1"):
        assert part in text
    told = read("why", ENTRY)
    assert told["intents"][0]["market"][0]["mark"] == "100500"
    assert told["fills"][0]["fee"] == "0.45"
    missing = propdesk("why", "none")
    assert missing.exit_code == 2
    assert "there is no order, trade, intent or decision 'none'" in missing.stderr


def test_why_says_when_the_model_was_asked_for_what_and_where_its_prompt_is(store: MemoryStore) -> None:
    async def bound() -> None:
        async with store.transaction(DEFAULT_TENANT) as tx:
            intent = await tx.get(IntentRow, INTENT)
            assert intent is not None
            asked = replace(
                intent.decision,
                fraction=Decimal("0.5"),
                invalidation="a close below 98000",
                max_entry_price=Decimal(100_600),
                min_entry_price=Decimal(99_000),
                risk_usd=Decimal(20),
            )
            await tx.upsert([replace(intent, decision=asked)])

    asyncio.run(bound())
    told = propdesk("why", INTENT).stdout
    assert f"{DECISION} of bull: decided; asked 2025-06-01 11:59:58, ended 2025-06-01 12:00:00 UTC\n" in told
    assert f"prompt hash: ab12; its text: propdesk prompts sent {DECISION}\n" in told
    asked = on_a_line(told).partition(" asked: ")[2].partition(" because: ")[0]
    for part in (
        "risk 20.00 USD",
        "fraction 0.5",
        "entry at most 100600",
        "entry at least 99000",
        "invalid if a close",
    ):
        assert part in asked


@pytest.mark.usefixtures("store")
def test_why_explains_a_stop_a_trade_and_an_intent() -> None:
    stop = propdesk("why", STOP).stdout
    for part in (f"Intent {INTENT} of bull set the stop: consumed in round {ROUND}", "the trend is up", "1,000.00 USD"):
        assert part in stop
    row = next(line for line in stop.splitlines() if line.startswith("bull "))
    assert row.split()[2] == "5"
    assert propdesk("why", "t-1").stdout == propdesk("why", INTENT).stdout == propdesk("why", ENTRY).stdout


def test_a_close_is_told_without_what_it_does_not_say(store: MemoryStore) -> None:
    closing = IntentRow(
        tenant_id=DEFAULT_TENANT,
        account_id=AccountId("paper"),
        intent_id=IntentId("bull@9#0"),
        decision_id=DecisionId("bull@9"),
        trader_id=TraderId("bull"),
        decided_at=AT,
        decision=Decision(symbol=BTC, action=Action.CLOSE_LONG, confidence=Decimal(80)),
    )

    async def write() -> None:
        async with store.transaction(DEFAULT_TENANT) as tx:
            await tx.insert([closing])

    asyncio.run(write())
    lines = propdesk("why", closing.intent_id).stdout.splitlines()
    assert lines[0] == "An intent that led to no order."
    assert "  asked: close_long BTC/USDT:USDT, confidence 80" in lines


@pytest.mark.usefixtures("store")
def test_operations_can_be_narrowed_by_kind_and_trader() -> None:
    assert {one["kind"] for one in read("operations", "--kind", "order", "--kind", "conflict")["operations"]} == {
        "order",
        "conflict",
    }
    assert "lunch" in propdesk("operations", "--trader", "bear").stdout
    assert [one["ref"] for one in read("operations", "--kind", "decision")["operations"]] == [DECISION]
    assert "decision" not in {one["kind"] for one in read("operations")["operations"]}


@pytest.mark.usefixtures("store")
def test_an_order_is_one_row_with_a_short_id_that_why_takes() -> None:
    lines = propdesk("operations", "--kind", "order").stdout.splitlines()
    row = next(line for line in lines if ENTRY[:8] in line)
    assert row.split()[3:] == ["bull", "BTC/USDT:USDT", "entry", "buy", "0.01", "0.01", "100000", "0.45", "filled"]
    stop = next(line for line in lines if STOP[:8] in line)
    assert stop.split()[5:] == ["stop", "sell", "0.01", "0", "(98000)", "accepted"]
    assert propdesk("why", ENTRY[:8]).stdout == propdesk("why", ENTRY).stdout
    assert ENTRY in propdesk("operations", "--full").stdout
    assert propdesk("operations", "--since", "2h").stdout == "Operations: none\n"
    told = propdesk("operations", "--since", "2025-06-01T12:04:00Z", "--until", "2025-06-01T12:05:00Z").stdout
    assert len(told.splitlines()) == 4, told


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--since", "soon"), "write 15m, 2h or 3d for so long ago"),
        (("--since", "1h", "--until", "2h"), "is after --until"),
        (("--symbol", "BTC"), "no trader has the symbol 'BTC'; they have BTC/USDT:USDT"),
        (("--symbol", BTC, "--kind", "event"), "leave out --kind event"),
    ],
)
def test_operations_refuse_what_they_cannot_find(arguments: tuple[str, ...], told: str) -> None:
    result = propdesk("operations", *arguments)
    assert result.exit_code == 2
    assert told in on_a_line(result.stderr.replace("\u2502", ""))


def test_a_long_detail_is_whole_in_text_and_in_json(store: MemoryStore) -> None:
    changes = "executor.prompt_template: prompts/general.md -> prompts/grid.md; decision_interval_s: 60 -> 120; "
    event = EventRow(
        tenant_id=DEFAULT_TENANT,
        event_id="e9",
        at=AT,
        actor="cli:eve",
        kind="trader_updated",
        account_id=AccountId("paper"),
        trader_id=TraderId("bear"),
        after=changes * 3,
    )

    async def write() -> None:
        async with store.transaction(DEFAULT_TENANT) as tx:
            await tx.insert([event])

    asyncio.run(write())
    assert (changes * 3).strip() in on_a_line(propdesk("operations").stdout)
    assert changes * 3 in next(one["detail"] for one in read("operations")["operations"] if one["ref"] == "e9")


@pytest.mark.usefixtures("store")
def test_traders_are_listed_in_the_order_they_came() -> None:
    listed = read("traders", "list")["traders"]
    assert [(row["trader_id"], row["allocated_usd"]) for row in listed] == [("bull", "4500"), ("bear", "0")]
    header, *rows = propdesk("traders", "list").stdout.splitlines()[1:]
    assert "allocated USD" in header
    assert "%" not in header
    assert "4,500.00" in rows[0]
    assert "1m" in rows[0].split()


@pytest.mark.parametrize(("managed_by", "warned"), [(ManagedBy.CONFIG, True), (ManagedBy.API, False)])
def test_removing_a_trader_of_the_config_says_that_it_comes_back(
    store: MemoryStore, managed_by: ManagedBy, warned: bool
) -> None:
    async def manage() -> None:
        async with store.transaction(DEFAULT_TENANT) as tx:
            row = await tx.get(TraderRow, "bear")
            assert row is not None
            await tx.upsert([replace(row, spec=replace(row.spec, managed_by=managed_by))])

    asyncio.run(manage())
    said = propdesk("traders", "remove", "bear").stdout
    assert said.startswith("bear is removed.")
    assert ("it comes back at the next start unless you take it out of that file" in said) is warned


def test_a_move_is_kept_with_who_and_why(store: MemoryStore) -> None:
    moved = read("traders", "resume", "bear", "--reason", "back")
    assert moved["state"] == "running"
    newest = events(store, "trader_state")[0]
    assert (newest.before, newest.after, newest.reason) == ("paused", "running", "back")
    assert newest.actor.startswith("cli")


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["traders", "pause", "nobody"], 2, "there is no trader 'nobody'"),
        (["traders", "pause", "bear"], 1, "trader bear is paused already; nothing is changed"),
        (["traders", "remove", "bull"], 1, "holds BTC/USDT:USDT"),
        (["halt", "--account", "nope"], 2, "there is no account 'nope'"),
        (["operations", "--account", "nope"], 2, "there is no account 'nope'"),
        (["operations", "--trader", "nobody"], 2, "there is no trader 'nobody'"),
    ],
)
def test_an_act_that_cannot_be_done_says_why(arguments: list[str], code: int, words: str) -> None:
    result = propdesk(*arguments)
    assert result.exit_code == code
    assert words in result.stderr


def test_halt_and_resume_switch_every_account(store: MemoryStore) -> None:
    assert read("halt", "--reason", "news")["accounts"][0]["trading_state"] == "halted"
    assert read("resume")["accounts"][0]["trading_state"] == "active"
    assert [event.after for event in events(store, "trading_state")] == ["active", "halted"]


def test_switching_says_what_changed_and_resuming_what_is_active_records_nothing(store: MemoryStore) -> None:
    assert propdesk("resume").stdout == "paper is active already; nothing is changed.\n"
    assert events(store, "trading_state") == []
    assert propdesk("halt").stdout == "paper is halted: by hand (was active)\n"
    assert propdesk("halt").stdout == "paper is halted already (by hand); nothing is changed.\n"
    reduced = propdesk("reduce", "--reason", "calmer").stdout
    assert reduced == "paper is reducing: calmer (was halted; entries stay off)\n"
    assert "was reducing; entries stay off, and capital no longer moves" in propdesk("halt").stdout
    assert "paper is active: by hand (was halted)" in propdesk("resume").stdout
    assert len(events(store, "trading_state")) == 4


@pytest.mark.parametrize(
    ("given", "what", "kind"),
    [
        (["--trader", "bull"], "trader bull", "trading_state"),
        (["--account", "paper"], "paper", "trading_state"),
        (["--tenant", "default"], "tenant default", "tenant_state"),
        (["--service"], "the service", "service_state"),
    ],
)
def test_each_scope_is_switched_by_itself_with_its_event(
    store: MemoryStore, given: list[str], what: str, kind: str
) -> None:
    assert propdesk("halt", *given, "--reason", "news").stdout == f"{what} is halted: news (was active)\n"
    assert propdesk("halt", *given).stdout == f"{what} is halted already (news); nothing is changed.\n"
    assert f"{what} is reducing: by hand (was halted; entries stay off)" in propdesk("reduce", *given).stdout
    [switched] = read("resume", *given)["switched"]
    assert (switched["scope"], switched["before"], switched["state"]) == (given[0][2:], "reducing", "active")
    assert [event.after for event in events(store, kind)] == ["active", "reducing", "halted"]


def test_a_resume_says_what_still_stops_entries_and_what_frees_it(store: MemoryStore) -> None:
    for given in (["--service"], ["--tenant", "default"], ["--trader", "bull"]):
        propdesk("halt", *given, "--reason", "news")
    said = on_a_line(propdesk("resume").stdout)
    for what, scope in (
        ("the service", "--service"), ("tenant default", "--tenant default"), ("trader bull", "--trader bull"),
    ):  # fmt: skip
        assert f"Entries stay off: {what} is halted (news); `propdesk resume {scope}` frees that." in said
    shown = on_a_line(propdesk("traders", "show", "bull").stdout)
    assert "no entries: the service is halted, news no entries: tenant default is halted, news" in shown
    assert "trading halted (the service is halted)" in on_a_line(propdesk("status").stdout)
    propdesk("resume", "--service")
    propdesk("resume", "--tenant", "default")
    assert [one["name"] for one in read("resume", "--account", "paper")["limited_by"]] == ["bull"]
    assert read("resume", "--trader", "bull")["limited_by"] == []


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--trader", "bull", "--account", "paper"], "only one: --trader ID, --account NAME, --tenant ID, --service"),
        (["--service", "--tenant", "default"], "only one"),
        (["--service", "--trader", "bull"], "only one"),
        (["--trader", "nobody"], "there is no trader 'nobody'"),
        (["--tenant", "acme"], "--tenant acme is no tenant of this desk"),
    ],
)
def test_a_scope_that_is_none_is_refused(given: list[str], told: str) -> None:
    result = propdesk("halt", *given)
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_trader_is_taken_on_from_a_file_and_managed_by_the_api(store: MemoryStore, tmp_path: Path) -> None:
    config = write_config(tmp_path, changed("allocation_strategy: fixed", "allocation_strategy: equal"))
    file = tmp_path / "more.yaml"
    file.write_text(
        'id: third\nexchange: paper\nexecutor: {type: baseline, style: trend}\nsymbols: ["ETH/USDT:USDT"]\n'
        "decision_interval: 1m\nauto_start: false\n"
    )
    [row] = read("traders", "add", str(file), "-c", str(config))["traders"]
    assert (row["trader_id"], row["state"], row["spec"]["managed_by"]) == ("third", "stopped", "api")
    again = propdesk("traders", "add", file, "-c", config)
    assert again.exit_code == 2
    assert "is taken by third" in again.stderr

    async def count() -> int:
        async with store.transaction(DEFAULT_TENANT) as tx:
            assert await tx.get(AccountRow, "paper") is not None
            return len(await tx.find(TraderRow, {}))

    assert asyncio.run(count()) == 3


MANY = """\
traders:
  - &third
    id: third
    exchange: paper
    executor: {type: baseline, style: trend}
    symbols: ["ETH/USDT:USDT"]
    decision_interval: 1m
    allocation_pct: 0
  - {<<: *third, id: fourth}
  - <<: *third
    id: fifth
"""


def registered(store: MemoryStore) -> set[str]:
    async def ids() -> set[str]:
        async with store.transaction(DEFAULT_TENANT) as tx:
            return {row.trader_id for row in await tx.find(TraderRow, {})}

    return asyncio.run(ids())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("id: fifth", "id: BULL", "more.yaml:11: traders[2].id is 'BULL': is taken by bull; give each trader its own"),
        (
            "id: fifth",
            "id: fifth\n    allocation_pct: 1",
            "more.yaml:12: traders[2].allocation_pct is 1: the allocations of account paper add up to 101 %",
        ),
    ],
)
def test_a_file_of_traders_is_taken_on_whole_or_not_at_all(
    store: MemoryStore, tmp_path: Path, old: str, new: str, words: str
) -> None:
    config, file = write_config(tmp_path), tmp_path / "more.yaml"

    async def share_out() -> None:
        async with store.transaction(DEFAULT_TENANT) as tx:
            for row in await tx.find(TraderRow, {}):
                await tx.patch(TraderRow, (row.trader_id,), spec=replace(row.spec, allocation_pct=Decimal(50)))

    asyncio.run(share_out())
    file.write_text(MANY.replace(old, new))
    refused = propdesk("traders", "add", file, "-c", config)
    assert (refused.exit_code, refused.stdout) == (2, "")
    [line] = refused.stderr.splitlines()
    assert words in line
    assert registered(store) == {"bull", "bear"}
    assert events(store, "trader_registered") == []
    file.write_text(MANY)
    assert len(read("traders", "add", str(file), "-c", str(config))["traders"]) == 3
    assert registered(store) == {"bull", "bear", "third", "fourth", "fifth"}


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "command",
    [
        "status", "operations", "trades", "performance", "ranking", "why x", "traders list", "traders show bull",
        "traders pause bull", "halt --reason r", "flatten --all --dry-run", "prompts sent d",
    ],
)  # fmt: skip
def test_an_unknown_tenant_is_refused_and_the_known_ones_are_named(command: str) -> None:
    result = propdesk(*command.split(), "--tenant", "typo")
    assert result.exit_code == 2
    assert "propdesk: --tenant typo is no tenant of this desk; it has default" in on_a_line(result.stderr)
