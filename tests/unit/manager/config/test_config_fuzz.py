"""Whatever stands in a file, it is a config or a ConfigError whose messages show no secret."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from config_files import SOUND
from manager.config import ConfigError, Problem, load_config

KEYS = st.sampled_from(
    [
        "id",
        "exchange",
        "executor",
        "type",
        "market",
        "symbols",
        "risk_params",
        "api_key",
        "traders",
        "manager",
        "a b",
        "",
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["paper", "baseline", "3m", "${A}", "${", "1e999", "synthetic", "llm", "BTC/USDT:USDT"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)


def places(value: Any, loc: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [loc, *(place for key, item in inner for place in places(item, (*loc, key)))]


def replaced(value: Any, loc: tuple[str | int, ...], new: Any) -> Any:
    if not loc:
        return new
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[loc[0]] = replaced(value[loc[0]], loc[1:], new)
    return copy


DOCUMENT = json.loads(json.dumps(YAML(typ="safe").load(SOUND)))


def problems_of(path: Path) -> tuple[Problem, ...]:
    try:
        load_config(path, {"A": "hidden-value"})
    except ConfigError as error:
        return error.problems or (Problem(file="", line=0, field="", value="", mend=""),)
    return ()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@given(place=st.sampled_from(places(DOCUMENT)), value=VALUES)
def test_a_value_out_of_place_is_a_config_error_or_harmless(folder: Path, place: Any, value: Any) -> None:
    path = folder / "config.yaml"
    path.write_text(json.dumps(replaced(DOCUMENT, place, value)), encoding="utf-8")
    for problem in problems_of(path):
        assert problem.mend
        assert "hidden-value" not in str(problem)


@given(text=st.text(max_size=60))
def test_any_text_is_a_config_error(folder: Path, text: str) -> None:
    path = folder / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(ConfigError):
        load_config(path, {})


@given(cut=st.integers(min_value=0, max_value=len(SOUND) - 1), put=st.sampled_from(list("{}[]:,-#&*!|>'\"%@`\t\n ?")))
def test_a_slip_of_the_finger_is_a_config_error_or_harmless(folder: Path, cut: int, put: str) -> None:
    path = folder / "slip.yaml"
    path.write_text(SOUND[:cut] + put + SOUND[cut:], encoding="utf-8")
    assert all(problem.mend for problem in problems_of(path))
