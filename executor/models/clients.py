"""The models of a process: one gate and one set of connections for each endpoint, whoever asks it."""

from typing import TYPE_CHECKING, Protocol

import anyio

from executor.errors import ExecutorConfigError
from executor.models.addresses import check_base_url, check_key, same_url, shown_url
from executor.models.chat import ChatModel, ModelEndpoint
from executor.models.gate import EndpointGate, GateSettings, Pacing
from executor.models.profile import ModelProfile

if TYPE_CHECKING:
    import httpx2

    from executor.budget import Meter
    from executor.models.openai_client import OpenAIClient

_GateKey = tuple[str, str, str]


def gate_key(endpoint: ModelEndpoint) -> _GateKey:
    """Return what names of one endpoint have in common: its address however it is spelt, the key and the model."""
    return (same_url(endpoint.base_url), endpoint.api_key, endpoint.model)


class ModelSource(Protocol):
    """Give executors their models: called, recorded, or both; `turn` is taken to render a prompt."""

    @property
    def turn(self) -> anyio.Lock:
        """Return the lock under which prompts are rendered one by one."""
        ...

    def model(self, profile: ModelProfile, meter: "Meter | None" = None) -> ChatModel:
        """Return the model of `profile`, its calls within the budgets of `meter`."""
        ...

    async def close(self) -> None:
        """Release what is held."""
        ...


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


class ModelClients:
    """Share connections, places, rate and circuit breaker among the traders of an endpoint.

    Names for the same address, key and model are one endpoint, with the lowest of their limits. `turn` is taken to
    render a prompt: a loop runs all that is ready before it looks at its timers, and a thousand prompts at once would
    hold it for seconds. Belongs to one event loop.
    """

    def __init__(self, pacing: Pacing | None = None) -> None:
        self._pacing = pacing or Pacing()
        self.turn = anyio.Lock()
        self._clients: dict[tuple[str, str, bool], EndpointClient] = {}
        self._gates: dict[_GateKey, EndpointGate] = {}

    def model(self, profile: ModelProfile, meter: "Meter | None" = None) -> ChatModel:
        """Return the model of `profile`; raise ExecutorConfigError if its address may not be called."""
        from executor.budget import MeteredModel, Unmetered
        from executor.models.chain import GuardedModel
        from executor.models.openai_chat import OpenAIChatModel

        endpoint = profile.endpoint
        called = MeteredModel(OpenAIChatModel(self.client(endpoint), endpoint), profile, meter or Unmetered())
        return GuardedModel(called, profile, self.gate(profile), self._pacing)

    def client(self, endpoint: ModelEndpoint) -> EndpointClient:
        """Return the client for the endpoint's URL and key."""
        key = (endpoint.base_url, endpoint.api_key, endpoint.allow_private)
        if key not in self._clients:
            self._clients[key] = EndpointClient(endpoint)
        return self._clients[key]

    def gate(self, profile: ModelProfile) -> EndpointGate:
        """Return what stands before the profile's endpoint, with its limits where they are the lowest so far."""
        endpoint, places, rate = profile.endpoint, profile.max_concurrency, profile.requests_per_minute
        key = gate_key(endpoint)
        known = self._gates.get(key)
        if known is not None:
            known.tighten(places, rate)
            return known
        settings = GateSettings(max_concurrency=places, requests_per_minute=rate)
        gate = self._gates[key] = EndpointGate(f"model {endpoint.model!r} ({profile.name})", settings, self._pacing)
        return gate

    async def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            await client.aclose()
