"""Two configs on one database: while one is at work the other is refused, afterwards it takes over with an event."""

from pathlib import Path
from typing import Any

import pytest

from config_files import SOUND, changed
from desk_factory import AT
from exchanges.clock import ManualClock
from manager.config import load_config
from manager.errors import OtherDeskRuns
from manager.manager import Manager
from manager.roster.registration import registration_check
from manager.roster.sync import SyncReport
from manager.roster.terms import terms_text
from manager.state.kinds import EventKind
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, AccountRow, EventRow, TraderRow, TraderState
from traders.spec import TraderId

WITHOUT_TWO = SOUND[: SOUND.index("  - id: two")]
OTHER_TERMS = {
    "market.synthetic.seed is 7 there and 11 here": changed("seed: 7", "seed: 11"),
    "paper.fee_bps is 4.5 there and 9 here": changed("fee_bps: 4.5", "fee_bps: 9"),
    "allocation_strategy is fixed there and equal here": changed("strategy: fixed", "strategy: equal"),
    "conflict_strategy is highest_confidence there and net here": changed(
        "  allocation_strategy", "  conflict_strategy: net\n  allocation_strategy"
    ),
    "paper.instruments is": changed(
        "fee_bps: 4.5}", 'fee_bps: 4.5, instruments: {"BTC/USDT:USDT": {lot: 0.01, max_leverage: 9}}}'
    ),
}


class Site:
    """A store and configs of several names beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.clock = folder, MemoryStore(), ManualClock(AT)

    async def start(self, text: str = SOUND, name: str = "config.yaml", *, rivals: bool = False) -> SyncReport:
        """Sync with a config of this name."""
        path = self.folder / name
        path.write_text(text)
        config = load_config(path, {})
        return await Manager(self.store, self.clock, registration_check(config)).sync(config, rivals=rivals)

    async def rows(self, of: type[Any], **where: Any) -> list[Any]:
        """Return rows of a kind."""
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            return list(await tx.find(of, where))

    async def all(self) -> list[Any]:
        """Return everything that a sync could change."""
        return [await self.rows(kind) for kind in (AccountRow, TraderRow, EventRow)]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize("said", OTHER_TERMS)
@pytest.mark.parametrize("name", ["config.yaml", "other.yaml"])
async def test_other_terms_are_refused_while_a_worker_is_at_work(site: Site, name: str, said: str) -> None:
    await site.start()
    before = await site.all()
    with pytest.raises(OtherDeskRuns) as refused:
        await site.start(OTHER_TERMS[said], name, rivals=True)
    message = str(refused.value)
    assert said in message
    assert str(site.folder / "config.yaml") in message
    assert str(site.folder / name) in message
    assert "stop that desk first" in message
    assert "--data-dir" in message
    assert await site.all() == before


@pytest.mark.parametrize("said", OTHER_TERMS)
async def test_without_a_worker_the_new_terms_hold_and_an_event_says_so(site: Site, said: str) -> None:
    await site.start()
    await site.start(OTHER_TERMS[said], "other.yaml")
    [account] = await site.rows(AccountRow)
    [event] = await site.rows(EventRow, kind=EventKind.ACCOUNT_TERMS)
    assert (event.account_id, event.after) == ("paper", account.terms)
    assert event.before != event.after
    assert account.config == str(site.folder / "other.yaml")
    assert (await site.start(OTHER_TERMS[said], "other.yaml", rivals=True)) == SyncReport()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WITHOUT_TWO, "stop two"),
        (SOUND.replace("id: two", "id: three"), "stop two"),
        (changed("3m", "5m"), "change one"),
        (
            SOUND + "  - {id: three, exchange: paper, executor: {type: baseline, style: trend}, "
            'symbols: ["ETH/USDT:USDT"], decision_interval: 1m}\n',
            "add three",
        ),
    ],
)
async def test_a_second_config_does_not_change_the_traders_of_a_running_one(site: Site, text: str, said: str) -> None:
    await site.start()
    before = await site.all()
    with pytest.raises(OtherDeskRuns, match=f"would change its traders \\({said}\\)"):
        await site.start(text, "other.yaml", rivals=True)
    assert await site.all() == before
    await site.start(text, "other.yaml")
    assert (await site.rows(AccountRow))[0].config == str(site.folder / "other.yaml")


async def test_the_same_file_may_change_its_traders_beside_a_worker(site: Site) -> None:
    await site.start()
    assert (await site.start(WITHOUT_TWO, rivals=True)).stopped == ("default/two",)
    assert (await site.start(SOUND, rivals=True)).returned == ("default/two",)


async def test_a_copy_of_the_file_on_another_host_joins_in(site: Site) -> None:
    await site.start()
    before = await site.all()
    assert await site.start(name="copy.yaml", rivals=True) == SyncReport()
    assert await site.all() == before


async def test_risk_limits_are_no_terms_and_a_desk_of_an_earlier_version_has_none(site: Site) -> None:
    await site.start()
    await site.start(SOUND + "global_limits: {max_positions: 3}\n", rivals=True)
    async with site.store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(AccountRow, ("paper",), terms="", config="")
    await site.start(changed("seed: 7", "seed: 8"), "other.yaml", rivals=True)
    assert await site.rows(EventRow, kind=EventKind.ACCOUNT_TERMS) == []


async def test_a_pause_of_an_operator_outlasts_the_turns_of_two_configs(site: Site) -> None:
    await site.start()
    config = load_config(site.folder / "config.yaml", {})
    manager = Manager(site.store, site.clock, registration_check(config))
    await manager.pause(DEFAULT_TENANT, TraderId("one"), actor="test", reason="news")
    await site.start(name="copy.yaml", rivals=True)
    assert [row.state for row in await site.rows(TraderRow, trader_id="one")] == [TraderState.PAUSED]


def test_terms_hold_no_key_and_no_large_value(site: Site) -> None:
    path = site.folder / "config.yaml"
    venue = "\n  hl: {type: hyperliquid, api_key: ${HL_KEY}, api_secret: ${HL_SECRET}}\ntraders:"
    path.write_text(SOUND.replace("\ntraders:", venue))
    config = load_config(path, {"HL_KEY": "key-value", "HL_SECRET": "secret-value"})
    for account in config.tenants[DEFAULT_TENANT].accounts.values():
        text = terms_text(account)
        assert "HL_" not in text
        assert "value" not in text
        assert len(text) < 1_000
