"""The server's end of gRPC: the service of `decision.proto` on grpc.aio."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NoReturn

import grpc

from executor.errors import KeyRefused, RequestInvalid, RequestRefused, ServerStopping, TraderUnable, TraderUnknown
from executor.proto import decision_pb2 as pb
from executor.proto import decision_pb2_grpc
from executor.remote.endpoint import MAX_BYTES
from executor.remote.grpc_messages import answer_of, context_of
from executor.remote.service import DecisionService, Desk

_CODES: Final[Mapping[type[RequestRefused], grpc.StatusCode]] = MappingProxyType(
    {
        RequestInvalid: grpc.StatusCode.INVALID_ARGUMENT,
        KeyRefused: grpc.StatusCode.UNAUTHENTICATED,
        TraderUnknown: grpc.StatusCode.NOT_FOUND,
        TraderUnable: grpc.StatusCode.FAILED_PRECONDITION,
        ServerStopping: grpc.StatusCode.UNAVAILABLE,
    }
)
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_BYTES),
    ("grpc.max_send_message_length", MAX_BYTES),
    ("grpc.so_reuseport", 0),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 300_000),
)
_MOST_CALLS: Final = 4_096


def decision_server(service: DecisionService, most_connections: int) -> grpc.aio.Server:
    """Return a server without a port yet; a call that is cancelled or past its deadline ends its decision."""
    server = grpc.aio.server(
        options=(*_OPTIONS, ("grpc.max_allowed_incoming_connections", most_connections)),
        interceptors=(_KeyCheck(service),),
        maximum_concurrent_rpcs=_MOST_CALLS,
    )
    decision_pb2_grpc.add_ExecutorServicer_to_server(_Calls(service), server)
    return server


class _KeyCheck(grpc.aio.ServerInterceptor):
    """Refuse a call without a right key before its message is read."""

    def __init__(self, service: DecisionService) -> None:
        self._service = service

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        try:
            self._service.desk(_authorization(details.invocation_metadata))
        except KeyRefused as error:
            told = str(error)

            async def refuse(messages: object, call: Any) -> None:
                del messages
                await call.abort(grpc.StatusCode.UNAUTHENTICATED, told)

            # A handler of one message would be given it first; one of a stream reads only what it asks for.
            return grpc.stream_unary_rpc_method_handler(refuse)
        return await continuation(details)


class _Calls:
    """Answer the calls of the protobuf service; the names of its methods are the protocol's."""

    def __init__(self, service: DecisionService) -> None:
        self._service = service

    async def Decide(self, request: pb.DecisionRequest, call: Any) -> pb.FullDecision:  # noqa: N802 - the protocol's
        desk, left_s = self._desk(call), call.time_remaining()
        try:
            context = context_of(request)
            executor = self._service.executor(desk, context.trader_id)
            decision = await self._service.decided(executor, context, math.inf if left_s is None else left_s)
        except RequestRefused as error:
            await self._refuse(call, error)
        return answer_of(decision)

    async def Ping(self, request: pb.PingRequest, call: Any) -> pb.PingReply:  # noqa: N802 - the protocol's
        desk = self._desk(call)
        try:
            await self._service.check(desk, request.trader)
        except RequestRefused as error:
            await self._refuse(call, error)
        return pb.PingReply(traders=desk.traders)

    def _desk(self, call: Any) -> Desk:
        return self._service.desk(_authorization(call.invocation_metadata()))

    @staticmethod
    async def _refuse(call: Any, error: RequestRefused) -> NoReturn:
        code = _CODES.get(type(error), grpc.StatusCode.INVALID_ARGUMENT)
        if isinstance(error, ServerStopping) and error.cut:
            code = grpc.StatusCode.ABORTED
        await call.abort(code, str(error))
        raise error


def _authorization(metadata: Any) -> str | None:
    return next((value for name, value in metadata or () if name == "authorization"), None)
