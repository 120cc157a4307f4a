"""Rows as JSON and back: a batch is one parameter of a statement, a result one value, both coded in compiled code.

Decimals travel as strings and so stay exact; floats in their shortest exact form.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import GenericAlias
from typing import Any, get_type_hints

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from executor.contract import Context
from manager.state.checks import check_value
from manager.state.errors import InvalidRow
from manager.state.keys import KEYS
from manager.state.recorded import STORED_CONTEXT, mirror, refilled, stored_context
from manager.state.records import BookRow, DecisionRow

_STORED_DECISION = mirror(DecisionRow, {"context": STORED_CONTEXT | None})


class Codec:
    """Code the rows of one type."""

    def __init__(self, kind: Any) -> None:
        self._kind = self._hinted = kind
        batch: Any = GenericAlias(tuple, (kind, Ellipsis))
        self._batch: TypeAdapter[Any] = TypeAdapter(batch)

    @cached_property
    def _fields(self) -> Mapping[str, tuple[Any, TypeAdapter[Any]]]:
        return {name: (hint, TypeAdapter(hint)) for name, hint in get_type_hints(self._hinted).items()}

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
        return super().dump(
            [refilled(_STORED_DECISION, row, context=row.context and stored_context(row.context)) for row in rows]
        )

    def load(self, text: str) -> tuple[DecisionRow, ...]:
        """Return the rows with a context whose market is SeenMarket values."""
        return tuple(
            refilled(DecisionRow, row, context=row.context and refilled(Context, row.context))
            for row in super().load(text)
        )

    def dump_fields(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return some fields, the context as it is stored."""
        if "context" in values:
            values = {**values, "context": values["context"] and stored_context(values["context"])}
        return super().dump_fields(values)


class LateCodecs(dict[type[Any], Codec]):
    """Hold the codec of each row type, built when it is first asked for."""

    def __missing__(self, kind: type[Any]) -> Codec:
        special = {BookRow: BookCodec, DecisionRow: DecisionCodec}
        made = self[kind] = special[kind]() if kind in special else Codec(kind)
        return made


def build_codecs() -> Mapping[type[Any], Codec]:
    """Return the codec of each row type, built now: a worker's first round does not wait for them."""
    late = LateCodecs()
    return {kind: late[kind] for kind in KEYS}
