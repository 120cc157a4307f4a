"""Executors elsewhere, over HTTP or gRPC, as executors: one deadline, and every failure an outcome."""

from abc import ABC, abstractmethod
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
from anyio.lowlevel import checkpoint_if_cancelled

from executor.contract import Context, FullDecision, ItemError, Outcome
from executor.errors import (
    CallRejected,
    ExecutorUnavailable,
    ModelError,
    ModelOverloaded,
    ModelTimeout,
    ModelUnreachable,
    RateLimited,
    ReplySyntaxError,
    Unauthorized,
    UnreadableAnswer,
)
from executor.json_text import read_json
from executor.remote.connections import MAX_BYTES, RemoteConnections, RemoteEndpoint
from executor.remote.wire import context_json, read_answer
from executor.reply import clean_text

if TYPE_CHECKING:
    import grpc

_OUTCOMES: Final[Mapping[type[ModelError], Outcome]] = MappingProxyType(
    {ModelTimeout: Outcome.TIMEOUT, Unauthorized: Outcome.UNAUTHORIZED, RateLimited: Outcome.RATE_LIMITED}
)
_OVERLOADED: Final = (500, 502, 503, 504)
_PING_TIMEOUT_S: Final = 10.0
_DETAIL: Final = 300
_HIDDEN: Final = "***"


class RemoteExecutor(ABC):
    """Ask an executor elsewhere within the endpoint's deadline; what it answers is judged as a model's reply is.

    The connections are given, so that the traders of one endpoint share them; `close` leaves them open.
    """

    def __init__(
        self, endpoint: RemoteEndpoint, connections: RemoteConnections, monotonic: Callable[[], float]
    ) -> None:
        self._endpoint = endpoint
        self._connections = connections
        self._monotonic = monotonic

    async def decide(self, context: Context) -> FullDecision:
        """Return the decision, or an outcome other than DECIDED with the reason in `errors`; nothing is raised."""
        started = self._monotonic()
        try:
            with anyio.fail_after(self._endpoint.timeout_s):
                decision = await self._ask(context)
        except TimeoutError:
            message = f"no decision within {self._endpoint.timeout_s:g} s; raise the timeout, or look at its server"
            decision = self._failed(Outcome.TIMEOUT, f"{self._endpoint.shown}: {message}")
        except ModelError as error:
            outcome = _OUTCOMES.get(type(error), Outcome.UNAVAILABLE)
            decision = self._failed(outcome, f"{self._endpoint.shown} {error}")
        except ValueError as error:
            decision = self._failed(Outcome.UNAVAILABLE, f"the context cannot be sent ({error})")
        return replace(decision, latency_s=self._monotonic() - started)

    async def ping(self) -> None:
        """Raise ExecutorUnavailable if the server cannot be reached or refuses the key."""
        timeout_s = min(_PING_TIMEOUT_S, self._endpoint.timeout_s)
        try:
            with anyio.fail_after(timeout_s):
                await self._greet()
        except TimeoutError:
            raise ExecutorUnavailable(f"{self._endpoint.shown} did not answer within {timeout_s:g} s") from None
        except ModelError as error:
            raise ExecutorUnavailable(self._clean(f"{self._endpoint.shown} {error}")) from None

    async def close(self) -> None:  # noqa: B027 - nothing of its own is held
        """Do nothing: the connections belong to who made them."""

    @abstractmethod
    async def _ask(self, context: Context) -> FullDecision: ...

    @abstractmethod
    async def _greet(self) -> None: ...

    def _failed(self, outcome: Outcome, message: str) -> FullDecision:
        error = ItemError(path="executor", message=self._clean(message))
        return FullDecision(outcome=outcome, errors=(error,))

    def _clean(self, message: str) -> str:
        key = self._endpoint.key
        return clean_text(message.replace(key, _HIDDEN) if key else message, 1_000)


