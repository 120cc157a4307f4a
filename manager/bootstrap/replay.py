"""Assemble a replay: the desk on a memory store, an inline runner, a manual clock and recorded prices."""

import os
from collections import UserDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl

from exchanges.clock import ManualClock, from_ms
from exchanges.market import SharedMarket
from exchanges.paper.adapter import PaperExchange
from exchanges.paper.ledger import MemoryPaperLedger
from exchanges.registry import Market
from exchanges.replay.columns import CandleColumns, FundingColumns
from exchanges.replay.feed import ReplayFeed
from exchanges.replay.loader import load_candles, load_funding
from exchanges.replay.path import ReplayPath
from exchanges.replay.stamps import wrong_unit
from executor.models.clients import ModelClients
from executor.recordings.decisions import InvalidItem, load_recorded
from executor.recordings.files import RecordingFile, Recordings
from executor.recordings.sources import RecordedModels, RecordedRemotes, RecordingModels, RecordingRemotes
from executor.registry import ExecutorParts, ExecutorType
from executor.remote.connections import RemoteConnections
from manager.bootstrap.assemble import Outside, Venues, assemble, runtime_of
from manager.bootstrap.coverage import gaps
from manager.bootstrap.curve import Closes, ReplaySampler
from manager.bootstrap.executors import Recorded
from manager.bootstrap.request import ModelsMode, ReplayRequest
from manager.config.load import load_config
from manager.config.values import AccountConfig, Config, TenantConfig
from manager.config.warnings import doubts_in_a_line
from manager.desk.session import AccountRuntime
from manager.errors import ReplayInputError
from manager.jobs.handlers import DeskHandlers
from manager.jobs.runner import InlineRunner
from manager.manager import Manager
from manager.roster.registration import registration_check
from manager.roster.schedules import on_the_grid
from manager.state.memory.store import MemoryStore
from manager.state.records import ScheduleRow, TenantId
from traders.spec import TraderId, TraderSpec

