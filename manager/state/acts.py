"""The rows of an operator's acts: what was done under which key, and the flattens that are under way."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NewType

from exchanges.types import Symbol
from manager.state.kinds import ActKind, Afterwards, FlattenState, ScopeKind, WhyLeft
from manager.state.records import AccountId, TenantId
from traders.spec import TraderId

ActKey = NewType("ActKey", str)
FlattenId = NewType("FlattenId", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActRow:
    """Keep what an act led to, written with its effect: the same key never acts twice.

    `arguments` is the hash of what was asked for, `result` the typed result as JSON.
    """

    tenant_id: TenantId
    key: ActKey
    act: ActKind
    arguments: str
    at: datetime
    actor: str
    result: str = ""


def only_change(tenant: TenantId, what: str, state: object, *, at: datetime, actor: str) -> ActRow:
    """Return the row that only one change of `what` as it is in `state` can insert: the other gets DuplicateRow."""
    key = ActKey(f"change/{what}/{state}")
    return ActRow(tenant_id=tenant, key=key, act=ActKind.CHANGE, arguments="", at=at, actor=actor, result="{}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlattenScope:
    """Name what is to be flattened; `name` is the trader or the account, empty for all accounts of the tenant."""

    kind: ScopeKind
    name: str = ""

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.kind} {self.name}" if self.name else "all accounts of the tenant"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftPosition:
    """Hold one position that is not closed, and why."""

    trader_id: TraderId
    symbol: Symbol
    quantity: Decimal
    why: WhyLeft
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlattenRow:
    """Hold one account's part of a flatten; while it is OPEN its scope takes no entry and the desk closes what is held.

    Begun by the manager, ended by a pass over the account or by the manager. The parts that one act begins have one id.
    `trader_id` is empty unless the scope is a trader.
    """

    tenant_id: TenantId
    account_id: AccountId
    flatten_id: FlattenId
    scope: ScopeKind
    afterwards: Afterwards
    at: datetime
    actor: str
    reason: str
    trader_id: TraderId = TraderId("")
    state: FlattenState = FlattenState.OPEN
    ended_at: datetime | None = None
    remaining: tuple[LeftPosition, ...] = ()

    def covers(self, trader_id: TraderId) -> bool:
        """Tell whether a trader of the account is in its scope."""
        return not self.trader_id or self.trader_id == trader_id
