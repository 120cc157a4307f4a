"""The models of a process: one gate and one set of connections for each endpoint, whoever asks it."""

from typing import Protocol

import anyio

from executor.models.addresses import same_url
from executor.models.chat import ChatModel, ModelEndpoint
from executor.models.endpoint_client import EndpointClient
from executor.models.gate import EndpointGate, GateSettings, Pacing
from executor.models.metering import Meter, MeteredModel, Unmetered
from executor.models.profile import ModelProfile

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

    def model(self, profile: ModelProfile, meter: Meter | None = None) -> ChatModel:
        """Return the model of `profile`, its calls within the budgets of `meter`."""
        ...

    async def close(self) -> None:
        """Release what is held."""
        ...


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

    def model(self, profile: ModelProfile, meter: Meter | None = None) -> ChatModel:
        """Return the model of `profile`; raise ExecutorConfigError if its address may not be called."""
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
