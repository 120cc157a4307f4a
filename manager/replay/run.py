"""Run one replay from files to report."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from manager.bootstrap.replay import assemble_replay
from manager.bootstrap.request import ReplayRequest
from manager.replay.driver import ReplayDriver
from manager.replay.report import OutFolder, Report, collect


def run_replay(request: ReplayRequest) -> dict[str, Any]:
    """Replay and return the report; write the files of `request.out`.

    Raise ConfigError, MarketDataError, RecordedError or ReplayInputError before anything is replayed.
    """
    with _seldom_collected():
        return asyncio.run(replay(request))


async def replay(request: ReplayRequest) -> dict[str, Any]:
    """Do the same within a running event loop."""
    out = OutFolder(request.out) if request.out is not None else None
    if out is not None:
        out.check()
    started = perf_counter()
    assembled = await assemble_replay(request)
    try:
        tally = await ReplayDriver(assembled, request.progress).run()
        assembled.finish()
    finally:
        await assembled.close()
        if request.note is not None:
            for item in assembled.invalid:
                for error in item.errors:
                    place = f"{request.decisions}, line {item.line}: {error.path}"
                    request.note(f"{place}: {error.message}; trader {item.trader_id} did without this item")
    facts = await collect(assembled)
    report = Report(assembled, facts, tally).as_json(perf_counter() - started)
    if out is not None:
        out.write(assembled, facts, report)
    return report


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Rows and values are frozen and make no cycles: the collector would walk a growing heap and find nothing."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
