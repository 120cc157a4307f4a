"""How a connection to an endpoint is opened: names are looked up apart, and private addresses are not dialled."""

import asyncio
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from errno import EAGAIN
from math import inf
from typing import Any, Final

import anyio

from executor.errors import CallRejected, ExecutorConfigError, ModelUnreachable
from executor.models.addresses import check_peer, is_address

_MOST_ADDRESSES: Final = 4
_HEAD_START_S: Final = 0.25


class NameLookup:
    """Look up names in threads of its own, one at a time for each name, whoever waits for it.

    A lookup cannot be stopped: in the threads that the event loop shares among all its lookups, a few that hang would
    keep every other host waiting. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, int], asyncio.Future[Sequence[str]]] = {}

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of `host` in the order in which to try them; raise OSError if there are none."""
        if is_address(host):
            return (host,)
        key = (host, port)
        found = self._under_way.get(key)
        if found is None:
            found = asyncio.get_running_loop().create_future()
            try:
                threading.Thread(target=_look_up, args=(host, port, found), name=f"lookup {host}", daemon=True).start()
            except RuntimeError:
                raise OSError(EAGAIN, "the process has no thread left") from None
            self._under_way[key] = found
            # Who waited may be gone by then: an error that nobody takes is no event.
            found.add_done_callback(lambda done: done.cancelled() or done.exception())
            found.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(found)


class Dialer:
    """Open the connections of a client in place of its own `backend`; addresses inside need `allow_inside`."""

    def __init__(self, backend: Any, lookup: NameLookup, *, allow_inside: bool) -> None:
        self._backend = backend
        self._lookup = lookup
        self._allow_inside = allow_inside

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the name is the client's
        **options: Any,
    ) -> Any:
        """Return a stream to the first address of `host` that answers.

        Raises CallRejected for a public name that leads inside, ModelUnreachable for one that leads nowhere.
        """
        limit_s = inf if timeout is None else timeout
        deadline = anyio.current_time() + limit_s
        return await self._first(await self._found(host, port, limit_s), port, deadline, options)

    async def connect_unix_socket(self, path: str, **options: Any) -> Any:
        """Return a stream to a socket in the file system."""
        return await self._backend.connect_unix_socket(path, **options)

    async def sleep(self, seconds: float) -> None:
        """Wait, as the client's own backend does."""
        await self._backend.sleep(seconds)

    async def _first(self, addresses: Sequence[str], port: int, deadline: float, options: Mapping[str, Any]) -> Any:
        """Dial one after the other without waiting long for each; whatever keeps one from answering, another may."""
        streams, failures = list[Any](), list[Exception]()

        async def dial(address: str, ended: anyio.Event) -> None:
            left_s = max(0.0, deadline - anyio.current_time())
            try:
                stream = await self._backend.connect_tcp(
                    address, port, timeout=None if left_s == inf else left_s, **options
                )
            except Exception as error:  # noqa: BLE001 - told if none of them answers
                failures.append(error)
            else:
                streams.append(stream)
                group.cancel_scope.cancel()
            ended.set()

        async with anyio.create_task_group() as group:
            for address in addresses:
                ended = anyio.Event()
                group.start_soon(dial, address, ended)
                with anyio.move_on_after(_HEAD_START_S):
                    await ended.wait()
        if not streams:
            raise failures[-1]
        stream, *late = streams
        for other in late:
            await other.aclose()
        return stream

    async def _found(self, host: str, port: int, limit_s: float) -> Sequence[str]:
        try:
            with anyio.fail_after(limit_s):
                addresses = (await self._lookup.addresses(host, port))[:_MOST_ADDRESSES]
        except TimeoutError:
            raise ModelUnreachable(f"the name {host} was not looked up within {limit_s:g} s; check the DNS") from None
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "no host can have it"
            raise ModelUnreachable(f"the name {host} leads nowhere ({why}); check base_url and the DNS") from None
        if not self._allow_inside:
            for address in addresses:
                _check(address, host)
        return addresses


def _check(address: str, host: str) -> None:
    try:
        check_peer(address, host=host)
    except ExecutorConfigError as error:
        raise CallRejected(str(error)) from None


def _look_up(host: str, port: int, found: "asyncio.Future[Sequence[str]]") -> None:
    addresses: Sequence[str] = ()
    failure: Exception | None = None
    try:
        known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in known))
        if not addresses:
            raise OSError(0, "no address")
    except Exception as error:  # noqa: BLE001 - whoever waits is told; a lookup without an end would stay under way
        failure = error

    def tell() -> None:
        if found.done():
            return
        if failure is not None:
            found.set_exception(failure)
        else:
            found.set_result(addresses)

    with suppress(RuntimeError):  # the loop has ended before the lookup
        found.get_loop().call_soon_threadsafe(tell)