_LOOKAHEAD = timedelta(days=1)
_DATA_AGE_INTERVALS = 2.0
_NAMED = 5
_NO_KEY: Final = "no-key-is-needed"
_ASKING: Final = (ExecutorType.LLM, ExecutorType.REMOTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayAccount:
    """Hold one account of a replay with its venue and curve."""

    runtime: AccountRuntime
    exchange: PaperExchange
    sampler: ReplaySampler

    def equity(self) -> pl.DataFrame:
        """Return the equity of every trader at every close, as far as the sampler kept it."""
        frames = [
            pl.DataFrame({"ts_ms": instants, "equity": values}).with_columns(pl.lit(trader_id).alias("trader_id"))
            for instants, trader_id, values in self.sampler.curves()
        ]
        return pl.concat(frames) if frames else pl.DataFrame({"ts_ms": [], "equity": [], "trader_id": []})


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Hold an assembled replay; `recorded` are the delivery times in ms by trader, `invalid` grows while it runs."""

    store: MemoryStore
    clock: ManualClock
    runner: InlineRunner
    handlers: DeskHandlers
    columns: CandleColumns
    path: ReplayPath
    account: ReplayAccount
    recorded: Mapping[TraderId, Sequence[int]]
    invalid: Sequence[InvalidItem]
    deciding: ExecutorParts

    def finish(self) -> None:
        """Make what was recorded that of a whole run; without it a recording only fills the gaps of others."""
        if isinstance(self.deciding.clients, RecordingModels):
            self.deciding.clients.finish()

    async def close(self) -> None:
        """Release the connections to models and remote executors."""
        await self.deciding.clients.close()
        await self.deciding.remotes.close()


class _Keyless(UserDict[str, str]):
    """An environment that lacks no key: who only reads recordings needs none."""

    def get(self, name: str, default: Any = None) -> Any:
        del default
        return self[name]

    def __getitem__(self, name: str) -> str:
        return self.data.get(name) or _NO_KEY


class _Inputs:
    """The files of a replay, loaded, and found to fit together."""

    def __init__(self, request: ReplayRequest) -> None:
        self.request = request
        self.columns = load_candles(request.candles, start=request.start, end=request.end)
        quoted = frozenset(self.columns.symbols)
        env = _Keyless(os.environ) if request.models is ModelsMode.RECORDED else os.environ
        self.config = load_config(request.config, env, instruments_of=lambda *_: quoted, candles=request.candles)
        self.funding = FundingColumns([])
        if request.funding is not None:
            columns = self.columns
            first, last = from_ms(columns.instants[0] - columns.interval_ms), from_ms(columns.instants[-1])
            self.funding = load_funding(request.funding, start=first, end=last)
            self._check_funding()
        self.recorded = Recorded(batches=load_recorded(request.decisions) if request.decisions is not None else {})
        self._check_recorded()
        self.tenant, self.account = self._the_account()
        if request.note is not None:
            if line := doubts_in_a_line(self.config):
                request.note(line)
            for gap in gaps(request, self.columns, self.funding, self.recorded.batches):
                request.note(gap)

    def _check_funding(self) -> None:
        """Raise ReplayInputError if funding has none of the candles' symbols; note those that it lacks."""
        request, symbols = self.request, self.columns.symbols
        missing = sorted(set(symbols) - self.funding.symbols)
        if len(missing) == len(symbols):
            given = ", ".join(sorted(self.funding.symbols)[:_NAMED])
            raise ReplayInputError(
                f"{request.funding}: field symbol: found {given}, and no symbol of {request.candles} "
                f"({', '.join(missing[:_NAMED])}); give funding of the same symbols or leave out --funding"
            )
        if missing and request.note is not None:
            request.note(
                f"{request.funding}: no funding for {', '.join(missing)}; positions in them neither pay nor get any"
            )

    def _check_recorded(self) -> None:
        request, batches = self.request, self.recorded.batches
        specs = [spec for tenant in self.config.tenants.values() for spec in tenant.traders]
        for spec in specs:
            if request.decisions is None and spec.executor.type is ExecutorType.RECORDED:
                raise ReplayInputError(
                    f"{request.config}: trader {spec.id}: executor type is recorded, but no recording is given; "
                    "pass --decisions FILE"
                )
        for batch in (batch for trader in sorted(batches) for batch in batches[trader]):
            if expected := wrong_unit(batch.ts_ms):
                place = f"{request.decisions}, line {batch.line}"
                raise ReplayInputError(f"{place}: field ts_ms: {batch.ts_ms} is not {expected}")
        known = {spec.id for spec in specs}
        for trader_id in sorted(batches.keys() - known):
            line = min(batch.line for batch in batches[trader_id])
            raise ReplayInputError(
                f"{request.decisions}, line {line}: field trader_id: {trader_id!r} is not a trader of "
                f"{request.config}; use one of {', '.join(sorted(known))}"
            )

    def _the_account(self) -> tuple[TenantConfig, AccountConfig]:
        """Return the one account that has traders; raise ReplayInputError when there is none or more than one."""
        used = [
            (tenant, tenant.accounts[name])
            for tenant in self.config.tenants.values()
            for name in sorted({spec.account for spec in tenant.traders})
        ]
        if len(used) != 1:
            names = ", ".join(f"{tenant.tenant_id}/{account.name}" for tenant, account in used) or "none"
            raise ReplayInputError(
                f"{self.request.config}: field traders: a replay trades one account, the traders here use {names}; "
                "keep the traders of one account"
            )
        return used[0]

    def deciding(self, clock: ManualClock) -> ExecutorParts:
        """Return where decisions come from; raise ReplayInputError if recordings are to be read and there are none."""
        mode, folder, prompts = self.request.models, self.request.recordings, self.config.prompt_library()
        asked = any(
            spec.executor.type in _ASKING and spec.id not in self.recorded.batches for spec in self.tenant.traders
        )
        if mode is ModelsMode.RECORD:
            file = RecordingFile(folder)
            models, remotes = RecordingModels(ModelClients(), file), RecordingRemotes(RemoteConnections(), file)
            return ExecutorParts(prompts=prompts, clients=models, monotonic=clock.boot_s, remotes=remotes)
        if mode is ModelsMode.LIVE or not asked:
            return ExecutorParts(prompts=prompts, clients=ModelClients(), monotonic=clock.boot_s)
        if not folder.is_dir():
            raise ReplayInputError(
                f"there are no recordings in {folder}, and a trader asks a model or a remote executor; run it with "
                "--models record first, which asks them and keeps what they say, or with --models live"
            )
        recordings = Recordings(folder)
        read, remotely = RecordedModels(recordings), RecordedRemotes(recordings)
        return ExecutorParts(prompts=prompts, clients=read, monotonic=clock.boot_s, remotes=remotely)

    def desk(self) -> Config:
        """Return the config of the one account, on which every trader runs from the start."""
        traders = tuple(replace(spec, auto_start=True) for spec in self.tenant.traders)
        account = replace(
            self.account,
            type="replay",
            timeout_s=None,
            rules=replace(self.account.rules, data_age_intervals=_DATA_AGE_INTERVALS),
        )
        accounts = {**self.tenant.accounts, account.name: account}
        tenant = replace(self.tenant, accounts=accounts, traders=traders)
        return replace(self.config, tenants={tenant.tenant_id: tenant})

    def schedule(self, tenant: TenantId, spec: TraderSpec, now: datetime, crowd: int) -> ScheduleRow:
        """Return when a trader decides: at every multiple of its interval, or when its recording says."""
        given = spec.id in self.recorded.batches or spec.executor.type is ExecutorType.RECORDED
        schedule = on_the_grid(tenant, spec, now, crowd)
        return replace(schedule, next_due_at=None) if given else schedule


async def assemble_replay(request: ReplayRequest) -> Replay:
    """Load and check every input, then build the desk; raise ConfigError, MarketDataError or ReplayInputError."""
    inputs = _Inputs(request)
    columns, config, tenant = inputs.columns, inputs.desk(), inputs.tenant.tenant_id
    clock = ManualClock(from_ms(columns.instants[0]))
    deciding = inputs.deciding(clock)
    path = ReplayPath(columns, inputs.funding)
    account = await _account(inputs, config.tenants[tenant].accounts[inputs.account.name], path, clock)
    store, runner = MemoryStore(keep_contexts=False), InlineRunner(strict=True)
    check = registration_check(config, check_prompts=False, replays=True)
    await Manager(store, clock, check, inputs.schedule).sync(config, actor="replay", reason="")
    outside = Outside(
        store=store,
        clock=clock,
        runner=runner,
        accounts={(tenant, account.runtime.account_id): account.runtime},
        sampler=account.sampler,
        deciding=deciding,
        recorded=inputs.recorded,
    )
    handlers = DeskHandlers(assemble(config, outside, holder="replay", keep_prompts=False))
    runner.attach(handlers)
    return Replay(
        store=store,
        clock=clock,
        runner=runner,
        handlers=handlers,
        columns=columns,
        path=path,
        account=account,
        recorded={
            TraderId(trader_id): [batch.ts_ms for batch in batches]
            for trader_id, batches in inputs.recorded.batches.items()
        },
        invalid=inputs.recorded.invalid,
        deciding=deciding,
    )


async def _account(inputs: _Inputs, account: AccountConfig, path: ReplayPath, clock: ManualClock) -> ReplayAccount:
    """Open the paper account on the recorded prices; of the symbols only those are quoted that are traded."""
    columns, traders = inputs.columns, inputs.tenant.traders
    feed = ReplayFeed(columns, clock, funding=inputs.funding, instruments=path.instruments)
    prices = Market(path=path, feed=feed, lookahead=_LOOKAHEAD)
    venues = Venues(clock, lambda _: MemoryPaperLedger())
    exchange = venues.open(inputs.tenant.tenant_id, inputs.account, prices).exchange
    if not isinstance(exchange, PaperExchange):
        raise TypeError(f"a replay trades on paper; got {type(exchange).__name__}")
    quoted = await exchange.instruments()
    traded = {symbol: quoted[symbol] for symbol in sorted({one for spec in traders for one in spec.symbols})}
    market = SharedMarket(feed, clock, max_age_s=columns.interval_ms / 2000)
    runtime = runtime_of(inputs.tenant.tenant_id, account, exchange, market, traded)
    closes = Closes(
        instants=np.asarray(columns.instants, dtype=np.int64),
        symbols={symbol: index for index, symbol in enumerate(columns.symbols)},
        prices=columns.closes,
        contract_sizes={symbol: float(one.contract_size) for symbol, one in traded.items()},
        maintenance={symbol: float(one.maintenance_rate) for symbol, one in traded.items()},
    )
    sampler = ReplaySampler(closes, [spec.id for spec in traders], keep=inputs.request.out is not None)
    return ReplayAccount(runtime=runtime, exchange=exchange, sampler=sampler)
