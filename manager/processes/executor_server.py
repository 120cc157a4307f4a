"""Serve the executors of a config's traders to the desks of other processes; a key opens its tenant's traders only."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from math import ceil

import structlog

from exchanges.clock import SystemClock
from executor.contract import Executor
from executor.errors import ExecutorConfigError
from executor.registry import ExecutorParts, ExecutorType, ModelClients, build_executor
from executor.remote.server import LOOPBACK, Listen, raise_file_limit, serve
from executor.remote.service import DecisionService, Desk, desk_of
from manager.config.values import Config, TenantConfig
from manager.processes.logs import configure_logging
from manager.processes.supervisor import stop_on_signals
from manager.settings import Settings

_LOG = structlog.get_logger(__name__)


async def serve_executors(config: Config, listen: Listen, settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM; raise ExecutorConfigError for what cannot be served."""
    configure_logging(settings, config.secrets.values())
    raise_file_limit()
    clients = ModelClients()
    parts = ExecutorParts(prompts=config.prompt_library(), clients=clients, monotonic=SystemClock().boot_s)
    served = ServedExecutors(config, parts)
    desks = served.desks()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(clients.close)
        stop = await stack.enter_async_context(stop_on_signals())
        serving = await stack.enter_async_context(serve(served.service(desks), listen))
        if listen.host not in (LOOPBACK, "::1", "localhost"):
            _LOG.warning("executor_serves_unencrypted", host=listen.host, mend="put a TLS proxy in front of it")
        _LOG.info(
            "executor_serves", http=serving.http, grpc=serving.grpc, traders=sum(len(desk.traders) for desk in desks)
        )
        await stop.wait()
    _LOG.info("executor_stopped")


def longest_decision_s(config: Config) -> int:
    """Return how long a decision of the config's traders may take, in whole seconds."""
    timeouts = [spec.executor.timeout_s for tenant in config.tenants.values() for spec in tenant.traders]
    return ceil(max([config.manager.decision_timeout_s, *timeouts]))


class ServedExecutors:
    """Build the executors of a config's traders; each tenant's key opens a desk with its own."""

    def __init__(self, config: Config, parts: ExecutorParts) -> None:
        self._config = config
        self._parts = parts

    def desks(self) -> tuple[Desk, ...]:
        """Return a desk for each tenant that has a key, with an executor for each of its traders."""
        desks = []
        for tenant_id, tenant in self._config.tenants.items():
            if tenant.executor_key:
                self._check_budgets(tenant)
                own = replace(self._parts, models=self._config.models(tenant_id))
                desks.append(desk_of(self._config.secret(tenant.executor_key), self._executors(tenant, own)))
        if not desks:
            mend = "add `executor_server: {key: ${NAME}}` with a key that the desks have too"
            raise ExecutorConfigError(f"{self._config.path}: executor_server is missing; {mend}")
        return tuple(desks)

    def service(self, desks: Sequence[Desk]) -> DecisionService:
        """Return what decides for whoever has the key of a desk; raise ExecutorConfigError for keys that are unfit."""
        try:
            return DecisionService(desks)
        except ExecutorConfigError as error:
            raise ExecutorConfigError(f"{self._config.path}: executor_server.key: {error}") from error

    def _check_budgets(self, tenant: TenantConfig) -> None:
        budgets = (tenant.budgets.tenant_usd_per_day, tenant.budgets.trader_usd_per_day)
        limited = ["budgets"] * any(usd is not None for usd in budgets)
        limited += [f"model {name}" for name, one in tenant.models.items() if one.budget_usd_per_day is not None]
        limited += [f"trader {spec.id}" for spec in tenant.traders if spec.executor.budget_usd_per_day is not None]
        if limited:
            raise ExecutorConfigError(
                f"{self._config.path}: {limited[0]}: a daily budget cannot be held here; what was spent is kept in a "
                "desk's database, and a server has none; remove it here and watch the costs that desks see"
            )

    def _executors(self, tenant: TenantConfig, parts: ExecutorParts) -> dict[str, Executor]:
        executors: dict[str, Executor] = {}
        for spec in tenant.traders:
            where = f"{self._config.path}: trader {spec.id}"
            if spec.executor.type is ExecutorType.REMOTE:
                mend = "give it the executor that is to decide here"
                raise ExecutorConfigError(
                    f"{where}: executor type is 'remote', so the server would only ask on; {mend}"
                )
            try:
                executors[spec.id] = build_executor(self._config.with_key(spec.executor), parts)
            except ExecutorConfigError as error:
                raise ExecutorConfigError(f"{where}: {error}") from error
        return executors
