"""Assemble a replay: the desk on a memory store, an inline runner, a manual clock and recorded prices."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from exchanges.clock import ManualClock, from_ms
from exchanges.market import SharedMarket
from exchanges.paper.account import PaperVenue
from exchanges.paper.adapter import PaperExchange
from exchanges.paper.config import PaperConfig
from exchanges.paper.ledger import MemoryPaperLedger
from exchanges.paper.state import PaperAccountId
from exchanges.replay.columns import CandleColumns, FundingColumns
from exchanges.replay.feed import ReplayFeed
from exchanges.replay.loader import load_candles, load_funding
from exchanges.replay.path import ReplayPath
from exchanges.types import Symbol
from executor.contract import Executor
from executor.models.clients import ModelSource
from executor.prompts.library import PromptLibrary
from executor.recordings.decisions import DroppedItem, RecordedBatch, RecordedExecutor, load_recorded
from executor.registry import ExecutorParts, ExecutorType, build_executor
from executor.remote.endpoint import RemoteSource
from manager.config.load import load_config
from manager.config.values import AccountConfig, Config, TenantConfig
from manager.desk.session import AccountRuntime
from manager.jobs.handlers import DeskHandlers, DeskParts
from manager.jobs.inline import InlineRunner
from manager.replay.curve import Closes, ReplaySampler
from manager.replay.errors import ReplayInputError
from manager.replay.models import decision_sources, environment_of
from manager.replay.request import ReplayRequest
from manager.resources import resource
from manager.roster.registration import stored
from manager.spending.budget_incidents import budget_rows
from manager.spending.meter import Spending
from manager.state.memory.store import MemoryStore
from manager.state.records import AccountId, AccountRow, ScheduleRow, TenantId, TraderRow, TraderState
from manager.state.slots import next_slot
from traders.spec import TraderId, TraderSpec

_LOOKAHEAD = timedelta(days=1)
_DATA_AGE_INTERVALS = 2.0
_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayAccount:
    """Hold one account of a replay with its venue and curve."""

    runtime: AccountRuntime
    exchange: PaperExchange
    sampler: ReplaySampler


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Hold an assembled replay; `recorded` are the delivery times in ms by trader, `dropped` grows while it runs."""

    store: MemoryStore
    clock: ManualClock
    runner: InlineRunner
    handlers: DeskHandlers
    columns: CandleColumns
    path: ReplayPath
    account: ReplayAccount
    recorded: Mapping[TraderId, Sequence[int]]
    dropped: Sequence[DroppedItem]
    clients: ModelSource
    remotes: RemoteSource


class SpecExecutors:
    """Build each trader's executor once, from its definition; recorded decisions come first.

    Budgets hold as they do live, on the replay's days. `dropped` are the recorded items that could not be delivered.
    """

    def __init__(
        self,
        config: Config,
        parts: ExecutorParts,
        recorded: Mapping[str, Sequence[RecordedBatch]],
        spending: Spending,
    ) -> None:
        self._config = config
        self._parts = parts
        self._recorded = recorded
        self._spending = spending
        self.dropped: list[DroppedItem] = []
        self._keys = {
            (tenant_id, spec.id): config.with_key(spec.executor).api_key
            for tenant_id, tenant in config.tenants.items()
            for spec in tenant.traders
        }
        self._built: dict[tuple[TenantId, str], Executor] = {}

    def of(self, tenant: TenantId, spec: TraderSpec) -> Executor:
        """Return the trader's executor."""
        key = (tenant, spec.id)
        found = self._built.get(key)
        if found is None:
            if spec.id in self._recorded:
                found = RecordedExecutor({spec.id: self._recorded[spec.id]}, self.dropped.append)
            else:
                meter = self._spending.meter(tenant, spec)
                models = self._config.models(tenant)
                parts = replace(self._parts, models=models, meter=meter, trader=spec.id)
                found = build_executor(replace(spec.executor, api_key=self._keys[key]), parts)
            self._built[key] = found
        return found


