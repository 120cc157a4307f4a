"""A decision's context as it is stored: the market as plain values, candles as far as a prompt shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from decimal import Decimal
from typing import Annotated, Any, Final, get_type_hints

from pydantic import AliasChoices, Field, TypeAdapter, ValidationError

from executor.contract import Candle, Context, Denial, Indicators, MarketView
from executor.prompts.values import CANDLES_SHOWN, CLOSES_SHOWN, LONG_EVERY, LONG_SHOWN
from manager.state.checks import check_value
from manager.state.errors import InvalidRow


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedMarket:
    """Show one symbol as a decision saw it; the window holds no more closes than a prompt prints."""

    symbol: str
    mark: Decimal
    age_s: float
    funding_rate: Decimal | None
    indicators: Indicators
    window: tuple[float, ...]
    open_interest: Decimal | None = None
    base_s: float = 0.0
    recent: tuple[Candle, ...] = ()
    long: tuple[Candle, ...] = ()

    def closes(self, count: int) -> Sequence[float]:
        """Return up to `count` closes, oldest first."""
        return self.window[-count:] if count > 0 else ()

    def candles(self, count: int, every: int = 1) -> Sequence[Candle]:
        """Return up to `count` candles, oldest first; only the two series that a prompt prints are kept."""
        kept = self.recent if every == 1 else self.long if every == LONG_EVERY else ()
        return kept[-count:] if count > 0 else ()


def record_market(context: Context) -> dict[str, RecordedMarket]:
    """Return the market of a context as values, with candles if a model saw them; recorded ones stay as they are."""
    seen = context.details is not None
    return {
        symbol: view if isinstance(view, RecordedMarket) else _record(view, seen)
        for symbol, view in context.market.items()
    }


def _record(view: MarketView, candles: bool) -> RecordedMarket:
    check_value(Decimal, view.mark, f"mark of {view.symbol}")
    check_value(Decimal, view.funding_rate, f"funding rate of {view.symbol}")
    check_value(Decimal, view.open_interest, f"open interest of {view.symbol}")
    return RecordedMarket(
        symbol=view.symbol,
        mark=view.mark,
        age_s=view.age_s,
        funding_rate=view.funding_rate,
        indicators=view.indicators,
        window=tuple(view.closes(CLOSES_SHOWN)),
        open_interest=view.open_interest,
        base_s=view.base_s,
        recent=tuple(view.candles(CANDLES_SHOWN)) if candles else (),
        long=tuple(view.candles(LONG_SHOWN, LONG_EVERY)) if candles else (),
    )


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


def refilled(target: Any, value: Any, **replaced: Any) -> Any:
    """Return a `target` with the fields of `value`, those of `replaced` instead where given."""
    return target(**{item.name: getattr(value, item.name) for item in fields(target)} | replaced)


# Contexts that were stored before denials had this name are still read.
_DENIALS: Final = Annotated[tuple[Denial, ...], Field(validation_alias=AliasChoices("denials", "refusals"))]
STORED_CONTEXT: Final = mirror(Context, {"market": dict[str, RecordedMarket], "denials": _DENIALS})
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
        check_value(RecordedMarket, view, "context.market.")
    return found
