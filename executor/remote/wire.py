"""The one form in which contexts and decisions travel: plain values for JSON and for protobuf alike.

Decimals are strings, instants ISO 8601 in UTC, NaN a string. What arrives is checked as if nobody had done so before: a
context for its form, a decision item by item by the contract that a model's reply has to meet.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from executor.contract import (
    Candle,
    Context,
    Decision,
    FullDecision,
    Indicators,
    ItemError,
    MarketView,
    Outcome,
    RenderedPrompt,
    Usage,
)
from executor.errors import ReplySyntaxError, RequestInvalid, UnreadableAnswer
from executor.prompts.library import prompt_digest
from executor.prompts.values import CANDLES_SHOWN, CLOSES_SHOWN, LONG_EVERY, LONG_SHOWN
from executor.remote.connections import MAX_BYTES
from executor.remote.request_rules import check_request
from executor.reply.json_text import MAX_DIGITS, RepeatedKeys, read_json
from executor.reply.parser import MAX_ITEMS, clean_text, decision_from_mapping

_TEXT: Final = 200_000
_SHORT: Final = 1_000
_SHOWN_PROBLEMS: Final = 5
_MOST: Final = 10**12
_DEAREST_USD: Final = Decimal(10) ** 6
_FINEST: Final = -30


@dataclass(frozen=True, slots=True, kw_only=True)
class SentMarket:
    """Show one symbol as far as a prompt prints it; satisfies MarketView."""

    symbol: str
    mark: Decimal
    age_s: float
    indicators: Indicators
    base_s: float = 0.0
    funding_rate: Decimal | None = None
    open_interest: Decimal | None = None
    last_closes: tuple[float, ...] = ()
    last_candles: tuple[Candle, ...] = ()
    long_candles: tuple[Candle, ...] = ()

    def closes(self, count: int) -> Sequence[float]:
        """Return up to `count` closes, oldest first, of those that were sent."""
        return self.last_closes[-count:] if count > 0 else ()

    def candles(self, count: int, every: int = 1) -> Sequence[Candle]:
        """Return up to `count` candles, oldest first; only the two series that a prompt prints are sent."""
        kept = self.last_candles if every == 1 else self.long_candles if every == LONG_EVERY else ()
        return kept[-count:] if count > 0 else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SentContext(Context):
    """Carry a context whose market is plain values."""

    market: Mapping[str, SentMarket]


def _in_utc(context: SentContext) -> SentContext:
    for place, moment in _instants(context):
        if moment.utcoffset() != timedelta(0):
            raise ValueError(
                f"{place} is {moment.isoformat()}; expected an instant in UTC such as 2025-01-15T12:00:00Z"
            )
    return context


def _instants(context: SentContext) -> Iterator[tuple[str, datetime]]:
    yield "now", context.now
    for position in context.positions:
        yield "positions.opened_at", position.opened_at
    for trade in context.details.trades if context.details is not None else ():
        yield "details.trades.at", trade.at
    for view in context.market.values():
        for candle in (*view.last_candles, *view.long_candles):
            yield "market.candles.at", candle.at


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    context: Annotated[SentContext, AfterValidator(_in_utc)]


def _storable(cost: Decimal) -> Decimal:
    if not cost:
        return Decimal(0)
    if cost.adjusted() < _FINEST or len(cost.as_tuple().digits) > MAX_DIGITS:
        raise ValueError(f"expected 0 or an amount of at least 1e{_FINEST} and {MAX_DIGITS} digits")
    return cost


_Count = Annotated[int, Field(ge=0, le=_MOST)]
_Usd = Annotated[Decimal, Field(ge=0, le=_DEAREST_USD), AfterValidator(_storable)]


class _Tokens(BaseModel):
    input_tokens: _Count = 0
    cached_tokens: _Count = 0
    output_tokens: _Count = 0
    cost_usd: _Usd = Decimal(0)
    unknown_usd: _Usd = Decimal(0)


class _Answer(BaseModel):
    """Hold an answer whose items are still to be judged; what a newer executor adds is passed over."""

    decisions: Annotated[list[Any], Field(max_length=MAX_ITEMS)]
    outcome: Outcome
    errors: tuple[ItemError, ...] = ()
    reasoning: str = ""
    model: str = ""
    prompt_hash: str = ""
    prompt: RenderedPrompt | None = None
    reply: str = ""
    usage: _Tokens = _Tokens()
    attempts: _Count = 1


_DECISIONS: Final = TypeAdapter(FullDecision)
_EXPECTED: Final = "expected `propdesk executor serve` of this version there"


def context_values(context: Context) -> dict[str, Any]:
    """Return a context as plain values under the names of the contract; raise ValueError if it cannot travel."""
    values = _Request(context=sent_context(context)).model_dump(mode="json")["context"]
    return dict(values)


def context_json(context: Context) -> bytes:
    """Return the body of a request for a decision; raise ValueError if the context cannot travel."""
    return _Request(context=sent_context(context)).model_dump_json().encode()


def sent_context(context: Context) -> SentContext:
    """Return a context with its market as values; one that has come over the wire stays as it is."""
    if isinstance(context, SentContext):
        return context
    values = {field.name: getattr(context, field.name) for field in fields(context)}
    return SentContext(
        **{**values, "market": {symbol: _market(symbol, view) for symbol, view in context.market.items()}}
    )


def _market(symbol: str, view: MarketView) -> SentMarket:
    return SentMarket(
        symbol=symbol,
        mark=view.mark,
        age_s=view.age_s,
        indicators=view.indicators,
        base_s=view.base_s,
        funding_rate=view.funding_rate,
        open_interest=view.open_interest,
        last_closes=tuple(view.closes(CLOSES_SHOWN)),
        last_candles=tuple(view.candles(CANDLES_SHOWN)),
        long_candles=tuple(view.candles(LONG_SHOWN, LONG_EVERY)),
    )


def read_request(body: bytes) -> Context:
    """Return the context of a request's body; raise RequestInvalid, which names the first faults."""
    try:
        raw = read_json(body.decode("utf-8"))
    except (UnicodeDecodeError, ReplySyntaxError) as error:
        raise RequestInvalid(f"the body is not usable ({error}); send one JSON object in UTF-8") from None
    if not isinstance(raw, Mapping):
        raise RequestInvalid('the body is no JSON object; send {"context": {...}}')
    return _context(raw)


