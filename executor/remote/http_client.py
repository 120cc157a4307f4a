"""Asking an executor elsewhere by `POST /api/v1/decision`."""

import math
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import httpx

from executor.contract import Context, FullDecision
from executor.errors import CallRejected, ExecutorConfigError, ModelUnreachable, UnreadableAnswer
from executor.models.addresses import check_peer
from executor.remote.connections import MAX_BYTES, RemoteConnections, RemoteEndpoint
from executor.remote.failures import http_refusal, lost
from executor.remote.wire import context_json, read_answer

DECISION_PATH: Final = "/api/v1/decision"
PING_PATH: Final = "/api/v1/ping"
TIMEOUT_HEADER: Final = "Decision-Timeout"
_CONNECTED: Final = "connection.connect_tcp.complete"


class HttpAsking:
    """Ask over HTTP; the time that is left goes along in a header, so that a late decision is given up there."""

    def __init__(self, endpoint: RemoteEndpoint, connections: RemoteConnections) -> None:
        self._endpoint = endpoint
        self._connections = connections
        self._extensions = _extensions(endpoint)

    async def ask(self, context: Context) -> FullDecision:
        """Return the decision; raise a ModelError, or ValueError for a context that cannot travel."""
        body = context_json(context)
        return read_answer(await self._sent("POST", DECISION_PATH, body), context)

    async def greet(self, trader: str) -> None:
        """Raise a ModelError unless the server takes the key and can decide for the trader, "" for any."""
        query = str(httpx.QueryParams(trader=trader))
        await self._sent("GET", f"{PING_PATH}?{query}" if trader else PING_PATH)

    async def _sent(self, method: str, path: str, body: bytes | None = None) -> bytes:
        client = self._connections.http(self._endpoint)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        left_s = anyio.current_effective_deadline() - anyio.current_time()
        if math.isfinite(left_s):
            headers[TIMEOUT_HEADER] = f"{max(left_s, 0.0):.3f}"
        request = client.build_request(
            method, path.lstrip("/"), content=body, headers=headers, extensions=dict(self._extensions)
        )
        try:
            response = await client.send(request, stream=True)
            try:
                content = await _content(response)
            finally:
                await response.aclose()
        except (httpx.ConnectTimeout, httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            why = "no connection in time" if isinstance(error, httpx.ConnectTimeout) else f"{error}"
            raise ModelUnreachable(f"cannot be reached ({why})") from None
        except httpx.HTTPError as error:
            raise lost(f"{type(error).__name__}: {error}") from None
        if response.status_code != 200:
            raise http_refusal(response.status_code, content)
        return content


async def _content(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_BYTES:
            raise UnreadableAnswer(f"answered more than {MAX_BYTES} bytes; that is no decision")
    return bytes(content)


def _extensions(endpoint: RemoteEndpoint) -> Mapping[str, Any]:
    """Watch where a public name leads, before the key is sent there."""
    host = urlsplit(endpoint.url).hostname or ""
    if endpoint.allow_private or host == "localhost" or _is_address(host):
        return {}

    async def connected(event: str, info: dict[str, Any]) -> None:
        if event != _CONNECTED:
            return
        stream = info["return_value"]
        address = str(stream.get_extra_info("server_addr")[0])
        try:
            check_peer(address, host=host)
        except ExecutorConfigError:
            await stream.aclose()
            mend = "set allow_private: true beside its url if that is meant"
            raise CallRejected(f"is not asked: {host} resolves to the private address {address}; {mend}") from None

    return {"trace": connected}


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
