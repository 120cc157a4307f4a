"""How far each scope may trade: of the service, a tenant, an account and a trader the strictest wins."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from manager.state.kinds import SwitchScope, TradingState
from manager.state.records import AccountRow, TenantId, TraderRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """Say how far the service or a tenant may trade, since when, by whom and why."""

    state: TradingState = TradingState.ACTIVE
    reason: str = ""
    actor: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingScope:
    """Name what is to be switched; `name` is of an account or a trader, empty for the tenant and for the service."""

    kind: SwitchScope
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """Say how far one scope may trade and why; `name` is of its tenant, account or trader."""

    scope: SwitchScope
    name: str
    state: TradingState
    reason: str = ""

    def __str__(self) -> str:
        """Return it in words, without the reason."""
        return f"{f'{self.scope} {self.name}' if self.name else f'the {self.scope}'} is {self.state}"

    @property
    def why(self) -> str:
        """Return the reason, in words where none was given."""
        return self.reason or "no reason given"


def of_account(row: AccountRow) -> Switched:
    """Return how far an account may trade by itself."""
    state, reason = row.trading_state, row.state_reason
    return Switched(scope=SwitchScope.ACCOUNT, name=row.account_id, state=state, reason=reason)


def of_trader(row: TraderRow) -> Switched:
    """Return how far a trader may trade by itself."""
    state, reason = row.trading_state, row.trading_reason
    return Switched(scope=SwitchScope.TRADER, name=row.trader_id, state=state, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """Hold what is switched above an account: the whole service, and its tenant."""

    service: Switch = field(default_factory=Switch)
    tenant: Switch = field(default_factory=Switch)

    def over(self, tenant: TenantId, *narrower: Switched) -> tuple[Switched, ...]:
        """Return the state of each scope from the service to what is in the tenant, the widest first."""
        wide = ((SwitchScope.SERVICE, "", self.service), (SwitchScope.TENANT, tenant, self.tenant))
        return (
            *(Switched(scope=scope, name=name, state=one.state, reason=one.reason) for scope, name, one in wide),
            *narrower,
        )


def strictest(states: Iterable[Switched]) -> Switched:
    """Return the strictest of some states, of equals the first."""
    return max(states, key=lambda one: one.state.strictness)


def limiting(states: Iterable[Switched]) -> tuple[Switched, ...]:
    """Return those that stop entries, the strictest first, of equals in their order."""
    return tuple(
        sorted((one for one in states if one.state is not TradingState.ACTIVE), key=lambda one: -one.state.strictness)
    )