async def assemble(request: ReplayRequest) -> Replay:
    """Load and check every input, then build the desk; raise ConfigError, MarketDataError or ReplayInputError."""
    columns = load_candles(request.candles, start=request.start, end=request.end)
    quoted = frozenset(columns.symbols)
    env = environment_of(request.models, os.environ)
    config = load_config(request.config, env, instruments_of=lambda *_: quoted, candles=request.candles)
    funding = FundingColumns([])
    first, last = from_ms(columns.instants[0] - columns.interval_ms), from_ms(columns.instants[-1])
    if request.funding is not None:
        funding = load_funding(request.funding, start=first, end=last)
        _check_funding(request, columns, funding)
    recorded = load_recorded(request.decisions) if request.decisions is not None else {}
    _check_inputs(config, request, recorded)
    clock = ManualClock(from_ms(columns.instants[0]))
    path = ReplayPath(columns, funding)
    feed = ReplayFeed(columns, clock, funding=funding, instruments=path.instruments)
    market = SharedMarket(feed, clock, max_age_s=columns.interval_ms / 2000)
    store, runner = MemoryStore(keep_contexts=False), InlineRunner(strict=True)
    tenant, account = _the_account(config, request)
    sources = decision_sources(request.models, request.recordings, asked=_asks_elsewhere(tenant, recorded))
    await _insert_tenant(store, tenant, clock.now(), recorded)
    traders = tuple(spec.id for spec in tenant.traders)
    world = _World(clock, path, market, columns, traders, keep=request.out is not None)
    one = _account(tenant.tenant_id, account, _symbols(tenant, account.name), world)
    parts = ExecutorParts(
        prompts=PromptLibrary(config.prompt_root / "prompts", resource("prompts")),
        clients=sources.models,
        monotonic=clock.boot_s,
        remotes=sources.remotes,
    )
    executors = SpecExecutors(config, parts, recorded, Spending(store, clock, config))
    handlers = DeskHandlers(
        DeskParts(
            store=store,
            clock=clock,
            runner=runner,
            executors=executors,
            sampler=one.sampler,
            accounts={(tenant.tenant_id, AccountId(account.name)): one.runtime},
            holder="replay",
            keep_prompts=False,
            maintain_fires=False,
        )
    )
    runner.attach(handlers)
    return Replay(
        store=store,
        clock=clock,
        runner=runner,
        handlers=handlers,
        columns=columns,
        path=path,
        account=one,
        recorded={TraderId(trader_id): [batch.ts_ms for batch in batches] for trader_id, batches in recorded.items()},
        dropped=executors.dropped,
        clients=sources.models,
        remotes=sources.remotes,
    )


@dataclass(frozen=True, slots=True)
class _World:
    clock: ManualClock
    path: ReplayPath
    market: SharedMarket
    columns: CandleColumns
    traders: tuple[TraderId, ...]
    keep: bool


def _account(tenant: TenantId, config: AccountConfig, symbols: frozenset[Symbol], world: _World) -> ReplayAccount:
    paper = config.paper or PaperConfig(start_equity=config.equity_usd)
    venue = PaperVenue.build(paper, world.path)
    exchange = PaperExchange(
        PaperAccountId(f"{tenant}/{config.name}"), venue, MemoryPaperLedger(), world.clock, lookahead=_LOOKAHEAD
    )
    instruments = {symbol: venue.instruments[symbol] for symbol in sorted(symbols)}
    runtime = AccountRuntime(
        tenant_id=tenant,
        account_id=AccountId(config.name),
        venue="replay",
        exchange=exchange,
        market=world.market,
        rules=replace(config.rules, data_age_intervals=_DATA_AGE_INTERVALS),
        instruments=instruments,
        start_equity=config.equity_usd,
    )
    closes = Closes(
        instants=np.asarray(world.columns.instants, dtype=np.int64),
        symbols={symbol: index for index, symbol in enumerate(world.columns.symbols)},
        prices=world.columns.closes,
        contract_sizes={symbol: float(i.contract_size) for symbol, i in instruments.items()},
        maintenance={symbol: float(i.maintenance_rate) for symbol, i in instruments.items()},
    )
    return ReplayAccount(
        runtime=runtime, exchange=exchange, sampler=ReplaySampler(closes, world.traders, keep=world.keep)
    )


