"""What a risk rule is, and how a list of them is applied to one case.

A rule is a function of a case. It returns nothing or a finding: a refusal, a size to cut to, a leverage to lower to.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Generic, Protocol, Self, TypeVar

from exchanges.types import Symbol
from manager.desk.plan.values import Clamp, Denial, plain
from manager.state.records import IntentId
from traders.spec import TraderId


class Stage(StrEnum):
    """Name who gives a code: the trader's own checks, the account's, another stage of the round, or a later venue."""

    LOCAL = "local"
    DESK = "desk"
    ROUND = "round"
    LATER = "later"


class Reach(StrEnum):
    """Name what a local rule may refuse: opens; a widened stop too; or any change of a stop too."""

    OPEN = "open"
    WIDENING = "widening"
    ADJUST = "adjust"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Say what a rule found: a refusal, or with `limit` (USD notional) or `leverage` set, what to cut to."""

    detail: str
    numbers: Mapping[str, str] = field(default_factory=dict)
    limit: Decimal | None = None
    leverage: int | None = None


class Case(Protocol):
    """Present one entry to the rules; `cut` returns None when the rest is below the venue's minimum."""

    @property
    def intent_id(self) -> IntentId: ...
    @property
    def trader_id(self) -> TraderId: ...
    @property
    def symbol(self) -> Symbol: ...
    @property
    def size_usd(self) -> Decimal: ...
    @property
    def leverage(self) -> int: ...
    def cut(self, limit: Decimal) -> Self | None: ...
    def lever(self, leverage: int) -> Self: ...


CaseT = TypeVar("CaseT", bound=Case)
CaseT_contra = TypeVar("CaseT_contra", contravariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Generic[CaseT_contra]):
    """Hold one row of the registry: the code, who checks it, the function and the sentence for docs/risk-codes.md."""

    code: str
    stage: Stage
    function: Callable[[CaseT_contra], Finding | None]
    doc: str
    reach: Reach = Reach.OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Document a code that no rule of the risk manager gives."""

    code: str
    stage: Stage
    doc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked(Generic[CaseT]):
    """Return the case as the rules left it, with its clamps, or its denial."""

    case: CaseT
    clamps: tuple[Clamp, ...] = ()
    denial: Denial | None = None


def apply_rules(rules: Iterable[Rule[CaseT]], case: CaseT) -> Checked[CaseT]:
    """Apply rules in order until one refuses; a case that is cut below the minimum is refused with that code."""
    clamps: tuple[Clamp, ...] = ()
    for rule in rules:
        finding = rule.function(case)
        if finding is None:
            continue
        if finding.leverage is not None:
            after = case.lever(finding.leverage)
            clamps += (_clamp(rule.code, case, Decimal(case.leverage), Decimal(after.leverage)),)
        else:
            rest = case.cut(finding.limit) if finding.limit is not None else None
            if rest is None:
                return Checked(case=case, denial=deny(case, rule.code, finding))
            after = rest
            clamps += (_clamp(rule.code, case, case.size_usd, after.size_usd),)
        case = after
    return Checked(case=case, clamps=clamps)


def deny(case: Case, code: str, finding: Finding) -> Denial:
    """Return the denial of a case with the numbers that decided."""
    return Denial(
        intent_id=case.intent_id,
        trader_id=case.trader_id,
        symbol=case.symbol,
        code=code,
        detail=finding.detail,
        numbers=finding.numbers,
    )


def refuse(detail: str, **numbers: object) -> Finding:
    """Return a refusal with its numbers as plain text."""
    return Finding(detail=detail, numbers=_texts(numbers))


def cut_to(limit: Decimal, detail: str, **numbers: object) -> Finding:
    """Return a cut to `limit` USD of notional, nothing when that is not above zero."""
    return Finding(detail=detail, numbers=_texts(numbers), limit=limit)


def _texts(numbers: Mapping[str, object]) -> dict[str, str]:
    return {name: plain(value) for name, value in numbers.items()}


def _clamp(code: str, case: Case, before: Decimal, after: Decimal) -> Clamp:
    return Clamp(
        intent_id=case.intent_id,
        trader_id=case.trader_id,
        symbol=case.symbol,
        code=code,
        before=before,
        after=after,
    )
