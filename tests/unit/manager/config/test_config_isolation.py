"""`isolation:` for the desk and for a trader: the defaults of docs/rules.md 1, what each key does, what is refused."""

from pathlib import Path

import pytest

from config_files import changed, write_config
from manager.config import ConfigError, load_config
from manager.state.records import DEFAULT_TENANT
from traders.spec import IsolationRules


def _rules(folder: Path, desk: str = "", own: str = "") -> IsolationRules:
    text = changed("manager:\n", f"manager:\n  isolation: {desk}\n" if desk else "manager:\n")
    if own:
        text = text.replace("    decision_interval: 3m\n", f"    decision_interval: 3m\n    isolation: {own}\n", 1)
    tenant = load_config(write_config(folder, text), {}).tenants[DEFAULT_TENANT]
    return tenant.accounts["paper"].rules.isolation.with_own(tenant.traders[0])


def test_the_defaults_are_those_of_the_rules(tmp_path: Path) -> None:
    rules = _rules(tmp_path)
    assert (rules.sharpe_below, rules.min_trades) == (-1.0, 20)
    assert (rules.failed_decisions, rules.violations_per_day, rules.flatten) == (10, 30, False)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("sharpe_below", "-0.5", -0.5),
        ("sharpe_below", "null", None),
        ("min_trades", "5", 5),
        ("failed_decisions", "3", 3),
        ("failed_decisions", "null", None),
        ("violations_per_day", "7", 7),
        ("violations_per_day", "null", None),
        ("flatten", "true", True),
    ],
)
def test_each_key_counts_for_the_desk_and_for_a_trader_alone(
    tmp_path: Path, key: str, text: str, value: object
) -> None:
    assert getattr(_rules(tmp_path, desk=f"{{{key}: {text}}}"), key) == value
    assert getattr(_rules(tmp_path, own=f"{{{key}: {text}}}"), key) == value


def test_a_traders_own_key_goes_before_the_desks_and_leaves_the_others(tmp_path: Path) -> None:
    rules = _rules(tmp_path, desk="{failed_decisions: 4, sharpe_below: null}", own="{failed_decisions: 10}")
    assert (rules.failed_decisions, rules.sharpe_below, rules.violations_per_day) == (10, None, 30)


@pytest.mark.parametrize(
    ("given", "mend"),
    [
        ("{min_trades: 0}", "a whole number from 1 to 100000"),
        ("{failed_decisions: 0}", "a whole number from 1, or null"),
        ("{violations_per_day: 2000}", "a whole number from 1 to 1000, or null"),
        ("{sharpe_below: low}", "expected a number"),
        ("{flatten: maybe}", "true or false"),
        ("{sharpe: -1}", "sharpe_below"),
    ],
)
def test_what_is_no_value_is_refused_with_its_mend(tmp_path: Path, given: str, mend: str) -> None:
    for where in ({"desk": given}, {"own": given}):
        with pytest.raises(ConfigError, match=mend):
            _rules(tmp_path, **where)