async def _insert_tenant(
    store: MemoryStore, tenant: TenantConfig, now: datetime, recorded: Mapping[str, Sequence[RecordedBatch]]
) -> None:
    async with store.service() as service:
        await service.ensure_tenant(tenant.tenant_id)
    async with store.transaction(tenant.tenant_id) as tx:
        for name in tenant.accounts:
            await tx.insert([AccountRow(tenant_id=tenant.tenant_id, account_id=AccountId(name), venue="replay")])
        await tx.insert(budget_rows(tenant))
        for seq, spec in enumerate(tenant.traders):
            interval = spec.decision_interval_s
            given = spec.id in recorded or spec.executor.type is ExecutorType.RECORDED
            due = None if given else next_slot(now - timedelta(microseconds=1), interval, 0)
            await tx.insert(
                [
                    TraderRow(
                        tenant_id=tenant.tenant_id,
                        trader_id=spec.id,
                        account_id=AccountId(spec.account),
                        seq=seq,
                        spec=stored(spec),
                        state=TraderState.RUNNING,
                    ),
                    ScheduleRow(
                        tenant_id=tenant.tenant_id,
                        trader_id=spec.id,
                        account_id=AccountId(spec.account),
                        interval_s=interval,
                        next_due_at=due,
                    ),
                ]
            )


def _asks_elsewhere(tenant: TenantConfig, recorded: Mapping[str, Sequence[RecordedBatch]]) -> bool:
    asking = (ExecutorType.LLM, ExecutorType.REMOTE)
    return any(spec.executor.type in asking and spec.id not in recorded for spec in tenant.traders)


def _symbols(tenant: TenantConfig, account: str) -> frozenset[Symbol]:
    return frozenset(symbol for spec in tenant.traders if spec.account == account for symbol in spec.symbols)


def _the_account(config: Config, request: ReplayRequest) -> tuple[TenantConfig, AccountConfig]:
    """Return the one account that has traders; raise ReplayInputError when there is none or more than one."""
    used = [
        (tenant, tenant.accounts[name])
        for tenant in config.tenants.values()
        for name in sorted({spec.account for spec in tenant.traders})
    ]
    if len(used) != 1:
        names = ", ".join(f"{tenant.tenant_id}/{account.name}" for tenant, account in used) or "none"
        raise ReplayInputError(
            f"{request.config}: field traders: a replay trades one account, the traders here use {names}; "
            "keep the traders of one account"
        )
    return used[0]


def _check_funding(request: ReplayRequest, columns: CandleColumns, funding: FundingColumns) -> None:
    """Raise ReplayInputError if funding has none of the candles' symbols; note those that it lacks."""
    missing = sorted(set(columns.symbols) - funding.symbols)
    if len(missing) == len(columns.symbols):
        given = ", ".join(sorted(funding.symbols)[:_NAMED])
        raise ReplayInputError(
            f"{request.funding}: field symbol: found {given}, and no symbol of {request.candles} "
            f"({', '.join(missing[:_NAMED])}); give funding of the same symbols or leave out --funding"
        )
    if missing and request.note is not None:
        request.note(
            f"{request.funding}: no funding for {', '.join(missing)}; positions in them neither pay nor get any"
        )


def _check_inputs(config: Config, request: ReplayRequest, recorded: Mapping[str, Sequence[RecordedBatch]]) -> None:
    specs = [spec for tenant in config.tenants.values() for spec in tenant.traders]
    for spec in specs:
        if request.decisions is None and spec.executor.type is ExecutorType.RECORDED:
            raise ReplayInputError(
                f"{request.config}: trader {spec.id}: executor type is recorded, but no recording is given; "
                "pass --decisions FILE"
            )
    known = {spec.id for spec in specs}
    for trader_id in sorted(recorded.keys() - known):
        line = min(batch.line for batch in recorded[trader_id])
        raise ReplayInputError(
            f"{request.decisions}, line {line}: field trader_id: {trader_id!r} is not a trader of {request.config}; "
            f"use one of {', '.join(sorted(known))}"
        )
