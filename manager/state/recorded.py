"""What a decision leaves behind, as it is stored: text that a database can hold, its prompt compressed, its context.

The market of a context is kept as plain values, candles as far as a prompt shows them.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, make_dataclass, replace
from decimal import Decimal
from typing import Annotated, Any, Final, get_type_hints

from pydantic import AliasChoices, BeforeValidator, Field, TypeAdapter, ValidationError

from executor.contract import Context, Denial, FullDecision, MarketView, RenderedPrompt
from executor.prompts.values import SeenMarket
from manager.state.checks import check_value
from manager.state.errors import InvalidRow
from manager.state.records import DecisionRow, PromptRow

UNSTORABLE = "\ufffd"
_NOW_CALLED: Final = {"window": "last_closes", "recent": "last_candles", "long": "long_candles"}


def storable(text: str) -> str:
    """Return `text` with what PostgreSQL cannot store, NUL and lone surrogates, replaced by U+FFFD."""
    if "\x00" not in text and text.isascii():
        return text
    return text.replace("\x00", UNSTORABLE).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def storable_decision(full: FullDecision) -> FullDecision:
    """Return a decision whose free text can be stored; numbers and symbols were checked when it was parsed."""
    if not full.reply and not full.reasoning and not full.errors:
        return full
    return replace(
        full,
        reply=storable(full.reply),
        reasoning=storable(full.reasoning),
        model=storable(full.model),
        errors=tuple(replace(e, path=storable(e.path), message=storable(e.message)) for e in full.errors),
        decisions=tuple(
            replace(item, reasoning=storable(item.reasoning), invalidation=storable(item.invalidation))
            for item in full.decisions
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptText:
    """Hold both texts of a stored prompt."""

    system: str
    user: str


def prompt_row(decision: DecisionRow, prompt: RenderedPrompt) -> PromptRow:
    """Return the row that keeps the prompt of a decision."""
    return PromptRow(
        tenant_id=decision.tenant_id,
        decision_id=decision.decision_id,
        account_id=decision.account_id,
        trader_id=decision.trader_id,
        at=decision.decided_at,
        template=prompt.template,
        version=prompt.version,
        sha256=prompt.sha256,
        body=base64.b64encode(zlib.compress(json.dumps([prompt.system, prompt.user]).encode())).decode(),
    )


def prompt_text(row: PromptRow) -> PromptText:
    """Return the texts that `row` keeps."""
    system, user = json.loads(zlib.decompress(base64.b64decode(row.body)))
    return PromptText(system=system, user=user)


def record_market(context: Context) -> dict[str, SeenMarket]:
    """Return the market of a context as values, with candles if a model saw them; recorded ones stay as they are."""
    seen = context.details is not None
    return {symbol: _record(view, candles=seen) for symbol, view in context.market.items()}


def _record(view: MarketView, *, candles: bool) -> SeenMarket:
    if isinstance(view, SeenMarket):
        return view
    check_value(Decimal, view.mark, f"mark of {view.symbol}")
    check_value(Decimal, view.funding_rate, f"funding rate of {view.symbol}")
    check_value(Decimal, view.open_interest, f"open interest of {view.symbol}")
    return SeenMarket.of(view.symbol, view, candles=candles)


def _renamed(stored: Any) -> Any:
    return {_NOW_CALLED.get(name, name): stored[name] for name in stored} if isinstance(stored, dict) else stored


def mirror(kind: Any, replaced: Mapping[str, Any]) -> Any:
    """Return a dataclass with the fields of `kind`, some of other types; what has a default may be missing in JSON."""
    hints = {**get_type_hints(kind), **replaced}
    return make_dataclass(
        f"Stored{kind.__name__}",
        [(item.name, hints[item.name], field(default=item.default)) for item in fields(kind)],
        frozen=True,
        slots=True,
        kw_only=True,
    )


def refilled(kind: Any, value: Any, **replaced: Any) -> Any:
    """Return a `kind` with the fields of `value`, those of `replaced` instead where given."""
    return kind(**{item.name: getattr(value, item.name) for item in fields(kind)} | replaced)


# Contexts that were stored before denials and the parts of a market had these names are still read.
_MARKETS: Final = dict[str, Annotated[SeenMarket, BeforeValidator(_renamed)]]
_DENIALS: Final = Annotated[tuple[Denial, ...], Field(validation_alias=AliasChoices("denials", "refusals"))]
STORED_CONTEXT: Final = mirror(Context, {"market": _MARKETS, "denials": _DENIALS})
_CONTEXTS: Final[TypeAdapter[Any]] = TypeAdapter(STORED_CONTEXT)


def stored_context(context: Context) -> Any:
    """Return a context as JSON can carry it."""
    return refilled(STORED_CONTEXT, context, market=record_market(context))


def context_json(context: Context) -> str:
    """Return a context as one line of JSON."""
    return _CONTEXTS.dump_json(stored_context(context)).decode()


def context_of_json(text: str) -> Context:
    """Return the context of `context_json`; raise InvalidRow that says what is wrong with other text."""
    try:
        found: Context = refilled(Context, _CONTEXTS.validate_json(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the line"
        raise InvalidRow(f"no recorded context: {place}: {first['msg']}") from None
    check_value(Context, found, "context.")
    for view in found.market.values():
        check_value(SeenMarket, view, "context.market.")
    return found
