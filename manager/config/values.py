"""What a config says, checked and frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from exchanges.synthetic.config import SyntheticConfig
from executor.models.profile import ModelProfile
from executor.spec import ExecutorSpec
from manager.desk.plan.values import VENUE_TIMEOUT_S, AccountRules
from manager.resources import resource
from manager.state.records import TenantId
from traders.spec import TraderSpec

if TYPE_CHECKING:
    from executor.prompts.library import PromptLibrary


class MarketType(StrEnum):
    """Name where prices come from."""

    SYNTHETIC = "synthetic"
    REPLAY = "replay"
    LIVE = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSettings:
    """Say where the prices of an account come from; fields of other types are unset."""

    type: MarketType = MarketType.SYNTHETIC
    synthetic: SyntheticConfig | None = None
    candles: Path | None = None
    funding: Path | None = None
    venue: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueSettings:
    """Say how to reach a live venue; keys are references such as ${NAME}, never values."""

    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)
    testnet: bool = True
    live: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountConfig:
    """Define one exchange account; `settings` is the value of its venue's own kind, which only the venue reads.

    `quoted` are the symbols of its market, None where only the venue knows. `unfit` says why no trader can be on it.
    A call of the venue may take `timeout_s`, any time where it is None.
    """

    name: str
    type: str
    market: MarketSettings
    rules: AccountRules
    equity_usd: Decimal
    settings: object = None
    timeout_s: float | None = VENUE_TIMEOUT_S
    quoted: frozenset[str] | None = None
    unfit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """Hold what models may cost a tenant on a UTC day; that of models and traders is for those without their own.

    Models have it as theirs already; that of a trader is its own only, so that a default may change under it.
    """

    tenant_usd_per_day: Decimal | None = None
    model_usd_per_day: Decimal | None = None
    trader_usd_per_day: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantConfig:
    """Define what one tenant owns; the keys of `models` and `executor_key` are references such as ${NAME}, or empty."""

    tenant_id: TenantId
    accounts: Mapping[str, AccountConfig]
    traders: tuple[TraderSpec, ...]
    models: Mapping[str, ModelProfile] = field(default_factory=dict)
    budgets: Budgets = field(default_factory=Budgets)
    executor_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerSettings:
    """Hold what applies to the whole process; the rest of `manager:` is in each account's rules."""

    total_equity_usd: Decimal
    decision_timeout_s: int
    decision_concurrency: int
    max_data_age_s: int
    prompt_retention_s: int
    snapshot_max_age_s: int
    context_retention_s: int = 90 * 86_400
    equity_retention_s: int = 400 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoringSettings:
    """Hold how the desk is watched; `alert_webhook` is a reference such as ${NAME} or empty."""

    update_interval_s: int
    alert_webhook: str
    metrics_exporter: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Hold one config file; secrets are in `secrets` only, by variable name, and never printed."""

    path: Path
    manager: ManagerSettings
    monitoring: MonitoringSettings
    tenants: Mapping[TenantId, TenantConfig]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    def prompt_library(self) -> "PromptLibrary":
        """Return the prompt templates in the folder `prompts` beside the config file, then the shipped ones."""
        return prompts_beside(self.path)

    def secret(self, reference: str) -> str:
        """Return the value behind `${NAME}`; KeyError if the config does not name it."""
        return self.secrets[reference.removeprefix("${").removesuffix("}")]

    def with_key(self, executor: ExecutorSpec) -> ExecutorSpec:
        """Return the executor with its key in place of the reference; only this value may open a connection.

        The reference is what a trader's definition carries, so that no key reaches the database.
        """
        return replace(executor, api_key=self.secret(executor.api_key)) if executor.api_key else executor

    def models(self, tenant: TenantId) -> Mapping[str, ModelProfile]:
        """Return the models of a tenant with their keys, none for a tenant that the config does not name."""
        owner = self.tenants.get(tenant)
        return {} if owner is None else {name: self._with_its_key(profile) for name, profile in owner.models.items()}

    def _with_its_key(self, profile: ModelProfile) -> ModelProfile:
        reference = profile.endpoint.api_key
        key = self.secret(reference) if reference else ""
        return replace(profile, endpoint=replace(profile.endpoint, api_key=key))


def prompts_beside(config: Path) -> "PromptLibrary":
    """Return the prompt templates in the folder `prompts` beside a config file, then the shipped ones."""
    from executor.prompts.files import FOLDER
    from executor.prompts.library import PromptLibrary

    return PromptLibrary(config.parent / FOLDER, resource(FOLDER))
