"""Run a worker until a signal has met it in the middle of an order; see `killed_worker.py`."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_SUPPORT = Path(__file__).parent
_PATIENCE_S = 180


@asynccontextmanager
async def ended(
    config: Path, dsn: str, place: str, purpose: str, how: signal.Signals = signal.SIGKILL
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a worker until it is killed, or frozen, at `place` of its first order of that purpose."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(str(_SUPPORT / "killed_worker.py"), str(config), dsn, place, purpose, how.name),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (_SUPPORT.parents[1], _SUPPORT)))},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_PATIENCE_S):
            if how is signal.SIGKILL:
                assert await process.wait() == -signal.SIGKILL
            while how is signal.SIGSTOP and _state_of(process.pid) != "T":  # noqa: ASYNC110 - a signal sets no event
                await asyncio.sleep(0.05)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def killed(config: Path, dsn: str, place: str, purpose: str) -> None:
    """Run a worker until it has been killed at `place` of its first order of that purpose."""
    async with ended(config, dsn, place, purpose):
        pass


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
