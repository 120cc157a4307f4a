"""The one form in which contexts and decisions travel: plain values for JSON and for protobuf alike.

Decimals are strings, instants ISO 8601 in UTC, NaN a string. What arrives is checked as if nobody had done so before: a
context for its form, a decision item by item by the contract that a model's reply has to meet.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from executor import contract
from executor.errors import ReplySyntaxError, RequestInvalid, UnreadableAnswer
from executor.prompts.library import prompt_digest
from executor.prompts.values import SeenMarket
from executor.remote.endpoint import MAX_BYTES, MAX_SYMBOLS
from executor.reply.item import decision_from_mapping
from executor.reply.parser import MAX_ITEMS
from executor.reply.text import MAX_DIGITS, RepeatedKeys, clean_text, read_json

MAX_ROWS: Final = 256
_TEXT: Final = 200_000
_SHORT: Final = 1_000
_FAULT: Final = 300
_SHOWN_PROBLEMS: Final = 5
_MOST: Final = 10**12
_DEAREST_USD: Final = Decimal(10) ** 6
_FINEST: Final = -30
_WIDEST: Final = 999
_PLAIN_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d{1,3})?", re.ASCII)
_SERIES: Final = ("last_closes", "last_candles", "long_candles")
_EXPECTED: Final = "expected `propdesk executor serve` of this version there"


@dataclass(frozen=True, slots=True, kw_only=True)
class SentContext(contract.Context):
    """Carry a context whose market is plain values."""

    market: Mapping[str, SeenMarket]

    @staticmethod
    def of(context: contract.Context) -> "SentContext":
        """Return a context with its market as values; one that has come over the wire stays as it is."""
        if isinstance(context, SentContext):
            return context
        values = {field.name: getattr(context, field.name) for field in fields(context)}
        market = {symbol: SeenMarket.of(symbol, view) for symbol, view in context.market.items()}
        return SentContext(**{**values, "market": market})

    def in_utc(self) -> Self:
        """Return the context; raise ValueError for the first instant that is not in UTC."""
        for place, moment in self._instants():
            if moment.utcoffset() != timedelta(0):
                raise ValueError(
                    f"{place} is {moment.isoformat()}; expected an instant in UTC such as 2025-01-15T12:00:00Z"
                )
        return self

    def sizes(self) -> Iterator[tuple[str, int, int]]:
        """Return each list by its place, how long it is and how long it may be."""
        for name in ("symbols", "positions", "market"):
            yield name, len(getattr(self, name)), MAX_SYMBOLS
        yield "denials", len(self.denials), MAX_ROWS
        if self.details is not None:
            for name in ("orders", "trades", "others"):
                yield f"details.{name}", len(getattr(self.details, name) or ()), MAX_ROWS
        for symbol, view in self.market.items():
            for name in _SERIES:
                yield f"market.{clean_text(symbol, 60)}.{name}", len(getattr(view, name)), MAX_ROWS

    def _instants(self) -> Iterator[tuple[str, datetime]]:
        yield "now", self.now
        if self.performance.updated_at is not None:
            yield "performance.updated_at", self.performance.updated_at
        for position in self.positions:
            yield "positions.opened_at", position.opened_at
        for trade in self.details.trades if self.details is not None else ():
            yield "details.trades.at", trade.at
        for view in self.market.values():
            for candle in (*view.last_candles, *view.long_candles):
                yield "market.candles.at", candle.at


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    context: Annotated[SentContext, AfterValidator(SentContext.in_utc)]


_Count = Annotated[int, Field(ge=0, le=_MOST)]
_Usd = Annotated[Decimal, Field(ge=0, le=_DEAREST_USD)]


class _Tokens(BaseModel):
    input_tokens: _Count = 0
    cached_tokens: _Count = 0
    output_tokens: _Count = 0
    cost_usd: _Usd = contract.ZERO
    unknown_usd: _Usd = contract.ZERO

    @field_validator("cost_usd", "unknown_usd")
    @classmethod
    def storable(cls, cost: Decimal) -> Decimal:
        """Return the cost; raise ValueError for more digits than any column takes."""
        if cost and (cost.adjusted() < _FINEST or len(cost.as_tuple().digits) > MAX_DIGITS):
            raise ValueError(f"expected 0 or an amount of at least 1e{_FINEST} and {MAX_DIGITS} digits")
        return cost or contract.ZERO


class _Answer(BaseModel):
    """Hold an answer whose items are still to be judged; what a newer executor adds is passed over."""

    decisions: Annotated[list[Any], Field(max_length=MAX_ITEMS)]
    outcome: contract.Outcome
    errors: tuple[contract.ItemError, ...] = ()
    reasoning: str = ""
    model: str = ""
    prompt_hash: str = ""
    prompt: contract.RenderedPrompt | None = None
    reply: str = ""
    usage: _Tokens = _Tokens()
    attempts: _Count = 1

    def has_its_prompt(self) -> bool:
        """Tell whether its prompt, if any, may be kept under its hash: another text there would make `why` a lie."""
        prompt = self.prompt
        if prompt is None:
            return True
        texts = (prompt.system, prompt.user, prompt.template, *prompt.cuts)
        fit = all(clean_text(text, MAX_BYTES) == text for text in texts)
        fit = fit and 0 <= prompt.version <= _MOST and 0 <= prompt.tokens <= _MOST
        return fit and self.prompt_hash == prompt.sha256 == prompt_digest(prompt.system, prompt.user)

    def judged(self, context: contract.Context) -> contract.FullDecision:
        """Return the decision, each item held against the contract on the symbols of the context."""
        symbols = context.known_symbols
        decisions: list[contract.Decision] = []
        errors = [
            contract.ItemError(path=clean_text(error.path, _SHORT), message=clean_text(error.message, _SHORT))
            for error in self.errors[:MAX_ITEMS]
        ]
        for index, item in enumerate(self.decisions):
            judged = decision_from_mapping(item, f"decisions[{index}]", symbols)
            if isinstance(judged, contract.Decision):
                decisions.append(judged)
            else:
                errors.extend(judged)
        lost = bool(self.decisions) and not decisions
        return contract.FullDecision(
            decisions=tuple(decisions),
            outcome=contract.Outcome.INVALID_REPLY if lost else self.outcome,
            errors=tuple(errors),
            reasoning=clean_text(self.reasoning, _TEXT),
            model=clean_text(self.model, 200),
            prompt_hash=clean_text(self.prompt_hash, 64),
            prompt=self.prompt,
            reply=clean_text(self.reply, _TEXT),
            usage=contract.Usage(**dict(self.usage)),
            attempts=self.attempts,
        )


_DECISIONS: Final = TypeAdapter(contract.FullDecision)


def context_values(context: contract.Context) -> dict[str, Any]:
    """Return a context as plain values under the names of the contract; raise ValueError if it cannot travel."""
    return dict(_Request(context=SentContext.of(context)).model_dump(mode="json")["context"])


def context_json(context: contract.Context) -> bytes:
    """Return the body of a request for a decision; raise ValueError if the context cannot travel."""
    return _Request(context=SentContext.of(context)).model_dump_json().encode()


def read_request(body: bytes) -> contract.Context:
    """Return the context of a request's body; raise RequestInvalid, which names the first faults."""
    try:
        raw = read_json(body.decode("utf-8"))
    except (UnicodeDecodeError, ReplySyntaxError) as error:
        raise RequestInvalid(f"the body is not usable ({error}); send one JSON object in UTF-8") from None
    if not isinstance(raw, Mapping):
        raise RequestInvalid('the body is no JSON object; send {"context": {...}}')
    if isinstance(raw, RepeatedKeys):
        raise RequestInvalid(f"{', '.join(raw.names)} given twice; name each field once")
    given = raw.get("context")
    if isinstance(given, dict) and "denials" not in given and "refusals" in given:
        given["denials"] = given.pop("refusals")  # as older desks call them: servers are updated first
    return _read_context(raw)


