"""Write docs/risk-codes.md from the registry: `python -m manager.desk.risk.codes [FILE]`."""

import sys
from collections.abc import Iterable
from pathlib import Path

from manager.desk.risk.registry import ACCOUNT_RULES, LOCAL_RULES, OTHER_CODES
from manager.desk.risk.rule import Code, Reach, Rule, Stage
from manager.desk.risk.standing import OpenCase

PAGE = Path("docs/risk-codes.md")
_INTRO = """\
# Risk codes

Written by `python -m manager.desk.risk.codes`; change the rows of `manager/desk/risk/registry.py`, not this page.
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
_MARKS = {Reach.ENTRY: "", Reach.WIDENING: " **w**", Reach.ADJUST: " **a**"}


def render() -> str:
    """Return the page as Markdown."""
    other = {stage: [code for code in OTHER_CODES if code.stage is stage] for stage in Stage}
    parts = [
        _INTRO,
        "## The trader's own checks\n",
        _LOCAL,
        _table([*_local_rows(LOCAL_RULES), *_code_rows(other[Stage.LOCAL])]),
        "## The account's checks\n",
        _DESK,
        _table((rule.code, rule.doc) for rule in ACCOUNT_RULES),
        "## Other stages\n",
        _ROUND,
        _table(_code_rows(other[Stage.ROUND])),
        "## Reserved\n",
        _LATER,
        _table(_code_rows(other[Stage.LATER])),
    ]
    return "\n".join(parts)


def main() -> None:
    """Write the page to the given file, docs/risk-codes.md by default."""
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(), encoding="utf-8")


def _local_rows(rules: Iterable[Rule[OpenCase]]) -> list[tuple[str, str]]:
    return [(rule.code + _MARKS[rule.reach], rule.doc) for rule in rules]


def _code_rows(codes: Iterable[Code]) -> list[tuple[str, str]]:
    return [(code.code, code.doc) for code in codes]


def _table(rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"| {code} | {doc} |" for code, doc in rows]
    return "\n".join(["| code | rule |", "|---|---|", *lines]) + "\n"


if __name__ == "__main__":
    main()
