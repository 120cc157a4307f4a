"""Take on only what the one check of definitions finds nothing wrong with, wherever it comes from."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache

from manager.config.definition import Definitions, Ground, id_taken, misfit
from manager.config.source import dotted, shown
from manager.config.values import Config
from manager.errors import Fault, RegistrationError, UnknownAccount
from manager.state.records import TenantId
from traders.spec import TraderSpec

_UNPRICED = "expected models with price_per_mtok and max_tokens in extra_body, because a budget counts their calls"


def registration_check(config: Config, *, check_prompts: bool = True, replays: bool = False) -> "RegistrationCheck":
    """Return the check of traders that are registered beside those of `config`."""
    prompts = cache(config.prompt_library) if check_prompts else None
    return RegistrationCheck(
        {owner: Ground.of(tenant, prompts=prompts, replays=replays) for owner, tenant in config.tenants.items()}
    )


def stored(spec: TraderSpec) -> TraderSpec:
    """Return the definition as the database may hold it: without the model's key or a reference to it."""
    return replace(spec, executor=replace(spec.executor, api_key=""))


def id_of_another(spec: TraderSpec, holder: TraderSpec) -> RegistrationError:
    """Return the error of a trader whose id another one has, or had, in any case of letters."""
    return _refused(spec, Fault(loc=("id",), value=shown((), spec.id), mend=id_taken(holder.id)))


class RegistrationCheck:
    """Check definitions against the accounts, models and prompt templates of this installation."""

    def __init__(self, grounds: Mapping[TenantId, Ground]) -> None:
        self._grounds = grounds

    def venue(self, tenant: TenantId, account: str) -> str:
        """Return the type of an account that a checked trader is on."""
        return self._grounds[tenant].accounts[account].type

    def beside(self, tenant: TenantId, known: Iterable[TraderSpec]) -> "Applicants":
        """Return the check of traders that are to stand beside the tenant's `known` ones."""
        return Applicants(self._grounds.get(tenant, Ground()), known)

    def check_budget(self, tenant: TenantId, spec: TraderSpec) -> None:
        """Raise RegistrationError if a budget covers the trader and could not hold; for one taken on before, too."""
        for fault in Definitions(self._grounds.get(tenant, Ground())).uncounted(spec):
            raise _refused(spec, fault)


class Applicants:
    """Check traders one after the other; each that passes stands beside the next."""

    def __init__(self, ground: Ground, known: Iterable[TraderSpec]) -> None:
        self._ground = ground
        self._definitions = Definitions(ground, known)

    def check(self, spec: TraderSpec) -> None:
        """Raise UnknownAccount or RegistrationError for the first fault."""
        for fault in (*misfit(spec), *self._definitions.judge(spec)):
            if fault.loc == ("exchange",) and spec.account not in self._ground.accounts:
                raise UnknownAccount(str(_refused(spec, fault)))
            raise _refused(spec, fault)
        self._definitions.add(spec)


def _refused(spec: TraderSpec, fault: Fault) -> RegistrationError:
    if fault.loc[0] == "models":
        name, key = fault.loc[1:]
        value = f"{name!r} without {'a price' if key == 'price_per_mtok' else 'a cap on its replies'}"
        fault = Fault(loc=("executor", "model"), value=value, mend=_UNPRICED)
    field = dotted(fault.loc) + (f" is {fault.value}" if fault.value else "")
    return RegistrationError(f"trader {spec.id}: {field}: {fault.text}", replace(fault, trader_id=spec.id))
