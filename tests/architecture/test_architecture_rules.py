"""Each architecture rule refuses a bad snippet and lets a good one pass."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from document_rules import absent_pages, dead_paths
from import_rules import import_direction, no_test_packages, sql_in_state_only, telling_names
from purity_rules import pure_stages
from retired_words import retired_words
from size_rules import file_length, function_length, parameter_count
from source_files import Source, parse
from value_rules import decimal_money, environment_in_settings, frozen_stage_values, injected_clock
from wording_rules import annotated, clean_words, documented, reasoned_ignores, sparse_comments


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    rule: Callable[[Source], list[str]]
    path: str
    bad: str
    good: str


VALUES = "manager/desk/plan/values.py"
BOOK = "traders/book.py"
STAGE = "manager/desk/plan/netting.py"
CASES = (
    Case(rule=file_length, path="manager/a.py", bad="x = 1\n" * 501, good="x = 1\n" * 500),
    Case(rule=function_length, path="manager/a.py", bad="def f():\n" + " x\n" * 60, good="def f():\n" + " x\n" * 59),
    Case(
        rule=function_length, path="tests/a.py", bad="async def f():\n" + " x\n" * 60, good="class A:\n" + " x\n" * 90
    ),
    Case(
        rule=parameter_count,
        path="manager/a.py",
        bad="def f(a, b, c, d, /, e, *, g, h): ...",
        good="class A:\n def f(self, a, b, c, d, e, *, g): ...",
    ),
    Case(rule=import_direction, path="exchanges/a.py", bad="import manager.desk", good="import exchanges.types"),
    Case(rule=import_direction, path="executor/a.py", bad="from exchanges import types", good="import json"),
    Case(rule=import_direction, path=BOOK, bad="def f():\n from manager import api", good="import executor.contract"),
    Case(rule=import_direction, path="manager/a.py", bad="import tests.support", good="import traders, exchanges"),
    Case(rule=sql_in_state_only, path="manager/jobs.py", bad="from sqlmodel import select", good="import psycopg"),
    Case(rule=sql_in_state_only, path=BOOK, bad="import sqlalchemy.orm", good="import decimal"),
    Case(rule=injected_clock, path="manager/a.py", bad="import datetime\ndatetime.datetime.now()", good="clock.now()"),
    Case(rule=injected_clock, path="manager/a.py", bad="f(default_factory=datetime.utcnow)", good="datetime.min"),
    Case(rule=injected_clock, path="manager/a.py", bad="import datetime as dt\ndt.date.today()", good="loop.time()"),
    Case(rule=injected_clock, path="manager/a.py", bad="import time as t\nt.monotonic()", good="time.perf_counter()"),
    Case(rule=injected_clock, path="manager/a.py", bad="from time import time", good="from time import sleep"),
    Case(rule=environment_in_settings, path="manager/a.py", bad="import os\nos.environ['A']", good="settings.port"),
    Case(rule=environment_in_settings, path="executor/a.py", bad="from os import getenv", good="from os import path"),
    Case(rule=environment_in_settings, path="manager/a.py", bad="Option(envvar='A')", good="Option(callback=a)"),
    Case(rule=decimal_money, path=BOOK, bad="x = float(price)", good="x = Decimal(price)"),
    Case(rule=decimal_money, path="manager/desk/risk/a.py", bad="float('1')", good="def f(x: float) -> None: ..."),
    Case(rule=decimal_money, path="manager/a.py", bad="Decimal(0.1)", good="Decimal('0.1'); Decimal(1); float('1')"),
    Case(
        rule=frozen_stage_values,
        path=VALUES,
        bad="@dataclass(frozen=True, slots=True)\nclass A: ...",
        good="@dataclass(frozen=True, slots=True, kw_only=True)\nclass A: ...",
    ),
    Case(rule=frozen_stage_values, path=VALUES, bad="@dataclass\nclass A: ...", good="class A(StrEnum): ..."),
    Case(rule=documented, path="manager/a.py", bad="x = 1", good='"""Say it."""'),
    Case(rule=documented, path="manager/a.py", bad='"""A."""\ndef f(): ...', good='"""A."""\ndef _f(): ...'),
    Case(rule=documented, path="manager/a.py", bad='"""A."""\nclass A: ...', good='"""A."""\nclass A:\n "B."'),
    Case(rule=annotated, path="manager/a.py", bad="def f(a) -> int: ...", good="def f(a: int) -> int: ..."),
    Case(rule=annotated, path="manager/a.py", bad="def f(): ...", good="class A:\n def f(self) -> None: ..."),
    Case(rule=annotated, path="manager/a.py", bad="def f(**k) -> int: ...", good="def f(**k: int) -> int: ..."),
    Case(rule=pure_stages, path=STAGE, bad="async def f(): ...", good="def f(view): ..."),
    Case(rule=pure_stages, path="manager/desk/risk/trader.py", bad="def f(clock): ...", good="def f(case): ..."),
    Case(rule=pure_stages, path=STAGE, bad="import structlog", good="import decimal"),
    Case(
        rule=pure_stages, path=STAGE, bad="from exchanges.clock import Clock", good="from exchanges.types import Side"
    ),
    Case(rule=pure_stages, path=STAGE, bad="def f(session): ...", good="def session_of(view): ..."),
    Case(rule=pure_stages, path=STAGE, bad="def f(x: Store): ...", good="def f(x: Story): ..."),
    Case(rule=pure_stages, path=STAGE, bad="print(1)", good="printed = 1"),
    Case(rule=retired_words, path="manager/a.py", bad="def fire_alarm(): ...", good="def fire_incident(): ..."),
    Case(rule=retired_words, path="manager/a.py", bad="class Refusals: ...", good="class RefusedKey: ..."),
    Case(rule=retired_words, path="manager/a.py", bad="wishes = 1", good="swish = 1"),
    Case(rule=retired_words, path="manager/a.py", bad="self.naked_since = 1", good="x = 'NAKED_POSITION'"),
    Case(rule=retired_words, path="manager/a.py", bad="dropped = 1", good="target_quantity = 1"),
    Case(rule=retired_words, path="manager/a.py", bad="def target(): ...", good="def of_target_position(): ..."),
    Case(rule=retired_words, path="manager/a.py", bad="def f(stranger): ...", good="foreign_key = 1"),
    Case(rule=reasoned_ignores, path="a.py", bad="x = 1  # no" + "qa: F401", good="x = 1  # no" + "qa: F401 - used"),
    Case(rule=reasoned_ignores, path="a.py", bad="x = 1  # type: " + "ignore[misc]", good="x  # type: a comment"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule.__name__}-{case.bad[:30]!r}")
def test_rule_can_fail_and_can_pass(case: Case) -> None:
    assert case.rule(parse(case.path, case.bad))
    assert not case.rule(parse(case.path, case.good))


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        (telling_names, "manager/utils.py", "manager/netting.py"),
        (telling_names, "traders/common/book.py", "traders/book.py"),
        (retired_words, "manager/desk/strangers.py", "manager/desk/external.py"),
        (no_test_packages, "tests/unit/__init__.py", "manager/__init__.py"),
    ],
)
def test_path_rule_can_fail_and_can_pass(rule: Callable[[Source], list[str]], bad: str, good: str) -> None:
    assert rule(parse(bad, ""))
    assert not rule(parse(good, ""))


@pytest.mark.parametrize("home", ["exchanges/clock.py", "tests/unit/test_a.py", "benchmarks/a.py"])
def test_the_clock_may_be_read_at_home(home: str) -> None:
    assert not injected_clock(parse(home, "datetime.now(UTC); time.monotonic()"))


@pytest.mark.parametrize("home", ["manager/state/tables/a.py", "migrations/env.py"])
def test_sql_is_allowed_at_home(home: str) -> None:
    assert not sql_in_state_only(parse(home, "from sqlmodel import select"))


def test_comments_over_five_percent_are_refused() -> None:
    code = "x = 1\n" * 18
    assert sparse_comments("a", [parse("a/a.py", code + "# why\n" * 2)])
    assert not sparse_comments("a", [parse("a/a.py", code + "x = '# no'\n# why\n")])


@pytest.mark.parametrize(
    ("path", "bad", "good"),
    [
        ("README.md", "see /work" + "/main", "see docs/work/main"),
        ("a.py", "open('/tmp/" + "brief/x')", "open('/tmp/x')"),
        ("requirements.lock", "x @ https://host/x.whl", "x==1 --hash=sha256:00"),
        ("requirements.lock", "--find-links /opt/x", "    # via httpx"),
    ],
)
def test_words_of_a_machine_are_refused(path: str, bad: str, good: str) -> None:
    assert clean_words(path, bad)
    assert not clean_words(path, good)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see `manager/desk/plan/netting.py` and `manager/desk/`, [rules](../rules.md#7) and https://host/x.md", 0),
        ("see `manager/desk/shop.py`", 1),
        ("see [rules](rules.md)", 1),
        ("`default/trend` is a tenant and a trader", 0),
    ],
)
def test_dead_paths_of_a_document_are_refused(text: str, found: int) -> None:
    known = frozenset({"manager/desk", "manager/desk/plan/netting.py", "docs/rules.md"})
    assert len(dead_paths("docs/concepts/round.md", text, known)) == found


def test_pages_from_outside_are_refused() -> None:
    page = "RULES" + ".md"
    assert len(absent_pages("a.py", f"see {page} 4 and {page}")) == 1
    assert not absent_pages("a.py", "see docs/rules.md and prompts/_rules.md")
