"""A context comes back from JSON as a prompt saw it, also one that was stored before a field existed."""

import json
from dataclasses import replace

import pytest

from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context
from executor.prompts.values import CANDLES_SHOWN, LONG_EVERY, LONG_SHOWN
from manager.resources import resource
from manager.state.errors import InvalidRow
from manager.state.recorded import context_json, context_of_json
from state_rows import BTC

PROMPTS = PromptLibrary(resource("prompts"))


@pytest.mark.parametrize("template", ["prompts/general.md", "prompts/grid.md"])
def test_a_recorded_context_renders_the_same_prompt(template: str) -> None:
    context = sample_context()
    again = context_of_json(context_json(context))
    assert PROMPTS.render(template, again) == PROMPTS.render(template, context)
    assert context_json(again) == context_json(context)


def test_candles_are_kept_only_where_a_model_saw_them() -> None:
    shown, hidden = (
        context_of_json(context_json(context)).market[BTC]
        for context in (sample_context(), replace(sample_context(), details=None))
    )
    assert (len(shown.candles(99)), len(shown.candles(99, LONG_EVERY))) == (CANDLES_SHOWN, LONG_SHOWN)
    assert (len(shown.candles(3)), len(shown.candles(0)), len(shown.candles(5, 2))) == (3, 0, 0)
    assert (len(hidden.candles(99)), len(hidden.closes(99))) == (0, 30)


def test_what_was_stored_before_a_field_existed_is_still_read() -> None:
    stored = json.loads(context_json(sample_context()))
    del stored["details"]
    for position in stored["positions"]:
        del position["peak_pnl"]
    for market in stored["market"].values():
        for name in ("open_interest", "base_s", "last_candles", "long_candles"):
            del market[name]
        market["window"] = market.pop("last_closes")
    stored["refusals"] = stored.pop("denials")
    old = context_of_json(json.dumps(stored))
    assert [denial.code for denial in old.denials] == ["COOLDOWN"]
    assert (old.details, old.positions[0].peak_pnl, old.market[BTC].open_interest) == (None, None, None)
    assert (len(old.market[BTC].closes(99)), old.market[BTC].candles(99)) == (30, ())
    user = PROMPTS.render("prompts/general.md", old).user
    assert "best so far n/a" in user
    assert "What you may still use" not in user


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"trader_id": 7}'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidRow, match="no recorded context"):
        context_of_json(text)
