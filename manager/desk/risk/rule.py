"""What a risk rule is, and how a list of them is applied to one case.

A rule is a function of a case. It returns nothing or a finding: a denial, a size to cut to, a leverage to lower to.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Generic, Protocol, Self, TypeVar

from manager.desk.plan.outcomes import Clamp, Denial, plain
from manager.state.records import IntentRow


class Stage(StrEnum):
    """Name who gives a code: the trader's own checks, the account's, another stage of the round, or a later venue."""

    LOCAL = "local"
    ACCOUNT = "account"
    ROUND = "round"
    LATER = "later"


class Reach(StrEnum):
    """Name what a local rule may deny: entries; a widened stop too; or any change of a stop too."""

    ENTRY = "entry"
    WIDENING = "widening"
    ADJUST = "adjust"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Say what a rule found: a denial, or with `limit` (USD notional) or `leverage` set, what to cut to."""

    detail: str
    numbers: Mapping[str, str] = field(default_factory=dict)
    limit: Decimal | None = None
    leverage: int | None = None


class Case(Protocol):
    """Present one entry to the rules; `cut` returns None when the rest is below the venue's minimum."""

    @property
    def intent(self) -> IntentRow: ...
    @property
    def size_usd(self) -> Decimal: ...
    @property
    def leverage(self) -> int: ...
    @property
    def adds(self) -> bool: ...
    def cut(self, limit: Decimal) -> Self | None: ...
    def lever(self, leverage: int) -> Self: ...


CaseT = TypeVar("CaseT", bound=Case)
CaseT_contra = TypeVar("CaseT_contra", contravariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Generic[CaseT_contra]):
    """Hold one row of the registry: the code, who checks it, the function and the sentence for docs/risk-codes.md.

    `of_result` judges the position that results, so that of an add it waits until the size is known.
    """

    code: str
    stage: Stage
    function: Callable[[CaseT_contra], Finding | None]
    doc: str
    reach: Reach = Reach.ENTRY
    of_result: bool = False


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
    """Apply rules in order until one denies; a case that is cut below the minimum is denied with that code."""
    clamps: tuple[Clamp, ...] = ()
    for rule in sorted(rules, key=lambda rule: rule.of_result) if case.adds else rules:
        finding = rule.function(case)
        if finding is None:
            continue
        if finding.leverage is not None:
            after = case.lever(finding.leverage)
            clamps += (Clamp.of(case.intent, rule.code, Decimal(case.leverage), Decimal(after.leverage)),)
        else:
            rest = case.cut(finding.limit) if finding.limit is not None else None
            if rest is None:
                return Checked(case=case, denial=Denial.of(case.intent, rule.code, finding.detail, **finding.numbers))
            after = rest
            clamps += (Clamp.of(case.intent, rule.code, case.size_usd, after.size_usd),)
        case = after
    return Checked(case=case, clamps=clamps)


def deny(detail: str, **numbers: object) -> Finding:
    """Return a denial with its numbers as plain text."""
    return Finding(detail=detail, numbers={name: plain(value) for name, value in numbers.items()})


def cut_to(limit: Decimal, detail: str, **numbers: object) -> Finding:
    """Return a cut to `limit` USD of notional, nothing when that is not above zero."""
    return Finding(detail=detail, numbers={name: plain(value) for name, value in numbers.items()}, limit=limit)
