"""The server's end of HTTP: the key is checked before the body is read, the body before anything decides."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import anyio
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from executor import errors
from executor.contract import Context, Executor, FullDecision
from executor.remote.endpoint import DECISION_PATH, MAX_BYTES, PING_PATH, TIMEOUT_HEADER
from executor.remote.http_door import BODY_TIMEOUT_S
from executor.remote.service import DecisionService, Desk
from executor.remote.wire import decision_json, read_request

_LEFT: Final = 499
_STATUS: Final[Mapping[type[errors.RequestRefused], int]] = MappingProxyType(
    {
        errors.RequestInvalid: 422,
        errors.RequestTooLarge: 413,
        errors.KeyRefused: 401,
        errors.TraderUnknown: 404,
        errors.TraderUnable: 503,
        errors.ServerStopping: 503,
    }
)


def decision_app(service: DecisionService) -> FastAPI:
    """Return the HTTP application; only `/healthz` answers without a key."""
    app = FastAPI(title="Propdesk executor", docs_url=None, redoc_url=None, openapi_url=None)
    routes = _Routes(service)
    app.add_exception_handler(errors.RequestRefused, routes.refused)
    app.get("/healthz")(routes.health)
    app.get(PING_PATH)(routes.ping)
    app.post(DECISION_PATH)(routes.decide)
    return app


class _Routes:
    """Answer the requests of the application."""

    def __init__(self, service: DecisionService) -> None:
        self._service = service

    async def health(self) -> dict[str, str]:
        return {"status": "ok"}

    async def ping(self, request: Request) -> dict[str, list[str]]:
        desk = self._desk(request)
        await self._service.check(desk, request.query_params.get("trader", ""))
        return {"traders": list(desk.traders)}

    async def decide(self, request: Request) -> Response:
        desk = self._desk(request)
        left_s = self._left_s(request)
        try:
            context = read_request(await self._body(request))
        except ClientDisconnect:
            return Response(status_code=_LEFT)
        executor = self._service.executor(desk, context.trader_id)
        decision = await self._decided(request, executor, context, left_s)
        if decision is None:
            return Response(status_code=_LEFT)
        return Response(decision_json(decision), media_type="application/json")

    async def refused(self, request: Request, error: Exception) -> JSONResponse:
        del request
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 400)
        if isinstance(error, errors.ServerStopping) and error.cut:
            status = 500
        headers: dict[str, Any] = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        if status == 413:
            headers["Connection"] = "close"
        return JSONResponse({"error": str(error)}, status_code=status, headers=headers)

    async def _decided(
        self, request: Request, executor: Executor, context: Context, left_s: float
    ) -> FullDecision | None:
        """Decide for as long as the client is there; None once it has left."""
        decision: FullDecision | None = None
        stopping: errors.ServerStopping | None = None
        async with anyio.create_task_group() as group:

            async def until_gone() -> None:
                while (await request.receive())["type"] != "http.disconnect":
                    continue
                group.cancel_scope.cancel()

            group.start_soon(until_gone)
            try:
                decision = await self._service.decided(executor, context, left_s)
            except errors.ServerStopping as error:
                stopping = error
            group.cancel_scope.cancel()
        if stopping is not None:
            raise stopping
        return decision

    def _desk(self, request: Request) -> Desk:
        return self._service.desk(request.headers.get("authorization"))

    @staticmethod
    def _left_s(request: Request) -> float:
        """Return how long the desk still waits for its decision."""
        given = request.headers.get(TIMEOUT_HEADER)
        try:
            left_s = math.inf if given is None else float(given)
        except ValueError:
            left_s = math.nan
        if not left_s >= 0:
            raise errors.RequestInvalid(
                f"the header {TIMEOUT_HEADER} is no number of seconds; send one such as 29.5, or none"
            )
        return left_s

    @staticmethod
    async def _body(request: Request) -> bytes:
        body = bytearray()
        try:
            with anyio.fail_after(BODY_TIMEOUT_S):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        raise errors.RequestTooLarge(
                            f"the body is longer than {MAX_BYTES} bytes; send fewer symbols at once"
                        )
        except TimeoutError:
            raise errors.RequestInvalid(
                f"the body did not arrive within {BODY_TIMEOUT_S:g} s; send it at once"
            ) from None
        return bytes(body)
