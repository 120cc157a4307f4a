"""Asking an executor elsewhere by the service of `decision.proto`."""

import math
from asyncio import CancelledError
from typing import Any, Final

import anyio
import grpc
from anyio.lowlevel import checkpoint_if_cancelled

from executor.contract import Context, FullDecision
from executor.errors import ModelTimeout, ModelUnreachable, UnreadableAnswer
from executor.proto import decision_pb2 as pb
from executor.proto import decision_pb2_grpc
from executor.remote.connections import CONNECT_TIMEOUT_S, RemoteConnections, RemoteEndpoint
from executor.remote.failures import rpc_failure
from executor.remote.messages import decision_of, request_of

_CONNECTING: Final = (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING)


class GrpcAsking:
    """Ask over gRPC; the deadline travels with the call."""

    def __init__(self, endpoint: RemoteEndpoint, connections: RemoteConnections) -> None:
        self._endpoint = endpoint
        self._connections = connections

    async def ask(self, context: Context) -> FullDecision:
        """Return the decision; raise a ModelError, or ValueError for a context that cannot travel."""
        return decision_of(await self._called("Decide", request_of(context)), context)

    async def greet(self, trader: str) -> None:
        """Raise a ModelError unless the server takes the key and can decide for the trader, "" for any."""
        await self._called("Ping", pb.PingRequest(trader=trader))

    async def _called(self, name: str, request: Any) -> Any:
        metadata = (("authorization", f"Bearer {self._endpoint.key}"),)
        failure: Exception | None = None
        answer = None
        async with self._connections.channel(self._endpoint) as channel:
            await _connected(channel)
            method = getattr(decision_pb2_grpc.ExecutorStub(channel), name)
            left_s = anyio.current_effective_deadline() - anyio.current_time()
            try:
                answer = await method(request, timeout=left_s if math.isfinite(left_s) else None, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                failure = rpc_failure(error)
                if isinstance(failure, ModelTimeout):
                    raise failure from None
            except grpc.aio.UsageError as error:
                failure = ModelUnreachable(f"cannot be reached ({error})")
            except CancelledError:
                # gRPC replaces the cancellation by one of its own, in which no cancel scope knows its own again.
                await checkpoint_if_cancelled()
                raise
        if failure is not None:
            raise failure
        if answer is None:
            raise UnreadableAnswer("answered no message of decision.proto; look at what listens there")
        return answer


async def _connected(channel: grpc.aio.Channel) -> None:
    """A call that waits for its connection cannot be told from one that is answered late, and cost something."""
    with anyio.move_on_after(CONNECT_TIMEOUT_S):
        while (state := channel.get_state(try_to_connect=True)) in _CONNECTING:
            await channel.wait_for_state_change(state)
        return
    raise ModelUnreachable("cannot be reached (no connection in time)")