def context_of_values(values: Mapping[str, Any]) -> Context:
    """Return the context of plain values; raise RequestInvalid, which names the first faults."""
    return _context({"context": values})


def _context(raw: Mapping[str, Any]) -> Context:
    if isinstance(raw, RepeatedKeys):
        raise RequestInvalid(f"{', '.join(raw.names)} given twice; name each field once")
    try:
        request = _Request.model_validate(raw)
    except ValidationError as error:
        raise RequestInvalid(_faults(error)) from None
    check_request(raw, request.context)
    return request.context


def decision_values(decision: FullDecision) -> dict[str, Any]:
    """Return a decision as plain values under the names of the contract."""
    return dict(_DECISIONS.dump_python(decision, mode="json"))


def decision_json(decision: FullDecision) -> bytes:
    """Return a decision as the body of an answer."""
    return _DECISIONS.dump_json(decision)


def read_answer(body: bytes, context: Context) -> FullDecision:
    """Return the decision of an answer's body; raise UnreadableAnswer for anything else."""
    try:
        raw = read_json(body.decode("utf-8"))
    except (UnicodeDecodeError, ReplySyntaxError) as error:
        raise UnreadableAnswer(f"answered no decision ({clean_text(str(error), _SHORT)}); {_EXPECTED}") from None
    return decision_of_values(raw, context)


def decision_of_values(raw: object, context: Context) -> FullDecision:
    """Return the decision that plain values state; raise UnreadableAnswer if they state none.

    Each item is judged alone, on the symbols of `context`; a batch of which nothing is left is an invalid reply.
    """
    try:
        answer = _Answer.model_validate(raw)
    except ValidationError as error:
        raise UnreadableAnswer(f"answered no decision ({_faults(error)}); {_EXPECTED}") from None
    if answer.outcome is not Outcome.DECIDED and answer.decisions:
        raise UnreadableAnswer(f"answered {len(answer.decisions)} decisions beside {answer.outcome}; {_EXPECTED}")
    if answer.prompt is not None and not _sound(answer.prompt, answer.prompt_hash):
        raise UnreadableAnswer(f"answered a prompt that cannot be kept under the hash beside it; {_EXPECTED}")
    return _judged(answer, context)


def _judged(answer: _Answer, context: Context) -> FullDecision:
    symbols = frozenset(context.symbols) | {position.symbol for position in context.positions}
    decisions: list[Decision] = []
    errors = [
        ItemError(path=clean_text(error.path, _SHORT), message=clean_text(error.message, _SHORT))
        for error in answer.errors[:MAX_ITEMS]
    ]
    for index, item in enumerate(answer.decisions):
        judged = decision_from_mapping(item, f"decisions[{index}]", symbols)
        if isinstance(judged, Decision):
            decisions.append(judged)
        else:
            errors.extend(judged)
    lost = bool(answer.decisions) and not decisions
    return FullDecision(
        decisions=tuple(decisions),
        outcome=Outcome.INVALID_REPLY if lost else answer.outcome,
        errors=tuple(errors),
        reasoning=clean_text(answer.reasoning, _TEXT),
        model=clean_text(answer.model, 200),
        prompt_hash=clean_text(answer.prompt_hash, 64),
        prompt=answer.prompt,
        reply=clean_text(answer.reply, _TEXT),
        usage=Usage(**dict(answer.usage)),
        attempts=answer.attempts,
    )


def _sound(prompt: RenderedPrompt, digest: str) -> bool:
    """Tell whether a prompt may be kept under its hash: another text there would answer "why" with a lie."""
    texts = (prompt.system, prompt.user, prompt.template, *prompt.cuts)
    fit = all(clean_text(text, MAX_BYTES) == text for text in texts)
    fit = fit and 0 <= prompt.version <= _MOST and 0 <= prompt.tokens <= _MOST
    return fit and digest == prompt.sha256 == prompt_digest(prompt.system, prompt.user)


def _faults(error: ValidationError) -> str:
    """Name places and what is wrong there, without the values: a request may hold anything."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    told = [f"{'.'.join(map(str, one['loc'])) or 'the object'}: {one['msg']}" for one in found[:_SHOWN_PROBLEMS]]
    more = f" and {len(found) - _SHOWN_PROBLEMS} more" if len(found) > _SHOWN_PROBLEMS else ""
    return clean_text("; ".join(told) + more, _SHORT)
