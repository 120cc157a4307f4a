"""What travels between a desk and an executor arrives as it was sent, and what is wrong is refused by its place."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from executor import contract
from executor.contract import Action, Context, Decision, Denial, FullDecision, ItemError, Outcome, Usage
from executor.errors import RequestInvalid, UnreadableAnswer
from executor.prompts.library import PromptLibrary, prompt_digest
from executor.prompts.sample import sample_context
from executor.prompts.values import SeenMarket
from executor.proto import decision_pb2
from executor.remote.grpc_messages import answer_of, context_of, decision_of, request_of
from executor.remote.wire import SentContext, context_json, decision_json, read_answer, read_request
from executor_contexts import open_item
from wire_values import CONTEXTS, decisions

CONTEXT = sample_context()
VIEW = next(iter(SentContext.of(CONTEXT).market.values()))
SENT = json.loads(context_json(CONTEXT))
ANSWER = {"decisions": [open_item()], "outcome": "decided", "usage": {"input_tokens": 3, "cost_usd": "0.5"}}
Way = Callable[[Context], Context]


def by_json(context: Context) -> Context:
    return read_request(context_json(context))


def by_protobuf(context: Context) -> Context:
    return context_of(decision_pb2.DecisionRequest.FromString(request_of(context).SerializeToString()))


WAYS = pytest.mark.parametrize("way", [by_json, by_protobuf])


@WAYS
@given(context=CONTEXTS)
def test_a_context_arrives_as_it_was_sent(way: Way, context: Context) -> None:
    arrived = way(context)
    assert arrived == context
    assert context_json(arrived) == context_json(context)


@given(decision=decisions())
def test_a_decision_arrives_as_it_was_taken(decision: FullDecision) -> None:
    assert read_answer(decision_json(decision), CONTEXT) == decision
    answer = decision_pb2.FullDecision.FromString(answer_of(decision).SerializeToString())
    assert decision_of(answer, CONTEXT) == decision


@WAYS
def test_a_model_is_shown_the_same_prompt(way: Way) -> None:
    library = PromptLibrary(Path(__file__).parents[4] / "prompts")
    assert library.render("general.md", way(CONTEXT)) == library.render("general.md", CONTEXT)


@WAYS
def test_a_number_that_is_none_arrives_as_such(way: Way) -> None:
    symbol, view = next(iter(SentContext.of(CONTEXT).market.items()))
    odd = replace(view, last_closes=(float("nan"), float("inf")))
    arrived = way(replace(CONTEXT, market={symbol: odd})).market[symbol]
    assert [str(close) for close in arrived.closes(5)] == ["nan", "inf"]


@WAYS
def test_what_a_trader_is_not_shown_is_not_empty(way: Way) -> None:
    assert CONTEXT.details is not None
    for others in (None, (), CONTEXT.details.others):
        arrived = way(replace(CONTEXT, details=replace(CONTEXT.details, others=others))).details
        assert arrived is not None
        assert arrived.others == others
    assert way(replace(CONTEXT, details=None)).details is None


MIRRORED = {
    **{
        name: getattr(contract, name)
        for name in ("Context", "AccountInfo", "PositionInfo", "PerformanceView", "Limits")
    },
    **{name: getattr(contract, name) for name in ("Indicators", "Denial", "FullDecision", "Decision", "ItemError")},
    **{name: getattr(contract, name) for name in ("RenderedPrompt", "Usage")},
    **{name: getattr(contract, name) for name in ("Candle", "RestingOrder", "ClosedTrade", "NetExposure")},
    **{name: getattr(contract, name) for name in ("RemainingBudget", "Details")},
    "Market": SeenMarket,
}


@pytest.mark.parametrize("name", MIRRORED)
def test_the_proto_has_the_fields_of_the_contract(name: str) -> None:
    messages = decision_pb2.DESCRIPTOR.message_types_by_name
    there = {field.name for field in messages[name].fields} - {"others_shown"}
    assert there == {field.name for field in fields(MIRRORED[name])}


def test_every_message_of_the_contract_is_looked_at() -> None:
    calls = {"DecisionRequest", "PingRequest", "PingReply"}
    assert set(decision_pb2.DESCRIPTOR.message_types_by_name) == set(MIRRORED) | calls


def changed(path: str, value: Any) -> bytes:
    sent = json.loads(json.dumps(SENT))
    *way, last = path.split("/")
    inner = sent
    for step in (step.replace("|", "/") for step in way):
        inner = inner[int(step)] if isinstance(inner, list) else inner[step]
    inner[last] = value
    return json.dumps(sent).encode()


SYMBOL = next(iter(SENT["context"]["market"]))
ALL = json.dumps(SENT).encode()
EAST = datetime(2025, 1, 15, 14, tzinfo=timezone(timedelta(hours=2))).isoformat()
WRONG = [
    (b"", "not JSON"),
    (b"\xff", "UTF-8"),
    (b"[1]", "no JSON object"),
    (b"{}", "context"),
    (b'{"context": {}, "context": {}}', "context given twice"),
    (b"[" * 100_000, "not usable"),
    (changed("context/limit", {}), r"context\.limit"),
    (changed("context/account/equity", "many"), r"context\.account\.equity"),
    (changed("context/account/equity", "NaN"), r"context\.account\.equity"),
    (changed("context/account/equity", None), r"context\.account\.equity"),
    (changed("context/now", "2025-01-15T12:00:00"), "now is 2025-01-15T12:00:00; expected an instant in UTC"),
    (changed("context/now", EAST), "expected an instant in UTC"),
    (changed("context/positions/0/opened_at", EAST), r"positions\.opened_at"),
    (changed("context/market/x", 1), r"context\.market\.x"),
    (changed("context/account/equity", "1_000"), r"context\.account\.equity: expected a plain number"),
    (changed("context/account/equity", " 5 "), r"context\.account\.equity: expected a plain number"),
    (changed("context/account/equity", "1E+100000"), r"context\.account\.equity: expected a plain number"),
    (changed(f"context/market/{SYMBOL}/symbol".replace("/USDT", "|USDT"), "SOL/USDT:USDT"), "holds the market of SOL"),
    (ALL.replace(b'"equity":', b'"equity": "1", "equity":'), r"context\.account: equity given twice"),
    (ALL.replace(b'"open":', b'"open": 1, "open":', 1), r"candles\.0: open given twice"),
]


@pytest.mark.parametrize(("body", "place"), WRONG)
def test_a_wrong_request_is_refused_by_its_place(body: bytes, place: str) -> None:
    with pytest.raises(RequestInvalid, match=place) as refused:
        read_request(body)
    assert len(str(refused.value)) < 1_100


MANY = tuple(f"S{number}/USDT:USDT" for number in range(65))
DENIED = Denial(symbol=MANY[0], action="open_long", code="X", detail="y")
TOO_MANY = [
    (replace(CONTEXT, symbols=MANY), "symbols: has 65 entries; at most 64"),
    (replace(CONTEXT, denials=(DENIED,) * 257), "denials: has 257 entries; at most 256"),
    (
        replace(CONTEXT, market={name: replace(VIEW, symbol=name) for name in MANY}),
        "market: has 65 entries; at most 64",
    ),
    (
        replace(SentContext.of(CONTEXT), market={VIEW.symbol: replace(VIEW, last_closes=(1.0,) * 257)}),
        "last_closes: has 257 entries",
    ),
]


@WAYS
@pytest.mark.parametrize(("context", "said"), TOO_MANY)
def test_no_more_is_taken_than_is_decided_at_once(way: Way, context: Context, said: str) -> None:
    with pytest.raises(RequestInvalid, match=said):
        way(context)


def test_a_field_that_the_proto_does_not_know_is_refused() -> None:
    message = request_of(CONTEXT)
    newer = message.SerializeToString() + b"\x9a\x06\x01x"
    inner = decision_pb2.DecisionRequest(
        context=decision_pb2.Context.FromString(message.context.SerializeToString() + b"\x9a\x06\x01x")
    )
    for request in (decision_pb2.DecisionRequest.FromString(newer), inner):
        with pytest.raises(RequestInvalid, match="does not know; update the server"):
            context_of(request)
    assert context_of(message) == SentContext.of(CONTEXT)


def test_a_desk_that_calls_denials_refusals_is_understood() -> None:
    assert read_request(ALL.replace(b'"denials"', b'"refusals"')) == read_request(ALL)
    with pytest.raises(RequestInvalid, match=r"context\.refusals"):
        read_request(changed("context/refusals", []))


def test_a_number_is_as_exact_as_a_text() -> None:
    body = changed("context/account/equity", "@").replace(b'"@"', b"0.1000000000000000000000000001")
    assert read_request(body).account.equity == Decimal("0.1000000000000000000000000001")


PROMPT = {"system": "a", "user": "b", "sha256": prompt_digest("a", "b"), "template": "t", "version": 1}
GARBAGE = [
    b"",
    b"<html>",
    b"null",
    b"[]",
    b"{}",
    b'{"decisions": [], "outcome": "maybe"}',
    b'{"decisions": {}, "outcome": "decided"}',
    json.dumps({**ANSWER, "outcome": "timeout"}).encode(),
    json.dumps({**ANSWER, "usage": {"cost_usd": "-1"}}).encode(),
    json.dumps({**ANSWER, "usage": {"cost_usd": "NaN"}}).encode(),
    json.dumps({**ANSWER, "attempts": -1}).encode(),
    json.dumps({**ANSWER, "attempts": 10**30}).encode(),
    json.dumps({**ANSWER, "usage": {"input_tokens": 10**13}}).encode(),
    json.dumps({**ANSWER, "usage": {"cost_usd": "1E+300000"}}).encode(),
    json.dumps({**ANSWER, "usage": {"cost_usd": "1E-300000"}}).encode(),
    json.dumps({**ANSWER, "usage": {"cost_usd": "1000001"}}).encode(),
    json.dumps({**ANSWER, "prompt_hash": PROMPT["sha256"], "prompt": {**PROMPT, "version": 10**30}}).encode(),
    json.dumps({**ANSWER, "prompt_hash": PROMPT["sha256"], "prompt": {**PROMPT, "tokens": -1}}).encode(),
    json.dumps({**ANSWER, "decisions": [open_item()] * 201}).encode(),
    json.dumps(
        {
            **ANSWER,
            "prompt_hash": "0",
            "prompt": {"system": "a", "user": "b", "sha256": "0", "template": "t", "version": 1},
        }
    ).encode(),
]


@pytest.mark.parametrize("body", GARBAGE)
def test_what_is_no_decision_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableAnswer, match="expected `propdesk executor serve`"):
        read_answer(body, CONTEXT)


def test_items_of_an_answer_are_judged_one_by_one() -> None:
    items = [open_item(), open_item(symbol="DOGE"), open_item(position_size_usd="~100"), 7]
    decision = read_answer(json.dumps({**ANSWER, "decisions": items}).encode(), CONTEXT)
    assert [one.action for one in decision.decisions] == [Action.OPEN_LONG]
    assert [error.path for error in decision.errors] == [
        "decisions[1].symbol",
        "decisions[2].position_size_usd",
        "decisions[3]",
    ]
    assert decision.usage == Usage(input_tokens=3, cost_usd=Decimal("0.5"))


def test_a_batch_of_which_nothing_is_left_is_an_invalid_reply() -> None:
    decision = read_answer(json.dumps({**ANSWER, "decisions": [7]}).encode(), CONTEXT)
    assert (decision.outcome, decision.decisions) == (Outcome.INVALID_REPLY, ())


def test_what_a_newer_server_adds_is_passed_over() -> None:
    decision = read_answer(json.dumps({**ANSWER, "mood": "good"}).encode(), CONTEXT)
    assert decision.outcome is Outcome.DECIDED


def test_a_long_prompt_may_be_kept() -> None:
    library = PromptLibrary(Path(__file__).parents[4] / "prompts")
    prompt = replace(library.render("general.md", CONTEXT), tokens=9)
    told = FullDecision(prompt=prompt, prompt_hash=prompt.sha256, errors=(ItemError(path="a", message="b"),))
    assert read_answer(decision_json(told), CONTEXT).prompt == prompt
    kept = Decision(symbol=CONTEXT.symbols[0], action=Action.HOLD)
    assert read_answer(decision_json(FullDecision(decisions=(kept,))), CONTEXT).decisions == (kept,)
