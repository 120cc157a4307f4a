"""The service of `decision.proto` on grpc.aio."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import grpc

from executor.errors import KeyRefused, RequestInvalid, RequestRefused, TraderUnknown
from executor.proto import decision_pb2 as pb
from executor.proto import decision_pb2_grpc
from executor.remote.connections import MAX_BYTES
from executor.remote.messages import answer_of, context_of
from executor.remote.service import DecisionService, Desk

_CODES: Final[Mapping[type[RequestRefused], grpc.StatusCode]] = MappingProxyType(
    {
        RequestInvalid: grpc.StatusCode.INVALID_ARGUMENT,
        KeyRefused: grpc.StatusCode.UNAUTHENTICATED,
        TraderUnknown: grpc.StatusCode.NOT_FOUND,
    }
)
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_BYTES),
    ("grpc.max_send_message_length", MAX_BYTES),
    ("grpc.so_reuseport", 0),
)


class _KeyCheck(grpc.aio.ServerInterceptor):
    """Refuse a call without a right key before its message is read."""

    def __init__(self, service: DecisionService) -> None:
        self._service = service

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        try:
            self._service.desk(_authorization(details.invocation_metadata))
        except KeyRefused as error:
            refusal = str(error)

            async def refuse(request: object, call: Any) -> None:
                del request
                await call.abort(grpc.StatusCode.UNAUTHENTICATED, refusal)

            return grpc.unary_unary_rpc_method_handler(refuse)
        return await continuation(details)


class _Calls:
    """Answer the calls of the protobuf service; the names of its methods are the protocol's."""

    def __init__(self, service: DecisionService) -> None:
        self._service = service

    async def Decide(self, request: pb.DecisionRequest, call: Any) -> pb.FullDecision:  # noqa: N802 - the protocol's
        desk = self._desk(call)
        try:
            context = context_of(request)
            executor = self._service.executor(desk, context)
        except RequestRefused as error:
            await call.abort(_CODES.get(type(error), grpc.StatusCode.INVALID_ARGUMENT), str(error))
        return answer_of(await self._service.decided(executor, context))

    async def Ping(self, request: pb.PingRequest, call: Any) -> pb.PingReply:  # noqa: N802 - the protocol's
        del request
        return pb.PingReply(traders=self._desk(call).traders)

    def _desk(self, call: Any) -> Desk:
        return self._service.desk(_authorization(call.invocation_metadata()))


def decision_server(service: DecisionService) -> grpc.aio.Server:
    """Return a server without a port yet; a call that is cancelled or past its deadline ends its decision."""
    server = grpc.aio.server(options=_OPTIONS, interceptors=(_KeyCheck(service),))
    decision_pb2_grpc.add_ExecutorServicer_to_server(_Calls(service), server)
    return server


def _authorization(metadata: Any) -> str | None:
    return next((value for name, value in metadata or () if name == "authorization"), None)
