"""A TCP proxy before PostgreSQL that falls silent: it takes what is sent, forwards nothing and closes nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_CHUNK = 65_536


class SilentProxy:
    """Forward between TCP on loopback and the unix socket of a server, until told to be silent."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._speaks = asyncio.Event()
        self._speaks.set()
        self._lost: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.Task[None]] = set()
        self.port = 0

    def dsn(self, dsn: str) -> str:
        """Return `dsn` by way of this proxy."""
        return make_conninfo(dsn, host="127.0.0.1", port=self.port)

    def silence(self) -> None:
        """Forward nothing from now on."""
        self._speaks.clear()

    def speak(self, *, lose: bool = True) -> None:
        """Forward what new connections send; those of before stay silent for ever, unless they are not to be lost."""
        if lose:
            self._lost |= self._open
        self._speaks.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        writers = [writer]
        try:
            await self._may_pass(task)
            inner_reader, inner_writer = await asyncio.open_unix_connection(str(self._socket))
            writers.append(inner_writer)
            await asyncio.gather(self._pump(task, reader, inner_writer), self._pump(task, inner_reader, writer))
        except (OSError, asyncio.CancelledError):
            return
        finally:
            self._open.discard(task)
            for one in writers:
                one.transport.abort()

    async def _pump(
        self, task: "asyncio.Task[None]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(_CHUNK):
            await self._may_pass(task)
            writer.write(data)
            await writer.drain()
        await self._may_pass(task)
        if writer.can_write_eof():
            writer.write_eof()

    async def _may_pass(self, task: "asyncio.Task[None]") -> None:
        await self._speaks.wait()
        if task in self._lost:
            await asyncio.Event().wait()

    async def end(self) -> None:
        """Drop all connections."""
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)


@asynccontextmanager
async def silent_proxy(dsn: str) -> AsyncIterator[SilentProxy]:
    """Give a proxy before the server of `dsn`, which names the folder of its unix socket."""
    parts = conninfo_to_dict(dsn)
    proxy = SilentProxy(Path(str(parts["host"])) / f".s.PGSQL.{parts.get('port', 5432)}")
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()
