"""What a desk costs that does nothing: CPU of the worker and of PostgreSQL, of many accounts and of many idle traders.

`python benchmarks/upkeep.py [--seconds S] [ACCOUNTSxTRADERS ...]`; one worker in this process, the embedded server in a
temporary folder. On a machine where others work each account may be seen less often than once a second: the cost of a
pass is what compares.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.live_cost import postgres_cpu_s
from benchmarks.many_traders import Desk
from exchanges.clock import SystemClock
from manager.bootstrap.live import build_manager, open_parts
from manager.config import load_config
from manager.processes.worker import serve
from manager.state.database import DatabasePlace
from manager.state.records import DEFAULT_TENANT, AccountRow
from manager.state.store import Store

SIZES = ("100x1", "10x1000")
SETTLE_S = 15


async def passes(store: Store) -> int:
    """Return how many jobs have taken an account so far."""
    async with store.transaction(DEFAULT_TENANT) as tx:
        return sum(row.fencing_token for row in await tx.find(AccountRow, {}, limit=None))


async def measure(accounts: int, traders_each: int, seconds: float) -> str:
    """Run an idle desk and say what it cost."""
    with tempfile.TemporaryDirectory(prefix="propdesk-upkeep-") as name:
        folder, clock, stop = Path(name), SystemClock(), asyncio.Event()
        desk = Desk(traders=accounts * traders_each, accounts=accounts, auto_start=False)
        config, place = load_config(desk.write(folder), {}), DatabasePlace(data_dir=folder / "desk")
        with place.reach(prepare=True) as database:
            async with open_parts(config, database, clock) as parts:
                store = parts.desk.store
                await build_manager(store, config, clock).sync(config)
                worker = asyncio.create_task(serve(parts, stop))
                await asyncio.sleep(SETTLE_S)
                done, cpu, server = await passes(store), time.process_time(), postgres_cpu_s(place.data_dir)
                began = time.perf_counter()
                await asyncio.sleep(seconds)
                wall = time.perf_counter() - began
                cpu, server = time.process_time() - cpu, postgres_cpu_s(place.data_dir) - server
                done = await passes(store) - done
                stop.set()
                await worker
    a_pass = f"{1000 * cpu / done:.2f} + {1000 * server / done:.2f} ms a pass"
    return f"worker {cpu / wall:.2f} + PostgreSQL {server / wall:.2f} cores; {done / wall:.0f} passes/s, {a_pass}"


def main() -> None:
    """Measure each size and print a line for it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sizes", nargs="*", default=SIZES, metavar="ACCOUNTSxTRADERS")
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    for size in given.sizes:
        accounts, traders = map(int, size.split("x"))
        told = asyncio.run(measure(accounts, traders, given.seconds))
        sys.stdout.write(f"{accounts} accounts with {traders} idle traders each: {told}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