class HttpExecutor(RemoteExecutor):
    """Ask by `POST /api/v1/decision`."""

    async def _ask(self, context: Context) -> FullDecision:
        body = context_json(context)
        return read_answer(await self._sent("POST", "/api/v1/decision", body), context)

    async def _greet(self) -> None:
        await self._sent("GET", "/api/v1/ping")

    async def _sent(self, method: str, path: str, body: bytes | None = None) -> bytes:
        client = self._connections.http(self._endpoint)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            async with client.stream(method, path.lstrip("/"), content=body, headers=headers) as response:
                content = await _content(response)
        except httpx.ConnectTimeout:
            raise ModelUnreachable("cannot be reached (no connection in time)") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ModelUnreachable(f"cannot be reached ({type(error).__name__}: {error})") from None
        if response.status_code != 200:
            raise _refusal(response.status_code, content)
        return content


class GrpcExecutor(RemoteExecutor):
    """Ask by the service of `decision.proto`; the deadline travels with the call."""

    async def _ask(self, context: Context) -> FullDecision:
        from executor.remote.messages import decision_of, request_of

        answer = await self._called("Decide", request_of(context), self._endpoint.timeout_s)
        return decision_of(answer, context)

    async def _greet(self) -> None:
        from executor.proto import decision_pb2 as pb

        await self._called("Ping", pb.PingRequest(), min(_PING_TIMEOUT_S, self._endpoint.timeout_s))

    async def _called(self, name: str, request: Any, timeout_s: float) -> Any:
        import grpc

        from executor.proto import decision_pb2_grpc

        stub = decision_pb2_grpc.ExecutorStub(self._connections.grpc(self._endpoint))
        metadata = (("authorization", f"Bearer {self._endpoint.key}"),)
        try:
            answer = await getattr(stub, name)(request, timeout=timeout_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise _rpc_failure(error) from None
        except grpc.aio.UsageError as error:
            raise ModelUnreachable(f"cannot be reached ({error})") from None
        except CancelledError:
            # gRPC replaces the cancellation by one of its own, in which no cancel scope knows its own again.
            await checkpoint_if_cancelled()
            raise
        if answer is None:
            raise UnreadableAnswer("answered no message of decision.proto; look at what listens there")
        return answer


async def _content(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_BYTES:
            raise UnreadableAnswer(f"answered more than {MAX_BYTES} bytes; that is no decision")
    return bytes(content)


def _refusal(status: int, content: bytes) -> ModelError:
    told = _told(content)
    detail = f": {told}" if told else ""
    if status in (401, 403):
        return Unauthorized(f"refuses the key ({status}{detail}); give the key of its config")
    if status == 429:
        return RateLimited(f"takes no more calls now (429{detail})")
    if status in _OVERLOADED:
        return ModelOverloaded(f"failed ({status}{detail}); its log says why")
    return CallRejected(f"refused the request ({status}{detail})")


def _told(content: bytes) -> str:
    """Return what our own server says about a refusal; other words are not passed on."""
    try:
        raw = read_json(content[:10_000].decode("utf-8"))
    except (ValueError, ReplySyntaxError):
        return ""
    said = raw.get("error") if isinstance(raw, dict) else None
    return clean_text(said, _DETAIL) if isinstance(said, str) else ""


def _rpc_failure(error: "grpc.aio.AioRpcError") -> ModelError:
    code, told = error.code().name, clean_text(error.details() or "", _DETAIL)
    match code:
        case "DEADLINE_EXCEEDED":
            return ModelTimeout("did not decide in time; raise the timeout, or look at its server")
        case "UNAUTHENTICATED" | "PERMISSION_DENIED":
            return Unauthorized(f"refuses the key ({told}); give the key of its config")
        case "INVALID_ARGUMENT" | "NOT_FOUND" | "UNIMPLEMENTED" | "RESOURCE_EXHAUSTED":
            return CallRejected(f"refused the request ({code}: {told})")
        case "UNAVAILABLE":
            return ModelUnreachable(f"cannot be reached ({told})")
    return ModelOverloaded(f"failed ({code}: {told})")
