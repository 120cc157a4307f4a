"""Read, check and freeze a config file; all of it is right, or none of it is used."""

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from manager.config.accounts import AccountReader, InstrumentsOf, desk_rules, instruments_of_market
from manager.config.definition import Definitions, Ground
from manager.config.errors import ConfigError, Problem
from manager.config.fields import Environment
from manager.config.models import read_budgets, read_models
from manager.config.reading import Reading, validated
from manager.config.schema import ManagerSection, RootSection, TenantSection
from manager.config.source import Loc, Source, dotted, read_source, shown
from manager.config.traders import TraderReader
from manager.config.values import Config, ManagerSettings, MonitoringSettings, TenantConfig, prompts_beside
from manager.errors import Fault
from manager.state.records import DEFAULT_TENANT, TenantId
from traders.spec import ManagedBy, TraderSpec

SECRET_FIELDS: Final = frozenset({"api_key", "api_secret", "alert_webhook", "key"})
_SECTIONS: Final = ("manager", "global_limits", "monitoring", "data")


def load_config(
    path: Path,
    env: Mapping[str, str] = os.environ,
    *,
    instruments_of: InstrumentsOf = instruments_of_market,
    candles: Path | None = None,
    check_prompts: bool = True,
) -> Config:
    """Return the config at `path`; raise ConfigError with every mistake in it.

    `env`, that of the process by default, resolves ${NAME}. `instruments_of` names the symbols an account quotes,
    None where that cannot be known offline; a replay passes those of its file `candles`, which messages then name.
    Without `check_prompts` a template may be broken: a worker that takes over must start.
    """
    source, environment = read_source(path), Environment(variables=env, used={})
    source.refuse_references(SECRET_FIELDS)
    reading = Reading(source=source, environment=environment, root=_root(source, environment))
    prompts = cache(partial(prompts_beside, path)) if check_prompts else None
    tenants = _Tenants(reading, instruments_of, Ground(prompts=prompts, replays=True, candles=candles))
    return _config(path, reading, tenants.read())


def load_traders(
    path: Path, config: Config, tenant: TenantId, env: Mapping[str, str] = os.environ
) -> tuple[TraderSpec, ...]:
    """Return the traders of the file at `path`, one mapping or a `traders:` list, for accounts of `config`.

    Raises ConfigError with every mistake. They count as managed by the API, so no reload of the config touches them.
    """
    source = read_source(path)
    source.refuse_references(SECRET_FIELDS)
    specs = traders_beside(source, _listed(source), config, tenant, env)
    source.finish()
    return tuple(replace(spec, managed_by=ManagedBy.API) for spec in specs)


def traders_beside(
    source: Source, listed: list[Any], config: Config, tenant: TenantId, env: Mapping[str, str]
) -> tuple[TraderSpec, ...]:
    """Return the traders listed in a source that fit accounts and models of `config`; notes what is wrong there."""
    manager = ManagerSection.model_construct(decision_timeout=config.manager.decision_timeout_s)
    root = RootSection.model_construct(manager=manager)
    reading = Reading(source=source, environment=Environment(variables=env, used={}), root=root)
    known = config.tenants.get(tenant)
    ground = Ground(prompts=cache(config.prompt_library), replays=True)
    if known is not None:
        ground = replace(Ground.of(known, prompts=ground.prompts, replays=True), budgets=None)
    return TraderReader(reading, ground, ()).read(listed)


def placed(path: Path, fault: Fault) -> ConfigError:
    """Return the error of `fault` with the file and the line where its trader is written."""
    source = read_source(path)
    listed, loc = source.root.get("traders"), fault.loc
    if isinstance(listed, list):
        ids = [given.get("id") if isinstance(given, dict) else None for given in listed]
        if fault.trader_id not in ids:
            source.lines.clear()
        else:
            loc = ("traders", ids.index(fault.trader_id), *loc)
    field, line = dotted(loc), source.line(loc)
    return ConfigError([Problem(file=str(path), line=line, field=field, value=fault.value, mend=fault.text)])


def _listed(source: Source) -> list[Any]:
    if "traders" not in source.root:
        source.lines = {("traders", 0, *loc): line for loc, line in source.lines.items()}
        return [source.root]
    for key in source.root:
        if key != "traders":
            source.report((key,), shown((key,), source.root[key]), "a file of traders has the key `traders` only")
    listed = source.root["traders"]
    if isinstance(listed, list) and listed:
        return listed
    source.report(("traders",), shown((), listed), "expected a list with at least one trader")
    return []


