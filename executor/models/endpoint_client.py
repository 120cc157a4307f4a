"""The client of one endpoint, opened at its first call: the package behind it is slow to import."""

from typing import TYPE_CHECKING

import anyio

from executor.errors import ExecutorConfigError
from executor.models.addresses import check_base_url, check_key, shown_url
from executor.models.chat import ModelEndpoint

if TYPE_CHECKING:
    import httpx2

    from executor.models.openai_client import OpenAIClient


class EndpointClient:
    """Open the client of one endpoint at its first call, for all who share it; belongs to one event loop.

    Raises ExecutorConfigError at once if the endpoint may not or cannot be called.
    """

    def __init__(self, endpoint: ModelEndpoint, transport: "httpx2.AsyncBaseTransport | None" = None) -> None:
        try:
            check_base_url(endpoint.base_url, allow_private=endpoint.allow_private)
        except ExecutorConfigError as error:
            raise ExecutorConfigError(f"base_url {shown_url(endpoint.base_url)!r}: {error}") from None
        check_key(endpoint.api_key, "the environment variable that api_key names")
        self._endpoint = endpoint
        self._transport = transport
        self._opening = anyio.Lock(fast_acquire=True)
        self._client: OpenAIClient | None = None

    async def opened(self) -> "OpenAIClient":
        """Return the client; the first of a process takes over a second, in which the event loop serves others."""
        async with self._opening:
            if self._client is None:
                self._client = await anyio.to_thread.run_sync(self._open)
            return self._client

    async def aclose(self) -> None:
        """Close the client; a later call opens another."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _open(self) -> "OpenAIClient":
        from executor.models.openai_client import OpenAIClient

        return OpenAIClient(self._endpoint, self._transport)
