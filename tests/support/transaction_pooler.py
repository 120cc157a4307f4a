"""A pooler before PostgreSQL as pgbouncer is one: each transaction gets a session of the server, or all of a client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg.conninfo import conninfo_to_dict

_TO_SSL = 80877103
_OUR_PID = b"\x7f\x00\x00\x01"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Pooler:
    """Hand sessions of one server to clients: for a transaction each, or with `keeps` for as long as they stay."""

    def __init__(self, socket: str, *, keeps: bool) -> None:
        self._socket = socket
        self._keeps = keeps
        self._hello = b""
        self._free: list[Stream] = []
        self._opened: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it goes."""
        self._opened.append(writer)
        try:
            startup = await self._startup(reader, writer)
            session: Stream | None = await self._session(startup)
            writer.write(self._hello)
            while True:
                kind, body = await _message(reader)
                if kind == b"X":
                    return
                session = session or await self._session(startup)
                session[1].write(kind + body)
                if kind in b"QS" and await self._answer(session[0], writer) == b"I" and not self._keeps:
                    self._free.append(session)
                    session = None
        except (OSError, EOFError):
            return
        finally:
            writer.close()

    async def _startup(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        while True:
            size = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(size) - 4)
            if int.from_bytes(body[:4]) != _TO_SSL:
                return size + body
            writer.write(b"N")

    async def _session(self, startup: bytes) -> Stream:
        if self._free:
            return self._free.pop()
        reader, writer = await asyncio.open_unix_connection(self._socket)
        self._opened.append(writer)
        writer.write(startup)
        hello = b""
        while True:
            kind, body = await _message(reader)
            hello += kind + (body[:4] + _OUR_PID + body[8:] if kind == b"K" else body)
            if kind in b"ZE":
                self._hello = hello
                return reader, writer

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        while True:
            kind, body = await _message(reader)
            writer.write(kind + body)
            if kind == b"Z":
                return body[4:]

    def end(self) -> None:
        """Drop all connections."""
        for writer in self._opened:
            writer.transport.abort()


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    kind = await reader.readexactly(1)
    size = await reader.readexactly(4)
    return kind, size + await reader.readexactly(int.from_bytes(size) - 4)


@asynccontextmanager
async def pooler(dsn: str, *, keeps: bool) -> AsyncIterator[int]:
    """Give the port of a pooler before the server of `dsn`, which names the folder of its unix socket."""
    parts = conninfo_to_dict(dsn)
    pool = Pooler(f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}", keeps=keeps)
    server = await asyncio.start_server(pool.serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        pool.end()
