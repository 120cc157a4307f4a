"""Read, check and freeze a config file; all of it is right, or none of it is used."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from executor.prompts.files import FOLDER
from executor.prompts.library import PromptLibrary
from manager.config.accounts import InstrumentsOf, Reading, read_accounts
from manager.config.budgets import budgeted_models, check_budgets, read_budgets
from manager.config.explain import refuse_references, validated
from manager.config.fields import Environment, parse_id
from manager.config.instruments import instruments_of_market
from manager.config.models import read_models
from manager.config.roster import Roster
from manager.config.schema import LimitsSection, ManagerSection, RootSection, TenantSection
from manager.config.source import Loc, Source, read_source, shown
from manager.config.values import Config, ManagerSettings, MonitoringSettings, TenantConfig
from manager.resources import resource
from manager.state.records import DEFAULT_TENANT, TenantId
from traders.spec import ManagedBy, TraderSpec

SECRET_FIELDS: Final = frozenset({"api_key", "api_secret", "alert_webhook", "key"})
_SECTIONS: Final = ("manager", "global_limits", "monitoring", "data")


def load_config(
    path: Path,
    env: Mapping[str, str],
    *,
    instruments_of: InstrumentsOf = instruments_of_market,
    candles: Path | None = None,
    check_prompts: bool = True,
) -> Config:
    """Return the config at `path`; raise ConfigError with every mistake in it.

    `env` resolves ${NAME}. `instruments_of` names the symbols an account quotes, None where that cannot be known
    offline; a replay passes those of its file `candles`, which messages then name. Without `check_prompts` a template
    may be broken: a worker that takes over must start.
    """
    source = read_source(path)
    environment = Environment(variables=env, used={})
    refuse_references(source, SECRET_FIELDS)
    root = _root(source, environment)
    reading = Reading(source=source, environment=environment, root=root, instruments_of=instruments_of, candles=candles)
    prompts = PromptLibrary(path.parent / FOLDER, resource(FOLDER)) if check_prompts else None
    tenants = {DEFAULT_TENANT: _tenant(reading, prompts, (), root)}
    for name, given in root.tenants.items():
        tenant_id = _tenant_id(source, name)
        section = validated(source, ("tenants", name), TenantSection, given, environment)
        if tenant_id is not None and section is not None:
            tenants[tenant_id] = _tenant(reading, prompts, ("tenants", name), section)
    if not any(tenant.traders for tenant in tenants.values()) and not source.problems:
        source.report(
            ("traders",), "empty", "a desk needs traders; add one, such as the first of the sample config.yaml"
        )
    source.finish()
    return _config(path, root, environment, tenants)


def load_traders(path: Path, config: Config, tenant: TenantId, env: Mapping[str, str]) -> tuple[TraderSpec, ...]:
    """Return the traders of the file at `path`, one mapping or a `traders:` list, for accounts of `config`.

    Raises ConfigError with every mistake. They count as managed by the API, so no reload of the config touches them.
    """
    source = read_source(path)
    environment = Environment(variables=env, used={})
    refuse_references(source, SECRET_FIELDS)
    known = config.tenants.get(tenant)
    accounts = known.accounts if known is not None else {}
    root = RootSection.model_construct(
        manager=ManagerSection.model_construct(decision_timeout=config.manager.decision_timeout_s)
    )
    reading = Reading(source=source, environment=environment, root=root, instruments_of=instruments_of_market)
    prompts = config.prompt_library()
    models = known.models if known is not None else {}
    roster = Roster(reading, prompts, loc=(), accounts=accounts, declared=list(accounts), models=models)
    specs = roster.read(_listed(source))
    source.finish()
    return tuple(replace(spec, managed_by=ManagedBy.API) for spec in specs)


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
    root = validated(source, (), RootSection, source.root, environment)
    if root is not None:
        return root
    sound: dict[str, Any] = {}
    for key, given in source.root.items():
        if key in _SECTIONS and isinstance(given, dict):
            parts = {part: value for part, value in given.items() if _sound(environment, key, {part: value})}
            sound[key] = parts
        elif _sound(environment, key, given):
            sound[key] = given
    return RootSection.model_validate(sound, context=environment)


def _sound(environment: Environment, key: str, given: Any) -> bool:
    unheard = Source(path=Path())
    return validated(unheard, (), RootSection, {key: given}, environment) is not None


def _tenant_id(source: Source, name: str) -> TenantId | None:
    loc: Loc = ("tenants", name)
    try:
        parsed = TenantId(parse_id(name))
    except ValueError as error:
        source.report(loc, shown((), name), str(error))
        return None
    if parsed == DEFAULT_TENANT:
        source.report(loc, shown((), name), "the top level of the file is this tenant; choose another name")
        return None
    return parsed


def _tenant(reading: Reading, prompts: PromptLibrary | None, loc: Loc, section: TenantSection) -> TenantConfig:
    limits: LimitsSection = section.global_limits
    accounts = read_accounts(reading, loc, section.exchanges, limits)
    models = read_models(reading, loc, section.models)
    declared = list(section.exchanges)
    roster = Roster(reading, prompts, loc=loc, accounts=accounts, declared=declared, models=section.models)
    traders = roster.read(section.traders)
    tenant_id = TenantId(str(loc[-1])) if loc else DEFAULT_TENANT
    server = section.executor_server
    tenant = TenantConfig(
        tenant_id=tenant_id,
        accounts=accounts,
        traders=traders,
        models=budgeted_models(models, section.budgets.model_usd_per_day),
        budgets=read_budgets(section.budgets),
        executor_key=server.key if server is not None else "",
    )
    check_budgets(reading.source, loc, section.traders, tenant)
    return tenant


def _config(
    path: Path, root: RootSection, environment: Environment, tenants: Mapping[TenantId, TenantConfig]
) -> Config:
    manager, monitoring = root.manager, root.monitoring
    return Config(
        path=path,
        manager=ManagerSettings(
            total_equity_usd=manager.total_equity_usd,
            decision_timeout_s=manager.decision_timeout,
            decision_concurrency=manager.decision_concurrency,
            max_data_age_s=root.data.max_data_age,
            prompt_retention_s=root.data.prompt_retention,
            snapshot_max_age_s=root.data.snapshot_max_age,
        ),
        monitoring=MonitoringSettings(
            update_interval_s=monitoring.update_interval,
            alert_webhook=monitoring.alert_webhook or "",
            metrics_exporter=monitoring.metrics_exporter,
        ),
        tenants=tenants,
        secrets=dict(environment.used),
    )
