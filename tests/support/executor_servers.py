"""Executor servers on loopback, and how to reach them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from executor.contract import Executor
from executor.registry import ExecutorSpec, ExecutorType
from executor.remote.server import Listen, Serving, serve
from executor.remote.service import DecisionService, Desk, desk_of

KEY = "a-key-of-a-test-server"
_LISTEN = Listen(http_port=0, grpc_port=0, grace_s=0)


@asynccontextmanager
async def serving_any(executor: Executor) -> AsyncIterator[Serving]:
    """Serve one executor for whatever trader is asked about."""
    async with serve(DecisionService([Desk(key=KEY, find=lambda _: executor)]), _LISTEN) as serving:
        yield serving


@asynccontextmanager
async def serving_desks(desks: Mapping[str, Mapping[str, Executor]]) -> AsyncIterator[Serving]:
    """Serve the executors of several desks: for each key its traders."""
    service = DecisionService([desk_of(key, executors) for key, executors in desks.items()])
    async with serve(service, _LISTEN) as serving:
        yield serving


def remote_spec(url: str, **changes: Any) -> ExecutorSpec:
    """Return a trader's executor at `url`, with the right key unless changed."""
    values: dict[str, Any] = {"type": ExecutorType.REMOTE, "base_url": url, "api_key": KEY, "timeout_s": 5.0, **changes}
    return ExecutorSpec(**values)
