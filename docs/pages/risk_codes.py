"""Write docs/risk-codes.md from the registry."""

from collections.abc import Iterable
from pathlib import Path

from manager.desk.risk.registry import ACCOUNT_RULES, LOCAL_RULES, OTHER_CODES
from manager.desk.risk.rule import Code, Reach, Rule, Stage
from manager.desk.risk.standing import OpenCase
from pages.markdown import table

PAGE = Path(__file__).parents[1] / "risk-codes.md"
_INTRO = """\
# Risk codes

Written by `make docs`; change the rows of `manager/desk/risk/registry.py`, not this page.
A denial stores its code with the numbers that decided, a clamp the value before and after. Checks run in this order.
Reducing passes all of them: no code on this page blocks a close, but for NO_POSITION, where there is nothing to close.
INVALID_ITEM and INVALID_REPLY, which a model is told of its own reply, are not on this page: concepts/prompts.md.
"""
_LOCAL = """\
Checked for each trader alone: closes of a batch first, then adjust_stop, then entries. A rule marked **w** also
denies to widen a stop, one marked **a** denies any change of a stop that breaks it; tightening passes all others.
"""
_DESK = "Checked for the whole account, cumulatively, in the order that the resolver gave.\n"
_ROUND = "Given by other stages of a round.\n"
_LATER = "Reserved for venues and products to come; nothing gives them yet.\n"
_COLUMNS = ("code", "rule")
_MARKS = {Reach.ENTRY: "", Reach.WIDENING: " **w**", Reach.ADJUST: " **a**"}


def render() -> str:
    """Return the page as Markdown."""
    other = {stage: [code for code in OTHER_CODES if code.stage is stage] for stage in Stage}
    parts = [
        _INTRO,
        "## The trader's own checks\n",
        _LOCAL,
        table(_COLUMNS, [*_local_rows(LOCAL_RULES), *_code_rows(other[Stage.LOCAL])]),
        "## The account's checks\n",
        _DESK,
        table(_COLUMNS, ((rule.code, rule.doc) for rule in ACCOUNT_RULES)),
        "## Other stages\n",
        _ROUND,
        table(_COLUMNS, _code_rows(other[Stage.ROUND])),
        "## Reserved\n",
        _LATER,
        table(_COLUMNS, _code_rows(other[Stage.LATER])),
    ]
    return "\n".join(parts)


def _local_rows(rules: Iterable[Rule[OpenCase]]) -> list[tuple[str, str]]:
    return [(rule.code + _MARKS[rule.reach], rule.doc) for rule in rules]


def _code_rows(codes: Iterable[Code]) -> list[tuple[str, str]]:
    return [(code.code, code.doc) for code in codes]
