"""Say what was asked of a replay and is only partly in its data: the window, funding, recorded decisions."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from exchanges.clock import from_ms, to_ms
from exchanges.replay.columns import CandleColumns, FundingColumns
from executor.recordings.decisions import RecordedBatch
from manager.bootstrap.request import ReplayRequest

_HOUR_MS = 3_600_000


def gaps(
    request: ReplayRequest,
    columns: CandleColumns,
    funding: FundingColumns,
    batches: Mapping[str, Sequence[RecordedBatch]],
) -> Iterator[str]:
    """Yield one sentence for each thing that is partly missing; what is wholly missing was refused before."""
    first, last = columns.instants[0] - columns.interval_ms, columns.instants[-1]
    data = f"{_at(first)} to {_at(last)}"
    if request.start is not None and to_ms(request.start) <= first - columns.interval_ms:
        yield f"{request.candles}: asked from {request.start.isoformat()}, the candles replayed are {data}"
    if request.end is not None and to_ms(request.end) >= last + columns.interval_ms:
        yield f"{request.candles}: asked to {request.end.isoformat()}, the candles replayed are {data}"
    yield from _funding_gaps(request, funding, first, last)
    late = sorted((b.line, b.ts_ms) for some in batches.values() for b in some if b.ts_ms > last)
    early = sum(b.ts_ms < first for some in batches.values() for b in some)
    if late:
        line, stamp = late[0]
        yield (
            f"{request.decisions}: {len(late)} of the decisions come after the last candle's close ({_at(last)}) and "
            f"are never delivered, the first on line {line} ({_at(stamp)})"
        )
    if early:
        yield (
            f"{request.decisions}: {early} of the decisions come before the first candle ({_at(first)}) and are "
            "delivered at its close"
        )


def _funding_gaps(request: ReplayRequest, funding: FundingColumns, first: int, last: int) -> Iterator[str]:
    """A symbol's funding may begin or end one of its own steps inside the candles, an hour where it has one only."""
    for symbol in sorted(funding.symbols):
        instants = [rate.at_ms for rate in funding.rates if rate.symbol == symbol]
        step = min((later - earlier for earlier, later in pairwise(instants)), default=_HOUR_MS)
        if not instants:
            yield f"{request.funding}: no funding for {symbol} within the candles; its positions pay and get none"
        elif instants[0] > first + step or instants[-1] < last - step:
            covered = f"{_at(instants[0])} to {_at(instants[-1])}"
            yield f"{request.funding}: funding for {symbol} is there from {covered} only; outside none is paid"


def _at(ms: int) -> str:
    return from_ms(ms).isoformat()
