"""However a reply is mangled, reading it loosely fails politely, and no number comes from anywhere but the text."""

import json
import re
from decimal import Decimal
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from executor.contract import Decision
from executor.reply.parser import parse_reply
from executor_contexts import BTC, SOL, open_item

SYMBOLS = frozenset({BTC, SOL})
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
SNIPPETS = st.sampled_from(
    [
        *"{}[]:,\"'`~#/<>\\\n%$\uff1a\uff0c\u201c\u201d",
        *("```", "<think>", "</think>", "//", "null", "None", "1,000", "~100", "75%", "...", "-", "NaN", "1e5", "98"),
        *('"action"', '"decisions"', '"hold"', '"symbol"', f'"{BTC}"', "open_long"),
    ]
)
SIZES = st.decimals("0.01", "99999", places=2)
EXACT = ("stop_loss", "take_profit", "position_size_usd", "confidence", "leverage", "risk_usd", "max_entry_price")


@st.composite
def mangled(draw: st.DrawFn) -> str:
    items = [
        open_item(
            position_size_usd=float(draw(SIZES)), stop_loss=float(draw(SIZES)), reasoning=draw(st.text(max_size=8))
        )
        for _ in range(draw(st.integers(1, 3)))
    ]
    whole: Any = {"reasoning": draw(st.text(max_size=12)), "decisions": items}
    text = json.dumps(draw(st.sampled_from([whole, items, items[0]])), indent=draw(st.sampled_from([None, 1])))
    text = draw(st.sampled_from(["{}", "```json\n{}\n```", "<think>[1, 2]</think>{}", "MACD [-1.5, 2] so {}"])).replace(
        "{}", text
    )
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(SNIPPETS) + text[at + draw(st.integers(0, 3)) :]
    return text


def numbers_of(decision: Decision) -> list[Decimal]:
    return [Decimal(value) for name in EXACT if (value := getattr(decision, name)) is not None]


@settings(max_examples=600)
@given(mangled())
def test_every_number_of_a_decision_occurs_in_the_text(text: str) -> None:
    known = {Decimal(number) for number in NUMBER.findall(text)}
    for decision in parse_reply(text, SYMBOLS).decisions:
        assert set(numbers_of(decision)) <= known
        assert decision.symbol in text
        assert str(decision.action) in text


@settings(max_examples=300)
@given(st.lists(SNIPPETS | st.text(max_size=5), max_size=40).map("".join))
@example("[" * 5_000)
@example('["' * 5_000)
@example('{"a":[' * 5_000)
@example("{'" * 5_000)
@example("{“" * 5_000)
@example('{"decisions": ' * 500)
@example("<think>" * 5_000)
@example("/*" * 5_000)
@example("[1,000" * 5_000)
def test_any_soup_of_punctuation_is_survived(text: str) -> None:
    reply = parse_reply(text, SYMBOLS)
    assert reply.usable or reply.errors


@settings(max_examples=400)
@given(st.data())
def test_a_reply_cut_anywhere_gives_no_decision(data: st.DataObject) -> None:
    items = [open_item(), {"symbol": SOL, "action": "close_long"}]
    text = json.dumps(data.draw(st.sampled_from([{"decisions": items}, items])), indent=1)
    loose = text.replace('"stop_loss"', "stop_loss").replace("\n}", ",\n}")
    cut = data.draw(st.integers(0, len(loose) - 1))
    wrapped = data.draw(st.sampled_from(["", "```json\n", "Decision: "])) + loose[:cut].rstrip()
    assert parse_reply(wrapped, SYMBOLS).decisions == ()
    assert not parse_reply(wrapped, SYMBOLS).usable


MARKS = st.tuples(
    st.sampled_from(["<{}>", "< {} >", "<|{}|>", "◁{}▷", "[{}]", "<x:{}>", '<{} a="1">', "<my_{}_text>"]),
    st.sampled_from(["think", "THINKING", "thought", "reasoning", "analysis", "reflection", "scratchpad", "draft"]),
)


@settings(max_examples=300)
@given(MARKS, st.text(st.characters(exclude_characters="<>[]{}◁▷‹›＜＞⟨⟩〈〉【】｛｝［］"), max_size=30), st.booleans())  # noqa: RUF001 - look-alikes of brackets
def test_no_batch_inside_reasoning_is_taken(mark: tuple[str, str], words: str, ends: bool) -> None:
    form, name = mark
    draft = json.dumps({"decisions": [{"symbol": SOL, "action": "close_long"}]})
    closing = form.format("/" + name).replace(' a="1"', "") if ends else ""
    if form in ("<x:{}>", "<my_{}_text>") and ends:
        closing = "</" + form.format(name)[1:]
    text = f"{form.format(name)}\n{words}\n{draft}\n{closing}\n{words}"
    assert parse_reply(text, SYMBOLS).decisions == ()


@settings(max_examples=300)
@given(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12))
def test_no_batch_is_taken_when_a_word_follows(word: str) -> None:
    draft = json.dumps({"decisions": [{"symbol": SOL, "action": "close_long"}]})
    assert parse_reply(draft, SYMBOLS).usable
    assert word.lower() in ("done", "thanks") or not parse_reply(f"```\n{draft}\n```\n{word}", SYMBOLS).usable
