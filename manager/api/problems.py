"""What a request is told that is not answered: application/problem+json (RFC 9457), with field, value and mend."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from exchanges.errors import ExchangeConfigError, MarketDataError
from executor.errors import ExecutorConfigError
from manager import errors
from manager.config.errors import ConfigError
from manager.state.errors import DuplicateRow, StateError
from traders.errors import TraderError

_LOG = structlog.get_logger(__name__)
PROBLEM: Final = "application/problem+json"
_AGAIN_S: Final = 2
_LONGEST_VALUE: Final = 200
_SECRET: Final = ("secret", "key", "password", "token", "passphrase", "credential")


class FieldProblem(BaseModel):
    """Say what is wrong with one field: where it stands, what was given, and what to give instead."""

    field: str = Field(examples=["body.limits.max_positions"])
    value: str = Field(default="", examples=["-1"])
    mend: str = Field(examples=["Input should be greater than or equal to 1"])


class Problem(BaseModel):
    """Say why a request was not carried out."""

    type: str = Field(examples=["/problems/unknown-trader"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no trader 'trend_btc'; `propdesk traders list` names them"])
    errors: list[FieldProblem] = []


class HttpProblem(Exception):
    """Stand for a request that is not carried out for a reason of HTTP: who asks, which version, how often."""

    def __init__(
        self, status: HTTPStatus, kind: str, detail: str, *, headers: Mapping[str, str] | None = None, field: str = ""
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.headers = dict(headers or {})
        self.field = field


# The first class that an error is of counts; what stands nowhere here is a defect, and answered with 500.
_STATUS: Final[Sequence[tuple[type[Exception], HTTPStatus]]] = (
    (errors.UnknownTrader, HTTPStatus.NOT_FOUND),
    (errors.UnknownAccount, HTTPStatus.NOT_FOUND),
    (errors.UnknownSymbol, HTTPStatus.NOT_FOUND),
    (errors.NoFlatten, HTTPStatus.NOT_FOUND),
    (errors.UnknownKey, HTTPStatus.NOT_FOUND),
    (errors.UnknownTenant, HTTPStatus.NOT_FOUND),
    (errors.KeyRefused, HTTPStatus.CONFLICT),
    (errors.UnknownReference, HTTPStatus.NOT_FOUND),
    (errors.VersionMoved, HTTPStatus.PRECONDITION_FAILED),
    (errors.AmbiguousId, HTTPStatus.CONFLICT),
    (errors.UnknownCursor, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.OtherDeskRuns, HTTPStatus.CONFLICT),
    (errors.RegistrationError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.ActKeyRefused, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.FundingRefused, HTTPStatus.CONFLICT),
    (errors.NotFlat, HTTPStatus.CONFLICT),
    (errors.NothingHeld, HTTPStatus.CONFLICT),
    (errors.StillBankrupt, HTTPStatus.CONFLICT),
    (ConfigError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (ExchangeConfigError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (ExecutorConfigError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (MarketDataError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (TraderError, HTTPStatus.CONFLICT),
    (DuplicateRow, HTTPStatus.CONFLICT),
    (StateError, HTTPStatus.SERVICE_UNAVAILABLE),
)


def problem(
    status: HTTPStatus, kind: str, detail: str, errors: Sequence[FieldProblem] = (), headers: Mapping[str, str] = {}
) -> JSONResponse:
    """Return the answer that says why a request was not carried out."""
    told = Problem(type=f"/problems/{kind}", title=status.phrase, status=status, detail=detail, errors=list(errors))
    return JSONResponse(told.model_dump(), status, headers=dict(headers), media_type=PROBLEM)


def install(app: FastAPI) -> None:
    """Let the application answer every error with a problem, and a defect of ours without its inside."""
    app.add_exception_handler(HttpProblem, _of_ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _of_http)
    for kind, status in _STATUS:
        app.add_exception_handler(kind, _known(status))
    app.add_exception_handler(Exception, _defect)


def documented(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Return how OpenAPI names these answers."""
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {int(one): {"description": one.phrase, "content": content} for one in statuses}


async def _of_ours(request: Request, error: Any) -> JSONResponse:
    del request
    fields = [FieldProblem(field=error.field, mend=str(error))] if error.field else []
    return problem(error.status, error.kind, str(error), fields, error.headers)


async def _invalid(request: Request, error: Any) -> JSONResponse:
    del request
    fields = [
        FieldProblem(field=_path(one["loc"]), value=_shown(one["loc"], one.get("input")), mend=one["msg"])
        for one in error.errors()
    ]
    told = "; ".join(f"{one.field}: {one.mend}" for one in fields)
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", told, fields)


async def _of_http(request: Request, error: Any) -> JSONResponse:
    del request
    status = HTTPStatus(error.status_code)
    detail = error.detail if error.detail != status.phrase else _PLAIN.get(status, status.description or status.phrase)
    return problem(status, status.phrase.lower().replace(" ", "-"), detail, headers=error.headers or {})


_PLAIN: Final = {
    HTTPStatus.NOT_FOUND: "there is nothing at this address; /openapi.json names what there is",
    HTTPStatus.METHOD_NOT_ALLOWED: "this address takes another method; the header Allow names those it takes",
}


def _known(status: HTTPStatus) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def answer(request: Request, error: Exception) -> JSONResponse:
        del request
        fields = _fields_of(error)
        away = {"Retry-After": str(_AGAIN_S)} if status is HTTPStatus.SERVICE_UNAVAILABLE else {}
        return problem(status, _dashed(type(error).__name__), str(error), fields, away)

    return answer


def _fields_of(error: Exception) -> list[FieldProblem]:
    if isinstance(error, ConfigError):
        return [FieldProblem(field=one.field, value=one.value, mend=one.mend) for one in error.problems]
    fault = error.fault if isinstance(error, errors.RegistrationError) else None
    return [] if fault is None else [FieldProblem(field=_path(fault.loc), value=fault.value, mend=fault.text)]


async def _defect(request: Request, error: Exception) -> JSONResponse:
    _LOG.error("request_failed", method=request.method, path=request.url.path, exc_info=error)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "defect",
        "this is a defect of Propdesk; its log says where (`request_failed`)",
    )


def _path(loc: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in loc)


def _shown(loc: Sequence[str | int], given: Any) -> str:
    """Return what was given, never what may be a secret."""
    if any(word in str(part).lower() for part in loc for word in _SECRET) or isinstance(given, dict | list | bytes):
        return ""
    return "" if given is None else str(given)[:_LONGEST_VALUE]


def _dashed(name: str) -> str:
    return "".join(f"-{one.lower()}" if one.isupper() else one for one in name).strip("-")