def context_of_values(values: Mapping[str, Any]) -> contract.Context:
    """Return the context of plain values; raise RequestInvalid, which names the first faults."""
    return _read_context({"context": values})


def _read_context(raw: Mapping[str, Any]) -> contract.Context:
    try:
        context = _Request.model_validate(raw).context
    except ValidationError as error:
        raise RequestInvalid(_problems(error)) from None
    for place, count, most in context.sizes():
        if count > most:
            raise RequestInvalid(f"context.{place}: has {count} entries; at most {most} are taken at once")
    for fault in _faults(raw["context"], context, "context"):
        raise RequestInvalid(clean_text(fault, _FAULT))
    return context


def _faults(raw: Any, value: Any, place: str) -> Iterator[str]:
    """Walk what was sent beside what it was read as: each value is said once and plainly, which only `raw` shows."""
    if isinstance(raw, RepeatedKeys):
        yield f"{place}: {', '.join(raw.names)} given twice; name each field once"
    if isinstance(value, Decimal):
        written_plainly = not isinstance(raw, str) or _PLAIN_NUMBER.fullmatch(raw)
        if not written_plainly or abs(value.adjusted()) > _WIDEST:
            yield f"{place}: expected a plain number such as 1250.5, without spaces or separators"
    elif is_dataclass(value) and not isinstance(value, contract.Candle):
        for name in (field.name for field in fields(value) if field.name in raw):
            yield from _faults(raw[name], getattr(value, name), f"{place}.{name}")
    elif isinstance(value, Mapping):
        for symbol, view in value.items():
            if view.symbol != symbol:
                yield f"{place}.{symbol}: holds the market of {view.symbol}; send each symbol its own"
            yield from _faults(raw[symbol], view, f"{place}.{symbol}")
    elif isinstance(value, tuple):
        for index, (sent, item) in enumerate(zip(raw, value, strict=True)):
            yield from _faults(sent, item, f"{place}.{index}")


