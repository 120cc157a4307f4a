"""The desk's end of gRPC: asking a remote executor by the service of `decision.proto`."""

import math
from asyncio import CancelledError
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import grpc
from anyio.lowlevel import checkpoint_if_cancelled

from executor import errors
from executor.contract import Context, FullDecision
from executor.proto import decision_pb2 as pb
from executor.proto import decision_pb2_grpc
from executor.remote.endpoint import CONNECT_TIMEOUT_S, MAX_BYTES, STOPPING, Asking, RemoteEndpoint, lost
from executor.remote.grpc_messages import decision_of, request_of
from executor.reply.text import clean_text

_CONNECTING: Final = (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING)
_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", MAX_BYTES),
    ("grpc.max_send_message_length", MAX_BYTES),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.use_local_subchannel_pool", 1),
)
_DETAIL: Final = 300
_NOT_ASKED: Final = ("failed to connect", "errors resolving", "DNS resolution failed", STOPPING)
_TOO_LONG: Final = "Received message larger"
_NO_GRPC: Final = "Failed parsing HTTP/2"


@dataclass(slots=True, kw_only=True)
class _Line:
    """A gRPC channel, the calls that are on it, and whether it is to be closed after the last of them."""

    channel: grpc.aio.Channel
    calls: int = 0
    retired: bool = False


class GrpcChannels:
    """Keep one gRPC channel for each endpoint; a call that is cut off leaves the next ones a fresh channel.

    gRPC stays with a connection whose other end is silent, such as a host that lost its power.
    """

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str, str], _Line] = {}

    def asking(self, endpoint: RemoteEndpoint) -> Asking:
        """Return what asks the endpoint."""
        return GrpcAsking(endpoint, self)

    @asynccontextmanager
    async def channel(self, endpoint: RemoteEndpoint) -> AsyncIterator[grpc.aio.Channel]:
        """Take the channel to the endpoint for one call."""
        key = endpoint.identity
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(channel=self._open(endpoint))
        line.calls += 1
        answered = False
        try:
            yield line.channel
            answered = True
        finally:
            line.calls -= 1
            if not answered and self._lines.get(key) is line:
                del self._lines[key]
                line.retired = True
            if line.retired and not line.calls:
                with anyio.CancelScope(shield=True):
                    await line.channel.close()

    async def close(self) -> None:
        """Close every channel; later calls open new ones."""
        lines, self._lines = self._lines, {}
        for line in lines.values():
            await line.channel.close()

    @staticmethod
    def _open(endpoint: RemoteEndpoint) -> grpc.aio.Channel:
        address = urlsplit(endpoint.url).netloc
        if endpoint.url.startswith("grpcs"):
            return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(endpoint.roots()), options=_OPTIONS)
        return grpc.aio.insecure_channel(address, options=_OPTIONS)


class GrpcAsking:
    """Ask over gRPC; the deadline travels with the call."""

    def __init__(self, endpoint: RemoteEndpoint, channels: GrpcChannels) -> None:
        self._endpoint = endpoint
        self._channels = channels

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
        async with self._channels.channel(self._endpoint) as channel:
            await self._connected(channel)
            method = getattr(decision_pb2_grpc.ExecutorStub(channel), name)
            left_s = anyio.current_effective_deadline() - anyio.current_time()
            try:
                answer = await method(request, timeout=left_s if math.isfinite(left_s) else None, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                failure = grpc_failure(error)
                if isinstance(failure, errors.ModelTimeout):
                    raise failure from None
            except grpc.aio.UsageError as error:
                failure = errors.ModelUnreachable(f"cannot be reached ({error})")
            except CancelledError:
                # gRPC replaces the cancellation by one of its own, in which no cancel scope knows its own again.
                await checkpoint_if_cancelled()
                raise
        if failure is not None:
            raise failure
        if answer is None:
            raise errors.UnreadableAnswer("answered no message of decision.proto; look at what listens there")
        return answer

    @staticmethod
    async def _connected(channel: grpc.aio.Channel) -> None:
        """A call that waits for its connection cannot be told from one that is answered late, and cost something."""
        with anyio.move_on_after(CONNECT_TIMEOUT_S):
            while (state := channel.get_state(try_to_connect=True)) in _CONNECTING:
                await channel.wait_for_state_change(state)
            return
        raise errors.ModelUnreachable("cannot be reached (no connection in time)")


def grpc_failure(error: grpc.aio.AioRpcError) -> errors.ModelError:
    """Return the error of a call that ended without an answer."""
    code, told = error.code().name, clean_text(error.details() or "", _DETAIL)
    if code == "UNAVAILABLE":
        why = "it answers, but no gRPC; is this its HTTP port?" if _NO_GRPC in told else told
        return errors.ModelUnreachable(f"cannot be reached ({why})") if told.startswith(_NOT_ASKED) else lost(told)
    match code:
        case "DEADLINE_EXCEEDED":
            return errors.ModelTimeout("did not decide in time; raise the timeout, or look at its server")
        case "UNAUTHENTICATED" | "PERMISSION_DENIED":
            return errors.Unauthorized(f"refuses the key ({told}); give the key of its config")
        case "RESOURCE_EXHAUSTED" if told.startswith(_TOO_LONG):
            return errors.UnreadableAnswer(f"answered more than is taken ({told}); that is no decision")
        case "INVALID_ARGUMENT" | "NOT_FOUND" | "UNIMPLEMENTED" | "RESOURCE_EXHAUSTED" | "FAILED_PRECONDITION":
            return errors.CallRejected(f"refused the request ({code}: {told})")
    return errors.ModelOverloaded(f"failed ({code}: {told})")
