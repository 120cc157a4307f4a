"""Whatever a model writes can be stored: NUL and lone surrogates are replaced, all else is kept."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from executor.contract import Action, Decision, FullDecision, ItemError
from manager.state.recorded import storable, storable_decision


@given(st.text(alphabet=st.characters(codec=None)))
def test_any_text_becomes_storable_and_stays_so(text: str) -> None:
    cleaned = storable(text)
    assert "\x00" not in cleaned
    cleaned.encode("utf-8")
    assert storable(cleaned) == cleaned


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00")))
def test_storable_text_is_kept_to_the_letter(text: str) -> None:
    assert storable(text) == text


def test_lone_surrogates_and_nul_are_replaced() -> None:
    assert storable("a\x00b\ud800c\U0001f600") == "a\ufffdb\ufffdc\U0001f600"


def test_every_text_of_a_decision_is_cleaned() -> None:
    item = Decision(symbol="BTC/USDT:USDT", action=Action.HOLD, reasoning="\x00", invalidation="\udfff")
    full = FullDecision(
        decisions=(item,),
        reply="r\x00",
        reasoning="\ud800",
        model="m\x00",
        errors=(ItemError(path="p\x00", message="\x00"),),
    )
    cleaned = storable_decision(full)
    texts = [cleaned.reply, cleaned.reasoning, cleaned.model, cleaned.errors[0].path, cleaned.errors[0].message]
    texts += [cleaned.decisions[0].reasoning, cleaned.decisions[0].invalidation]
    assert all("\ufffd" in text and "\x00" not in text for text in texts)
    assert dataclasses.replace(cleaned.decisions[0], reasoning="\x00", invalidation="\udfff") == item
