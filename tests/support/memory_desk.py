"""Desks for tests, put together as the live one is: registered by the roster, assembled by the bootstrap."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from exchanges.clock import ManualClock
from exchanges.paper.ledger import MemoryPaperLedger
from executor.registry import ExecutorParts, ModelClients
from manager.bootstrap.assemble import Outside, Runtimes, account_runtimes, assemble
from manager.bootstrap.live import build_manager
from manager.config.values import (
    AccountConfig,
    Config,
    ManagerSettings,
    MarketSettings,
    MonitoringSettings,
    TenantConfig,
)
from manager.desk.plan.values import AccountRules
from manager.desk.sampling import LiveSampler
from manager.jobs.handlers import DeskParts
from manager.jobs.inline import InlineRunner
from manager.state.records import DEFAULT_TENANT
from manager.state.store import Store
from traders.spec import TraderSpec


def plain_config(traders: Sequence[TraderSpec] = (), account: str = "paper", **of_tenant: Any) -> Config:
    """Return a config without a file: one tenant with one paper account, and what else `of_tenant` says."""
    paper = AccountConfig(
        name=account, type="paper", market=MarketSettings(), rules=AccountRules(), equity_usd=Decimal(10_000)
    )
    manager = ManagerSettings(
        total_equity_usd=Decimal(10_000),
        decision_timeout_s=1,
        decision_concurrency=1,
        max_data_age_s=1,
        prompt_retention_s=0,
        snapshot_max_age_s=1,
    )
    owned = {"accounts": {account: paper}, "traders": tuple(traders), **of_tenant}
    return Config(
        path=Path("plain.yaml"),
        manager=manager,
        monitoring=MonitoringSettings(update_interval_s=1, alert_webhook="", metrics_exporter="none"),
        tenants={DEFAULT_TENANT: TenantConfig(tenant_id=DEFAULT_TENANT, **owned)},
    )


async def registered(config: Config, store: Store, clock: ManualClock) -> None:
    """Take on the accounts and traders of a config."""
    await build_manager(store, config, clock, check_prompts=False).sync(config, actor="test", reason="")


async def desk_of(config: Config, store: Store, clock: ManualClock, clients: Any = None) -> DeskParts:
    """Return the desk of a config, its paper accounts in memory."""
    accounts = await account_runtimes(config, clock, lambda _: MemoryPaperLedger())
    return desk_on(accounts, config, store, clock, clients)


def desk_on(accounts: Runtimes, config: Config, store: Store, clock: ManualClock, clients: Any = None) -> DeskParts:
    """Return the desk of a config on these accounts and an inline runner; models come from `clients`."""
    deciding = ExecutorParts(prompts=config.prompt_library(), clients=clients or ModelClients(), monotonic=clock.boot_s)
    outside = Outside(
        store=store,
        clock=clock,
        runner=InlineRunner(),
        accounts=accounts,
        sampler=LiveSampler(10),
        deciding=deciding,
    )
    return assemble(config, outside, holder="test")
