"""Decisions out of a file, delivered when they are due: the input of exact replays."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

from executor.contract import Context, Decision, FullDecision, ItemError
from executor.errors import RecordedError, ReplySyntaxError
from executor.reply.item import decision_from_mapping
from executor.reply.text import RepeatedKeys, clean_text, read_json

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_FIELDS: Final = ("ts_ms", "trader_id", "decisions")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedBatch:
    """Hold one line of a recording; its items stay unjudged until they are delivered. `ts_ms` is UTC."""

    ts_ms: int
    trader_id: str
    items: tuple[object, ...]
    line: int

    @staticmethod
    def read(path: Path, line: int, text: str) -> "RecordedBatch":
        """Return the batch of one line of a file; raise RecordedError, which names field and value."""
        try:
            raw = read_json(text)
        except ReplySyntaxError as error:
            raise RecordedError(path, f"{error}; expected one JSON object a line", line=line) from error
        if not isinstance(raw, dict):
            raise RecordedError(path, f"expected an object with {', '.join(_FIELDS)}", line=line)
        if isinstance(raw, RepeatedKeys):
            raise RecordedError(path, f"{', '.join(raw.names)} given twice; name each field once", line=line)
        for name in raw:
            if name not in _FIELDS:
                given = clean_text(repr(name), 80)
                raise RecordedError(path, f"unknown field {given}; expected {', '.join(_FIELDS)}", line=line)

        def wrong(name: str, expected: str) -> RecordedError:
            value = raw.get(name)
            shown = str(value) if isinstance(value, Decimal) else repr(value)
            given = f"a {type(value).__name__}" if isinstance(value, list | dict) else clean_text(shown, 80)
            return RecordedError(path, f"{name} is {given if name in raw else 'missing'}; {expected}", line=line)

        ts_ms, trader_id, items = (raw.get(name) for name in _FIELDS)
        if not isinstance(ts_ms, int) or isinstance(ts_ms, bool) or ts_ms < 0:
            raise wrong(
                "ts_ms",
                "expected milliseconds since 1970 (UTC) as a whole number, such as 1746814680000" + _stamp_mend(ts_ms),
            )
        if not isinstance(trader_id, str) or not trader_id.strip():
            raise wrong("trader_id", "expected the id of a trader")
        if not isinstance(items, list):
            raise wrong("decisions", "expected a list, [] for none")
        return RecordedBatch(ts_ms=ts_ms, trader_id=clean_text(trader_id), items=tuple(items), line=line)


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidItem:
    """Name one item that was not delivered: its line, its trader and everything that is wrong with it."""

    line: int
    trader_id: str
    errors: tuple[ItemError, ...]


class RecordedExecutor:
    """Deliver each trader's recorded batches once, in order of time and then of the file.

    A batch is due at the first instant at or after its `ts_ms`; an invalid item is left out alone, with its line, and
    told to `on_invalid`. What has been delivered is remembered in this object only.
    """

    def __init__(
        self,
        by_trader: Mapping[str, Sequence[RecordedBatch]],
        on_invalid: Callable[[InvalidItem], object] | None = None,
    ) -> None:
        self._on_invalid = on_invalid
        self._batches = {
            trader: tuple(sorted(batches, key=lambda batch: batch.ts_ms)) for trader, batches in by_trader.items()
        }
        self._times = {trader: [batch.ts_ms for batch in batches] for trader, batches in self._batches.items()}
        self._delivered = dict.fromkeys(self._batches, 0)

    async def decide(self, context: Context) -> FullDecision:
        """Return every batch of the trader that is due at `context.now` and has not been delivered, merged."""
        trader = context.trader_id
        times = self._times.get(trader, [])
        start = self._delivered.get(trader, 0)
        end = bisect_right(times, (context.now - _EPOCH) // _MILLISECOND, lo=start)
        if end == start:
            return FullDecision(model="recorded")
        self._delivered[trader] = end
        symbols = context.known_symbols
        decisions: list[Decision] = []
        errors: list[ItemError] = []
        for batch in self._batches[trader][start:end]:
            for index, item in enumerate(batch.items):
                judged = decision_from_mapping(item, f"decisions[{index}]", symbols)
                if isinstance(judged, Decision):
                    decisions.append(judged)
                else:
                    where = f"(recorded at {batch.ts_ms}, line {batch.line})"
                    errors.extend(replace(error, message=f"{error.message} {where}") for error in judged)
                    if self._on_invalid is not None:
                        self._on_invalid(InvalidItem(line=batch.line, trader_id=trader, errors=judged))
        return FullDecision(decisions=tuple(decisions), errors=tuple(errors), model="recorded")

    async def ping(self) -> None:
        """Do nothing: the recording is in memory."""

    async def close(self) -> None:
        """Do nothing: nothing is held."""


def _stamp_mend(value: object) -> str:
    """Return what to write for a time that is a date, or a number in another form."""
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value() and abs(value) < 10**18:
        return f"; write {value:.0f}"
    if not isinstance(value, str):
        return ""
    if value.strip().isdecimal():
        return "; remove the quotes"
    try:
        at = datetime.fromisoformat(value.strip())
    except ValueError:
        return ""
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return f"; write {(at - _EPOCH) // _MILLISECOND} for this time"


def load_recorded(path: Path) -> dict[str, tuple[RecordedBatch, ...]]:
    """Return the batches of a JSONL file by trader, in order of time; blank lines are skipped.

    Each line is `{"ts_ms": int, "trader_id": str, "decisions": [Decision]}`. Raises RecordedError, with line, field and
    value, for the first line that is not so, and for a file without any. Items of `decisions` are judged when they are
    delivered.
    """
    by_trader: dict[str, list[RecordedBatch]] = {}
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, text in enumerate(file, start=1):
                if text.strip():
                    batch = RecordedBatch.read(path, number, text)
                    by_trader.setdefault(batch.trader_id, []).append(batch)
    except UnicodeDecodeError as error:
        kind = "is UTF-16 text" if error.object[:2] in (b"\xff\xfe", b"\xfe\xff") else "is not UTF-8 text"
        raise RecordedError(path, f"{kind}; save it as UTF-8, one JSON object a line") from error
    except OSError as error:
        why = error.strerror or str(error)
        raise RecordedError(path, f"cannot be read ({why}); expected a readable UTF-8 file of JSON lines") from error
    if not by_trader:
        raise RecordedError(path, f"there is no decision in it; expected lines of JSON with {', '.join(_FIELDS)}")
    return {
        trader: tuple(sorted(batches, key=lambda batch: batch.ts_ms)) for trader, batches in sorted(by_trader.items())
    }
