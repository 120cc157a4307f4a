"""What endpoints tell of tokens: read leniently, never below what they charge for, never absurd."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.models.usage import MOST_TOKENS, usage_in, usage_of

ASKED = 40


def counted(raw: object) -> tuple[int, int, int]:
    usage = usage_of(raw, lambda: ASKED)
    return usage.input_tokens, usage.cached_tokens, usage.output_tokens


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"prompt_tokens": 100, "completion_tokens": 10}, (100, 0, 10)),
        ({"prompt_tokens": "100", "completion_tokens": 10.0}, (100, 0, 10)),
        ({"input_tokens": 100, "output_tokens": 10}, (100, 0, 10)),
        ({"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 7}}, (100, 7, 10)),
        ({"prompt_tokens": 100, "completion_tokens": 10, "prompt_cache_hit_tokens": 6}, (100, 6, 10)),
        ({"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": [1]}, (100, 0, 10)),
        ({"prompt_tokens": -1, "completion_tokens": 10}, (0, 0, 10)),
        ({"prompt_tokens": 100.5, "completion_tokens": 10}, (0, 0, 10)),
        ({"prompt_tokens": "many", "completion_tokens": True}, (0, 0, 0)),
        ({"prompt_tokens": 100, "completion_tokens": None}, (100, 0, 0)),
        ({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 5110}, (100, 0, 5010)),
        ({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}, (100, 0, 10)),
        ({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 90}, (100, 0, 10)),
        ({"total_tokens": 5000}, (0, 0, 5000 - ASKED)),
        ({"total_tokens": 5}, (0, 0, 0)),
        ({"prompt_tokens": 9 * 10**18, "completion_tokens": 10**20, "total_tokens": 10**19}, (0, 0, 0)),
        ({"prompt_tokens": MOST_TOKENS, "completion_tokens": MOST_TOKENS + 1}, (MOST_TOKENS, 0, 0)),
        ([1], (0, 0, 0)),
        ("odd", (0, 0, 0)),
        (None, (0, 0, 0)),
    ],
)
def test_what_is_told_is_counted_and_what_makes_no_sense_is_unknown(raw: object, expected: tuple[int, ...]) -> None:
    assert counted(raw) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
NAMES = st.sampled_from(["prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"])


@given(JSON | st.dictionaries(NAMES, JSON))
def test_nothing_raises_and_every_count_fits_a_database(raw: Any) -> None:
    assert all(0 <= count <= MOST_TOKENS for count in counted(raw))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"usage": 7}', b'{"usage": {"prompt_tokens": 0}}', b"\xff"])
def test_an_answer_that_tells_no_tokens_has_none(content: bytes) -> None:
    assert usage_in(content, lambda: ASKED) is None


def test_an_answer_of_any_kind_may_tell_its_tokens() -> None:
    body = json.dumps({"error": {"message": "x"}, "usage": {"prompt_tokens": 9}}).encode()
    found = usage_in(body, lambda: ASKED)
    assert found is not None
    assert found.input_tokens == 9
