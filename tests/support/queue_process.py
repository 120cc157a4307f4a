"""Run a queue worker in a process of its own: `python queue_process.py DSN LOG work|hold`.

Each job appends "start KIND ACCOUNT PID" and "end KIND ACCOUNT PID" to the log; `hold` never ends a job.
"""

import asyncio
import os
import signal
import sys

from manager.jobs.queue import QueueRunner
from manager.jobs.runner import Job
from manager.jobs.worker import QueueWorker


class _LoggingHandlers:
    def __init__(self, log: int, *, hold: bool) -> None:
        self._log = log
        self._hold = hold

    def _write(self, event: str, job: Job) -> None:
        os.write(self._log, f"{event} {job.kind} {job.account_id} {os.getpid()}\n".encode())

    async def decide(self, job: Job) -> None:
        self._write("start", job)
        await (asyncio.Event().wait() if self._hold else asyncio.sleep(0.005))
        self._write("end", job)

    round = maintain = decide


async def _main(dsn: str, path: str, mode: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async with QueueRunner(dsn) as runner:
        await QueueWorker(runner, _LoggingHandlers(log, hold=mode == "hold")).run(stop)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
