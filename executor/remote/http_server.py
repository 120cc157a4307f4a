"""`POST /api/v1/decision`: the key is checked before the body is read, the body before anything decides."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import anyio
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from executor.contract import FullDecision
from executor.errors import KeyRefused, RequestInvalid, RequestRefused, RequestTooLarge, TraderUnknown
from executor.remote.connections import MAX_BYTES
from executor.remote.service import DecisionService, Desk
from executor.remote.wire import decision_json, read_request

DECISION_PATH: Final = "/api/v1/decision"
PING_PATH: Final = "/api/v1/ping"
_BODY_TIMEOUT_S: Final = 10.0
_STATUS: Final[Mapping[type[RequestRefused], int]] = MappingProxyType(
    {RequestInvalid: 422, RequestTooLarge: 413, KeyRefused: 401, TraderUnknown: 404}
)


def decision_app(service: DecisionService) -> FastAPI:
    """Return the HTTP application; only `/healthz` answers without a key."""
    app = FastAPI(title="Propdesk executor", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(RequestRefused, _refused)

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(PING_PATH)
    async def ping(request: Request) -> dict[str, list[str]]:
        return {"traders": list(_desk(service, request).traders)}

    @app.post(DECISION_PATH)
    async def decide(request: Request) -> Response:
        desk = _desk(service, request)
        context = read_request(await _body(request))
        executor = service.executor(desk, context)
        decision: FullDecision | None = None
        async with anyio.create_task_group() as group:

            async def until_gone() -> None:
                while (await request.receive())["type"] != "http.disconnect":
                    continue
                group.cancel_scope.cancel()

            group.start_soon(until_gone)
            decision = await service.decided(executor, context)
            group.cancel_scope.cancel()
        if decision is None:
            return Response(status_code=499)
        return Response(decision_json(decision), media_type="application/json")

    return app


def _desk(service: DecisionService, request: Request) -> Desk:
    return service.desk(request.headers.get("authorization"))


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        with anyio.fail_after(_BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise RequestTooLarge(f"the body is longer than {MAX_BYTES} bytes; send fewer symbols at once")
    except TimeoutError:
        raise RequestInvalid(f"the body did not arrive within {_BODY_TIMEOUT_S:g} s; send it at once") from None
    return bytes(body)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    del request
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 400)
    headers: dict[str, Any] = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if status == 413:
        headers["Connection"] = "close"
    return JSONResponse({"error": str(error)}, status_code=status, headers=headers)
