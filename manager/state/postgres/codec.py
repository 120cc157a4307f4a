"""Rows as JSON and back: a batch is one parameter of a statement, a result one value, both coded in compiled code.

Decimals travel as strings and so stay exact; floats in their shortest exact form.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import field, fields, make_dataclass
from types import GenericAlias
from typing import Any, get_type_hints

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from executor.contract import Context
from manager.state.checks import check_value
from manager.state.errors import InvalidRow
from manager.state.recorded import RecordedMarket, record_market
from manager.state.records import KEYS, BookRow, DecisionRow


def _mirror(kind: Any, replaced: Mapping[str, Any]) -> Any:
    hints = {**get_type_hints(kind), **replaced}
    return make_dataclass(
        f"Stored{kind.__name__}",
        [(item.name, hints[item.name], field(default=item.default)) for item in fields(kind)],
        frozen=True,
        slots=True,
        kw_only=True,
    )


_STORED_CONTEXT = _mirror(Context, {"market": dict[str, RecordedMarket]})
_STORED_DECISION = _mirror(DecisionRow, {"context": _STORED_CONTEXT | None})


def _as(target: Any, value: Any, **replaced: Any) -> Any:
    return target(**{item.name: getattr(value, item.name) for item in fields(target)} | replaced)


class Codec:
    """Code the rows of one type."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        batch: Any = GenericAlias(tuple, (kind, Ellipsis))
        self._batch: TypeAdapter[Any] = TypeAdapter(batch)
        self._fields = {name: (hint, TypeAdapter(hint)) for name, hint in get_type_hints(kind).items()}

    def dump(self, rows: Sequence[Any]) -> str:
        """Return a JSON array of objects, one for each row; raise InvalidRow for what JSON cannot carry."""
        try:
            return self._batch.dump_json(tuple(rows), warnings="error").decode()
        except (PydanticSerializationError, UnicodeError) as error:
            raise InvalidRow(f"{self._kind.__name__} cannot be stored: {error}") from None

    def load(self, text: str) -> tuple[Any, ...]:
        """Return the rows of a JSON array."""
        rows: tuple[Any, ...] = self._batch.validate_json(text)
        return rows

    def dump_fields(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return some fields of a row as JSON values; raise InvalidRow as for a whole row."""
        dumped = {}
        for name, value in values.items():
            hint, adapter = self._fields[name]
            check_value(hint, value, f"{self._kind.__name__}.{name} ")
            try:
                dumped[name] = adapter.dump_python(value, mode="json", warnings="error")
            except PydanticSerializationError as error:
                raise InvalidRow(f"{self._kind.__name__}.{name} cannot be stored: {error}") from None
        return dumped


class BookCodec(Codec):
    """Add the Sharpe ratio of the performance as a plain column."""

    def __init__(self) -> None:
        super().__init__(BookRow)

    def dump(self, rows: Sequence[BookRow]) -> str:
        """Return the rows with their `sharpe`."""
        try:
            dumped = self._batch.dump_python(tuple(rows), mode="json", warnings="error")
        except PydanticSerializationError as error:
            raise InvalidRow(f"BookRow cannot be stored: {error}") from None
        return json.dumps([book | {"sharpe": row.performance.sharpe} for row, book in zip(rows, dumped, strict=True)])

    def dump_fields(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return some fields, with `sharpe` if the performance is among them."""
        performance = values.get("performance")
        return super().dump_fields(values) | ({"sharpe": performance.sharpe} if performance is not None else {})


class DecisionCodec(Codec):
    """Store the market of a context as values, whatever feed it came from."""

    def __init__(self) -> None:
        super().__init__(_STORED_DECISION)
        self._kind = DecisionRow

    def dump(self, rows: Sequence[DecisionRow]) -> str:
        """Return the rows with the market as the decision saw it."""
        return super().dump([_as(_STORED_DECISION, row, context=_stored_context(row.context)) for row in rows])

    def load(self, text: str) -> tuple[DecisionRow, ...]:
        """Return the rows with a context whose market is RecordedMarket values."""
        return tuple(
            _as(DecisionRow, row, context=row.context and _as(Context, row.context)) for row in super().load(text)
        )

    def dump_fields(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return some fields, the context as it is stored."""
        if "context" in values:
            values = {**values, "context": _stored_context(values["context"])}
        return super().dump_fields(values)


def _stored_context(context: Context | None) -> Any:
    return context and _as(_STORED_CONTEXT, context, market=record_market(context))


def build_codecs() -> Mapping[type[Any], Codec]:
    """Return the codec of each row type."""
    special = {BookRow: BookCodec, DecisionRow: DecisionCodec}
    return {kind: special[kind]() if kind in special else Codec(kind) for kind in KEYS}