def decision_values(decision: contract.FullDecision) -> dict[str, Any]:
    """Return a decision as plain values under the names of the contract."""
    return dict(_DECISIONS.dump_python(decision, mode="json"))


def decision_json(decision: contract.FullDecision) -> bytes:
    """Return a decision as the body of an answer."""
    return _DECISIONS.dump_json(decision)


def read_answer(body: bytes, context: contract.Context) -> contract.FullDecision:
    """Return the decision of an answer's body; raise UnreadableAnswer for anything else."""
    try:
        raw = read_json(body.decode("utf-8"))
    except (UnicodeDecodeError, ReplySyntaxError) as error:
        raise UnreadableAnswer(f"answered no decision ({clean_text(str(error), _SHORT)}); {_EXPECTED}") from None
    return decision_of_values(raw, context)


def decision_of_values(raw: object, context: contract.Context) -> contract.FullDecision:
    """Return the decision that plain values state; raise UnreadableAnswer if they state none.

    Each item is judged alone, on the symbols of `context`; a batch of which nothing is left is an invalid reply.
    """
    try:
        answer = _Answer.model_validate(raw)
    except ValidationError as error:
        raise UnreadableAnswer(f"answered no decision ({_problems(error)}); {_EXPECTED}") from None
    if answer.outcome is not contract.Outcome.DECIDED and answer.decisions:
        raise UnreadableAnswer(f"answered {len(answer.decisions)} decisions beside {answer.outcome}; {_EXPECTED}")
    if not answer.has_its_prompt():
        raise UnreadableAnswer(f"answered a prompt that cannot be kept under the hash beside it; {_EXPECTED}")
    return answer.judged(context)


def _problems(error: ValidationError) -> str:
    """Name places and what is wrong there, without the values: a request may hold anything."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    told = [f"{'.'.join(map(str, one['loc'])) or 'the object'}: {one['msg']}" for one in found[:_SHOWN_PROBLEMS]]
    more = f" and {len(found) - _SHOWN_PROBLEMS} more" if len(found) > _SHOWN_PROBLEMS else ""
    return clean_text("; ".join(told) + more, _SHORT)
