"""`close`, `flatten`, `traders isolate`, `traders fund` and `resume` on a database: what they say, do and refuse."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from database_fixtures import Database
from exchanges.types import Side
from faulty_desk import ACCOUNT, BTC, ETH, FREE_HAND, FaultyDesk, open_long
from manager.cli.app import app
from manager.desk.plan.values import GlobalLimits
from manager.manager import Manager
from manager.roster.registration import registration_check
from manager.state.acts import ActKey, ActRow, FlattenRow, FlattenScope
from manager.state.kinds import Afterwards, FlattenState, ScopeKind
from manager.state.postgres.store import PostgresStore
from manager.state.records import DEFAULT_TENANT, UNALLOCATED, AccountRow, BookRow, IntentRow, TraderRow
from traders.spec import TraderId

pytestmark = pytest.mark.database

D = Decimal
WIDE = GlobalLimits(max_symbol_exposure_pct=D(5000), max_margin_usage_pct=D(100), max_unrealized_loss_pct=D(100))
RECKLESS = replace(FREE_HAND, stop_loss_enabled=False, max_margin_usage_pct=D(100), max_position_size_usd=D(10**6))
Fill = Callable[[FaultyDesk], Awaitable[None]]


@pytest.fixture
def dsn(database: Database, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DATABASE_URL", database.dsn)
    return database.dsn


def prepared(dsn: str, fill: Fill) -> None:
    """Let traders a and b do something on the desk of the database, and leave it without a worker."""

    async def work() -> None:
        store = PostgresStore.open(dsn, pool_size=2)
        try:
            desk = await FaultyDesk.of(store=store, traders=("a", "b"), limits=RECKLESS, account_limits=WIDE)
            await fill(desk)
        finally:
            await store.close()

    asyncio.run(work())


def found(dsn: str, kind: type[Any]) -> list[Any]:
    async def work() -> list[Any]:
        store = PostgresStore.open(dsn)
        try:
            async with store.transaction(DEFAULT_TENANT) as tx:
                return list(await tx.find(kind, {}, limit=None))
        finally:
            await store.close()

    return asyncio.run(work())


async def held(desk: FaultyDesk) -> None:
    await desk.go("a", open_long(), open_long(ETH, 500))
    await desk.by_hand("hand", Side.BUY, 3)
    await desk.maintain(1)


async def lost(desk: FaultyDesk, usd: int = 20_000) -> None:
    await desk.go("a", replace(open_long(usd=usd), stop_loss=None, leverage=10))
    desk.pass_time()
    desk.price(70)
    await desk.maintain(3)
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(AccountRow, (ACCOUNT,), updated_at=desk.clock.now())


def propdesk(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def assert_said_before(said: Result, told: str, *, ends: bool = False) -> None:
    first, _, rest = " ".join(said.stdout.split()).partition("; nothing was asked again. ")
    assert first.startswith("Done before, at 20")
    assert first.rpartition(" UTC by ")[2].split(":")[0] in ("cli", "ann")
    assert rest.startswith(told)
    assert rest == told or not ends


async def closed_by_ann(desk: FaultyDesk, *, opened_again: bool) -> None:
    """Let ann close BTC under a key and flatten all under another, each carried out before the next."""
    await held(desk)
    manager = Manager(desk.store, desk.clock, registration_check(desk.config))
    by: dict[str, Any] = {"actor": "ann", "reason": "news"}
    await manager.close(DEFAULT_TENANT, TraderId("a"), BTC, **by, key=ActKey("close"))
    await desk.round()
    scope = FlattenScope(kind=ScopeKind.TENANT)
    if opened_again:
        await desk.go("a", open_long(usd=300))
    else:
        await manager.flatten(DEFAULT_TENANT, scope, Afterwards.STAND_BY, **by, key=ActKey("flatten"))
        for _ in range(2):
            await desk.round()
            await desk.maintain(1)


def test_a_close_of_one_symbol_tells_what_is_held_beside_it_whenever_it_is_asked_for(dsn: str) -> None:
    prepared(dsn, partial(closed_by_ann, opened_again=True))
    given = ("close", "a", "BTC/USDT:USDT", "--reason", "news", "--key", "close")
    assert_said_before(
        propdesk(*given),
        "a: sold 10 BTC/USDT:USDT at 100, realized 0.00 USD, fees 0.00 USD. Done: closed. Not flat: a holds 3 "
        "BTC/USDT:USDT long, 5 ETH/USDT:USDT long, which this did not ask to close.",
        ends=True,
    )
    told = json.loads(propdesk(*given, "--json").stdout)
    assert told["asked"]["repeated_of"]["actor"] == "ann"
    assert [(one["symbol"], D(one["quantity"])) for one in told["progress"]["held"]] == [
        ("BTC/USDT:USDT", D(3)),
        ("ETH/USDT:USDT", D(5)),
    ]


def test_a_flatten_asked_for_again_under_its_key_tells_what_it_closed(dsn: str) -> None:
    prepared(dsn, partial(closed_by_ann, opened_again=False))
    given = ("flatten", "--all", "--then", "stand_by", "--reason", "news", "--key", "flatten", "--yes")
    told = "a: sold 5 ETH/USDT:USDT at 100, realized 0.00 USD, fees 0.00 USD. Done: flat."
    assert_said_before(propdesk(*given), told, ends=True)
    assert len(found(dsn, FlattenRow)) == 1


def test_close_says_what_it_asked_for_and_why_it_is_not_done(dsn: str) -> None:
    prepared(dsn, held)
    said = propdesk("close", "a", "BTC/USDT:USDT", "--reason", "news", code=1)
    assert said.stdout.splitlines()[0] == "a: asked to close 10 BTC/USDT:USDT long."
    assert "no_worker: no worker looks after the account; it is closed once one does" in said.stdout
    assert said.stderr.splitlines()[-1].startswith("propdesk: not done: no worker runs;")
    quick = propdesk("close", "a", "--wait", "0", "--json")
    asked = json.loads(quick.stdout)
    assert [one["asked_before"] for one in asked["asked"]["positions"]] == [True, False]
    assert [one["why"] for one in asked["progress"]["left"]] == ["no_worker"] * 2
    assert len([row for row in found(dsn, IntentRow) if row.asked_by]) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("close", "nobody"), 2, "there is no trader 'nobody'; `propdesk traders list` names them"),
        (("close", "b"), 1, "trader b has no position to close: it holds nothing"),
        (("close", "a", "SOL"), 1, "no position in SOL to close: it holds BTC/USDT:USDT, ETH/USDT:USDT"),
        (("close", "a", "--wait", "soon"), 2, "--wait 'soon': expected a duration such as 30s"),
        (("flatten",), 2, "name what is to be flattened, and only one: --trader ID, --account NAME or --all"),
        (("flatten", "--trader", "a", "--all", "--yes"), 2, "only one"),
        (("flatten", "--all"), 2, "pass --yes"),
        (("flatten", "--all", "--json"), 2, "pass --yes"),
        (("flatten", "--trader", "x", "--yes"), 2, "there is no trader 'x'"),
        (("flatten", "--account", "x", "--yes"), 2, "there is no account 'x'"),
        (("flatten", "--all", "--yes", "--tenant", "x"), 2, "--tenant x is no tenant of this desk; it has default"),
        (("flatten", "--all", "--cancel"), 1, "no flatten of all accounts of the tenant is under way"),
        (("traders", "isolate", "x", "--reason", "r"), 2, "there is no trader 'x'"),
        (("traders", "fund", "a", "100", "--reason", "r"), 1, "it is not bankrupt"),
        *(
            (
                ("traders", "fund", "a", amount, "--reason", "r"),
                2,
                f"AMOUNT '{amount}' is not an amount",
            )
            for amount in ("0", "nan", "1e999999999", "ten", "inf")
        ),
    ],
)
def test_what_cannot_be_done_is_one_message(dsn: str, arguments: tuple[str, ...], code: int, told: str) -> None:
    prepared(dsn, held)
    assert told in propdesk(*arguments, code=code).stderr
    assert found(dsn, ActRow) == []


@pytest.mark.parametrize("reason", ["bad\udcff", "a\0b", "x" * 1001], ids=["bytes", "nul", "long"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("close", "a"),
        ("flatten", "--all", "--yes"),
        ("halt",),
        *(("traders", act, "a") for act in ("isolate", "pause", "stop", "remove")),
        ("traders", "fund", "a", "1"),
        ("traders", "add", "none.yaml"),
    ],
    ids=" ".join,
)
def test_a_reason_that_is_no_text_is_refused(arguments: tuple[str, ...], reason: str) -> None:
    said = propdesk(*arguments, "--reason", reason, code=2).stderr
    assert said.startswith("propdesk: --reason ")
    assert "give at most 1000 characters that can be printed" in said


def test_a_dry_run_shows_what_would_be_closed_and_changes_nothing(dsn: str) -> None:
    prepared(dsn, held)
    shown = propdesk("flatten", "--all", "--dry-run").stdout
    rows = [line.split() for line in shown.splitlines()]
    assert ["a", "BTC/USDT:USDT", "sell", "10", "100", "1,000.00", "-"] in rows
    assert "EXTERNAL" in shown
    assert "no trader owns it, so the desk never touches it" in shown
    told = json.loads(propdesk("flatten", "--account", "paper", "--dry-run", "--json").stdout)
    assert [(one["symbol"], one["side"], D(one["quantity"])) for one in told["closes"]] == [
        ("BTC/USDT:USDT", "sell", D(10)),
        ("ETH/USDT:USDT", "sell", D(5)),
    ]
    assert [(one["trader_id"], one["why"]) for one in told["stays"]] == [("EXTERNAL", "external")]
    assert found(dsn, FlattenRow) == []


def test_a_flatten_is_shown_joined_and_canceled(dsn: str) -> None:
    prepared(dsn, held)
    first = propdesk("flatten", "--account", "paper", "--yes", "--wait", "0", "--reason", "storm").stdout
    assert first.splitlines()[0] == "Flatten of account paper; no entries of it until it is done."
    assert "paper is halted until `propdesk resume`." in first
    assert "joined" in propdesk("flatten", "--account", "paper", "--yes", "--wait", "0").stdout
    [account] = json.loads(propdesk("status", "--json").stdout)["accounts"]
    assert any(reason.startswith("flatten of all traders under way since") for reason in account["reasons"])
    propdesk("flatten", "--account", "paper", "--cancel")
    [row] = found(dsn, FlattenRow)
    assert row.state is FlattenState.CANCELED
    kinds = [one["kind"] for one in json.loads(propdesk("operations", "--json").stdout)["operations"]]
    assert kinds


def test_a_trader_that_is_stopped_or_paused_tells_what_it_still_holds(dsn: str) -> None:
    prepared(dsn, held)
    paused, stopped = (" ".join(propdesk("traders", act, "a").stdout.split()) for act in ("pause", "stop"))
    kept = "It still holds 10 BTC/USDT:USDT long (stop 90), 5 ETH/USDT:USDT long (stop 90). "
    kept += "Stops and take-profits stay; to close now: `propdesk close a`"
    assert paused == f"a is paused. {kept}"
    assert stopped == f"a is stopped. Its free capital is withdrawn. {kept}"
    assert propdesk("traders", "stop", "b").stdout == "b is stopped.\nIts free capital is withdrawn.\n"
    assert propdesk("traders", "start", "a").stdout == "a is running.\n"


def test_isolate_and_its_key(dsn: str) -> None:
    prepared(dsn, held)
    given = ("traders", "isolate", "a", "--reason", "odd trades", "--key", "k")
    assert propdesk(*given).stdout.startswith(
        "a is isolated: its entries are blocked.\nIts free capital is withdrawn.\nIt still"
    )
    assert_said_before(propdesk(*given), "a was isolated then; it is isolated now. Its free capital is withdrawn.")
    assert "stands for another act" in propdesk("close", "a", "--key", "k", code=2).stderr
    assert (
        "a is isolated already (OPERATOR: odd trades)"
        in propdesk("traders", "isolate", "a", "--reason", "again", code=1).stderr
    )
    [row, _] = found(dsn, TraderRow)
    assert (row.state, row.state_code) == ("isolated", "OPERATOR")
    propdesk("traders", "stop", "a")
    propdesk("traders", "start", "a")
    assert_said_before(propdesk(*given), "a was isolated then; it is running now.", ends=True)


def test_fund_and_its_key(dsn: str) -> None:
    async def with_free_money(desk: FaultyDesk) -> None:
        await lost(desk)
        async with desk.store.transaction(DEFAULT_TENANT) as tx:
            [common] = await tx.find(BookRow, {"trader_id": UNALLOCATED})
            await tx.patch(BookRow, (ACCOUNT, UNALLOCATED), capital=common.capital + 3000)

    prepared(dsn, with_free_money)
    given = ("traders", "fund", "a", "1500.50", "--reason", "second chance", "--key", "k", "--json")
    first, second = (json.loads(propdesk(*given).stdout) for _ in range(2))
    assert second.pop("repeated_of")["actor"].startswith("cli:")
    assert first.pop("repeated_of") is None
    assert first == second
    assert_said_before(propdesk(*given[:-1]), "a got 1500.50 USD then; it is stopped now.", ends=True)
    assert (first["state"], first["amount_usd"], first["state_code"]) == ("stopped", "1500.50", "funded")
    [own] = [row for row in found(dsn, BookRow) if row.trader_id == "a"]
    assert (own.cash, own.bankrupt_at) == (D("500.50"), None)
    more = ("traders", "fund", "a", "10", "--reason", "more")
    assert "it is not bankrupt" in propdesk(*more, code=1).stderr


def test_a_bankrupt_account_is_not_resumed(dsn: str) -> None:
    async def below_zero(desk: FaultyDesk) -> None:
        await lost(desk, 40_000)

    prepared(dsn, below_zero)
    said = propdesk("resume", code=1).stderr
    assert f"propdesk: account {ACCOUNT} stays halted: its equity was -2000" in said
    assert "deposit at the venue first" in said
    [account] = found(dsn, AccountRow)
    assert account.trading_state == "halted"
    refused = propdesk("traders", "start", "a", code=1).stderr
    assert "a" in refused
    assert "is halted" in propdesk("traders", "fund", "a", "10", "--reason", "r", code=1).stderr
