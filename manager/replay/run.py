"""Run one replay from files to report."""

import asyncio
from time import perf_counter
from typing import Any

from manager.replay.driver import ReplayDriver
from manager.replay.export import export
from manager.replay.report import collect, report_of
from manager.replay.request import ReplayRequest
from manager.replay.setup import assemble


def run_replay(request: ReplayRequest) -> dict[str, Any]:
    """Replay and return the report; write the files of `request.out`.

    Raise ConfigError, MarketDataError, RecordedError or ReplayInputError before anything is replayed.
    """
    return asyncio.run(replay(request))


async def replay(request: ReplayRequest) -> dict[str, Any]:
    """Do the same within a running event loop."""
    started = perf_counter()
    assembled = await assemble(request)
    try:
        tally = await ReplayDriver(assembled, request.progress).run()
    finally:
        await assembled.clients.close()
    facts = await collect(assembled)
    report = report_of(assembled, facts, tally, perf_counter() - started)
    if request.out is not None:
        export(request.out, assembled, facts, report)
    return report
