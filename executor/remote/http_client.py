"""The desk's end of HTTP: asking a remote executor by `POST /api/v1/decision`."""

import math
import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import httpx

from executor import errors
from executor.contract import Context, FullDecision
from executor.models.addresses import check_peer, is_address
from executor.remote.endpoint import (
    CONNECT_TIMEOUT_S,
    DECISION_PATH,
    MAX_BYTES,
    PING_PATH,
    TIMEOUT_HEADER,
    Asking,
    RemoteEndpoint,
    lost,
)
from executor.remote.wire import context_json, read_answer
from executor.reply.text import clean_text, read_json

_IDLE_S: Final = 30.0
_DETAIL: Final = 300
_CONNECTED: Final = "connection.connect_tcp.complete"


class HttpClients:
    """Keep one HTTP client for each endpoint; it follows no redirect, so the key goes nowhere else."""

    def __init__(self) -> None:
        self._clients: dict[tuple[str, str, str], httpx.AsyncClient] = {}

    def asking(self, endpoint: RemoteEndpoint) -> Asking:
        """Return what asks the endpoint."""
        return HttpAsking(endpoint, self)

    def client(self, endpoint: RemoteEndpoint) -> httpx.AsyncClient:
        """Return the client of the endpoint."""
        known = self._clients.get(endpoint.identity)
        if known is None:
            roots = endpoint.roots()
            known = self._clients[endpoint.identity] = httpx.AsyncClient(
                base_url=endpoint.url,
                headers={"Authorization": f"Bearer {endpoint.key}", "Accept-Encoding": "identity"},
                timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=_IDLE_S),
                follow_redirects=False,
                trust_env=False,
                verify=True if roots is None else ssl.create_default_context(cadata=roots.decode()),
            )
        return known

    async def close(self) -> None:
        """Close every client; later calls open new ones."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()


class HttpAsking:
    """Ask over HTTP; the time that is left goes along in a header, so that the server gives a late decision up."""

    def __init__(self, endpoint: RemoteEndpoint, clients: HttpClients) -> None:
        self._endpoint = endpoint
        self._clients = clients
        self._extensions = self._watched()

    async def ask(self, context: Context) -> FullDecision:
        """Return the decision; raise a ModelError, or ValueError for a context that cannot travel."""
        body = context_json(context)
        return read_answer(await self._sent("POST", DECISION_PATH, body), context)

    async def greet(self, trader: str) -> None:
        """Raise a ModelError unless the server takes the key and can decide for the trader, "" for any."""
        query = str(httpx.QueryParams(trader=trader))
        await self._sent("GET", f"{PING_PATH}?{query}" if trader else PING_PATH)

    async def _sent(self, method: str, path: str, body: bytes | None = None) -> bytes:
        client = self._clients.client(self._endpoint)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        left_s = anyio.current_effective_deadline() - anyio.current_time()
        if math.isfinite(left_s):
            headers[TIMEOUT_HEADER] = f"{max(left_s, 0.0):.3f}"
        request = client.build_request(
            method, path.lstrip("/"), content=body, headers=headers, extensions=dict(self._extensions)
        )
        content = bytearray()
        try:
            response = await client.send(request, stream=True)
            try:
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > MAX_BYTES:
                        raise errors.UnreadableAnswer(f"answered more than {MAX_BYTES} bytes; that is no decision")
            finally:
                await response.aclose()
        except (httpx.ConnectTimeout, httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            why = "no connection in time" if isinstance(error, httpx.ConnectTimeout) else f"{error}"
            raise errors.ModelUnreachable(f"cannot be reached ({why})") from None
        except httpx.HTTPError as error:
            raise lost(f"{type(error).__name__}: {error}") from None
        if response.status_code != 200:
            raise http_failure(response.status_code, bytes(content))
        return bytes(content)

    def _watched(self) -> Mapping[str, Any]:
        """Watch where a public name leads, before the key is sent there."""
        host = urlsplit(self._endpoint.url).hostname or ""
        if self._endpoint.allow_private or host == "localhost" or is_address(host):
            return {}

        async def connected(event: str, info: dict[str, Any]) -> None:
            if event != _CONNECTED:
                return
            stream = info["return_value"]
            address = str(stream.get_extra_info("server_addr")[0])
            try:
                check_peer(address, host=host)
            except errors.ExecutorConfigError:
                await stream.aclose()
                mend = "set allow_private: true beside its url if that is meant"
                raise errors.CallRejected(
                    f"is not asked: {host} resolves to the private address {address}; {mend}"
                ) from None

        return {"trace": connected}


def http_failure(status: int, content: bytes) -> errors.ModelError:
    """Return the error of an HTTP status other than 200, with what our own server says; other words are left out."""
    try:
        raw = read_json(content[:10_000].decode("utf-8"))
    except (ValueError, errors.ReplySyntaxError):
        raw = None
    said = raw.get("error") if isinstance(raw, dict) else None
    detail = f": {told}" if isinstance(said, str) and (told := clean_text(said, _DETAIL)) else ""
    if status in (401, 403):
        return errors.Unauthorized(f"refuses the key ({status}{detail}); give the key of its config")
    if status == 429:
        return errors.RateLimited(f"takes no more calls now (429{detail})")
    if status == 503:
        return errors.ModelUnreachable(f"takes no request now (503{detail})")
    if status >= 500:
        return errors.ModelOverloaded(f"failed ({status}{detail}); its log says why")
    return errors.CallRejected(f"refused the request ({status}{detail})")