def _root(source: Source, environment: Environment) -> RootSection:
    """Return the top level; what is wrong in it is read as its default, so that the rest is judged too."""

    def sound(key: str, given: Any) -> bool:
        return validated(Source(path=Path()), (), RootSection, {key: given}, environment) is not None

    root = validated(source, (), RootSection, source.root, environment)
    if root is not None:
        return root
    kept: dict[str, Any] = {}
    for key, given in source.root.items():
        if key in _SECTIONS and isinstance(given, dict):
            kept[key] = {part: value for part, value in given.items() if sound(key, {part: value})}
        elif sound(key, given):
            kept[key] = given
    return RootSection.model_validate(kept, context=environment)


class _Tenants:
    """Read the tenants of a file: the top level, which is one itself, and those that it names."""

    def __init__(self, reading: Reading, instruments_of: InstrumentsOf, ground: Ground) -> None:
        self._reading = reading
        self._instruments_of = instruments_of
        self._ground = ground

    def read(self) -> dict[TenantId, TenantConfig]:
        """Return them by id; raise ConfigError with every mistake in the file."""
        reading = self._reading
        tenants = {DEFAULT_TENANT: self._tenant((), DEFAULT_TENANT, reading.root)}
        for name, given in reading.root.tenants.items():
            loc, tenant_id = ("tenants", name), TenantId(name)
            section, sound = reading.validated(loc, TenantSection, given), reading.named(loc)
            if tenant_id == DEFAULT_TENANT:
                mend = "the top level of the file is this tenant; choose another name"
                reading.report(loc, shown((), name), mend)
            elif sound and section is not None:
                tenants[tenant_id] = self._tenant(loc, tenant_id, section)
        if not any(tenant.traders for tenant in tenants.values()) and not reading.source.problems:
            mend = "a desk needs traders; add one, such as the first of the sample config.yaml"
            reading.report(("traders",), "empty", mend)
        reading.source.finish()
        return tenants

    def _tenant(self, loc: Loc, tenant_id: TenantId, section: TenantSection) -> TenantConfig:
        reading, budgets = self._reading, read_budgets(section.budgets)
        rules = desk_rules(reading.root, section.global_limits)
        accounts = AccountReader(reading, rules, self._instruments_of).read((*loc, "exchanges"), section.exchanges)
        models = read_models(reading, (*loc, "models"), section.models, budgets)
        ground = replace(
            self._ground,
            accounts=accounts,
            models=models,
            budgets=budgets,
            declared_accounts=tuple(section.exchanges),
            declared_models=tuple(section.models),
        )
        traders = TraderReader(reading, ground, loc).read(section.traders)
        limited = [name for name, one in models.items() if one.budget_usd_per_day is not None]
        for fault in Definitions(ground).unpriced(limited):
            reading.report((*loc, *fault.loc), fault.value, fault.mend)
        server = section.executor_server
        return TenantConfig(
            tenant_id=tenant_id,
            accounts=accounts,
            traders=traders,
            models=models,
            budgets=budgets,
            executor_key=server.key if server is not None else "",
        )


def _config(path: Path, reading: Reading, tenants: Mapping[TenantId, TenantConfig]) -> Config:
    manager, monitoring, data = reading.root.manager, reading.root.monitoring, reading.root.data
    return Config(
        path=path,
        manager=ManagerSettings(
            total_equity_usd=manager.total_equity_usd,
            decision_timeout_s=manager.decision_timeout,
            decision_concurrency=manager.decision_concurrency,
            max_data_age_s=data.max_data_age,
            prompt_retention_s=data.prompt_retention,
            context_retention_s=data.context_retention,
            equity_retention_s=data.equity_retention,
            snapshot_max_age_s=data.snapshot_max_age,
        ),
        monitoring=MonitoringSettings(
            update_interval_s=monitoring.update_interval,
            alert_webhook=monitoring.alert_webhook or "",
            metrics_exporter=monitoring.metrics_exporter,
        ),
        tenants=tenants,
        secrets=dict(reading.environment.used),
    )
