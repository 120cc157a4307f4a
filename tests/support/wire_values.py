"""Strategies for contexts and decisions that travel: any value that the contract's types allow."""

from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from executor.contract import Context, Decision, FullDecision, ItemError, Outcome, RenderedPrompt, Usage
from executor.prompts.library import prompt_digest
from executor.remote.wire import SentContext
from executor.reply.item import decision_from_mapping
from executor_contexts import BTC, SOL

_INT = st.integers(-(2**63), 2**63 - 1)
_TEXT = st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=20)
_MONEY = st.decimals(min_value=Decimal("0.01"), max_value=Decimal(10) ** 9, places=8)
_LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    str: _TEXT,
    int: _INT,
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    datetime: st.datetimes(timezones=st.just(UTC)),
}


def of(kind: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for a type of the contract, its parts included."""
    if kind in _LEAVES:
        return _LEAVES[kind]
    parts = get_args(kind)
    if get_origin(kind) is UnionType or NoneType in parts:
        return st.one_of(*(st.none() if part is NoneType else of(part) for part in parts))
    if get_origin(kind) is tuple:
        return st.lists(of(parts[0]), max_size=2).map(tuple)
    if len(parts) == 2:
        return st.dictionaries(of(parts[0]), of(parts[1]), max_size=2)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        return st.builds(kind, **{field.name: of(hints[field.name]) for field in fields(kind)})
    raise TypeError(f"no strategy for {kind}")


def _keyed(context: SentContext) -> SentContext:
    return replace(context, market={symbol: replace(view, symbol=symbol) for symbol, view in context.market.items()})


CONTEXTS: st.SearchStrategy[Context] = of(SentContext).map(_keyed)


@st.composite
def wishes(draw: st.DrawFn) -> Decision:
    """Draw a decision that a reply may state."""
    symbol, reasoning = draw(st.sampled_from([BTC, SOL])), draw(_TEXT)
    item: dict[str, object] = {"symbol": symbol, "reasoning": reasoning, "action": draw(st.sampled_from(_ACTIONS))}
    match item["action"]:
        case "open_long" | "open_short":
            item |= {"leverage": draw(st.integers(1, 125)), "position_size_usd": draw(_MONEY), "confidence": 80}
            item |= {"stop_loss": draw(st.none() | _MONEY), "max_entry_price": draw(st.none() | _MONEY)}
        case "close_long":
            item["fraction"] = draw(st.decimals(min_value=Decimal("0.001"), max_value=1, places=3))
        case "adjust_stop":
            item["stop_loss"] = draw(_MONEY)
        case "target":
            item["target_quantity"] = draw(_MONEY) * draw(st.sampled_from([1, -1]))
    judged = decision_from_mapping(item, "drawn", {BTC, SOL})
    assert isinstance(judged, Decision), judged
    return judged


_ACTIONS = ("open_long", "open_short", "close_long", "adjust_stop", "hold", "wait", "target")


@st.composite
def decisions(draw: st.DrawFn) -> FullDecision:
    """Draw a decision of an executor that keeps the contract."""
    outcome = draw(st.sampled_from([Outcome.DECIDED, *Outcome]))
    prompt = draw(st.none() | of(RenderedPrompt))
    if prompt is not None:
        digest = prompt_digest(prompt.system, prompt.user)
        prompt = replace(prompt, sha256=digest, version=abs(prompt.version) % 1000, tokens=abs(prompt.tokens) % 10**12)
    count = st.integers(0, 10**12)
    cost = draw(st.decimals(min_value=0, max_value=10**6, places=12))
    usage = Usage(input_tokens=draw(count), cached_tokens=draw(count), output_tokens=draw(count), cost_usd=cost)
    return FullDecision(
        decisions=tuple(draw(st.lists(wishes(), max_size=3))) if outcome is Outcome.DECIDED else (),
        outcome=outcome,
        errors=tuple(draw(st.lists(of(ItemError), max_size=2))),
        reasoning=draw(_TEXT),
        model=draw(_TEXT),
        prompt_hash=prompt.sha256 if prompt is not None else "",
        prompt=prompt,
        reply=draw(_TEXT),
        usage=usage,
        attempts=draw(st.integers(0, 5)),
    )
