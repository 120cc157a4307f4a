"""Risk: the codes, the trading state, and flattening a scope."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from manager.api.answers import answer
from manager.api.caller import Once, Operator, Seat, Viewer
from manager.api.confirmations import VALID_S
from manager.api.problems import HttpProblem, documented
from manager.api.routes.narrowing import Name
from manager.api.routes.traders import Why
from manager.desk.risk.registry import ACCOUNT_RULES, LOCAL_RULES, OTHER_CODES
from manager.roster.acts import FlattenAsked, FlattenCanceled
from manager.roster.switching import TradingSet
from manager.state.acts import FlattenId, FlattenScope
from manager.state.kinds import Afterwards, Role, ScopeKind, SwitchScope, TradingState
from manager.state.switches import TradingScope
from manager.views.closed import CloseWatch
from manager.views.closing import CloseProgress, FlattenPreview, read_preview, read_progress
from manager.views.flattens import read_parts
from manager.views.trading import TradingStates, read_trading

router: Final = APIRouter(tags=["risk"])
_MISSING: Final = documented(HTTPStatus.NOT_FOUND)
_ACTS: Final = documented(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskCode:
    """Name one reason why an entry is denied or cut."""

    code: str
    stage: str
    rule: str


_CODES: Final = (
    *(RiskCode(code=one.code, stage=one.stage, rule=one.doc) for one in LOCAL_RULES),
    *(RiskCode(code=one.code, stage=one.stage, rule=one.doc) for one in ACCOUNT_RULES),
    *(RiskCode(code=one.code, stage=one.stage, rule=one.doc) for one in OTHER_CODES),
)


class ScopeBody(Why):
    """Name what is meant: a trader, an account, or with neither all accounts of the tenant."""

    trader: str = Field(default="", max_length=64, examples=["trend_btc"])
    account: str = Field(default="", max_length=64, examples=["paper"])


class TradingBody(ScopeBody):
    """Name what is to be switched; the whole service needs a service admin."""

    service: bool = False


class FlattenBody(ScopeBody):
    """Say what is to be flattened, what stays of it, and the token of the dry run that was looked at."""

    then: Afterwards = Afterwards.HALT
    confirm: str = Field(max_length=200, examples=["1764550000.trader.trend_btc.kXq..."])


@dataclass(frozen=True, slots=True, kw_only=True)
class FlattenPlan:
    """Say what a flatten would do; `confirm` is to be given with it within `valid_s` seconds."""

    preview: FlattenPreview
    then: Afterwards
    confirm: str
    valid_s: int


@router.get("/risk/codes", response_model=tuple[RiskCode, ...])
async def codes(seat: Viewer) -> Response:
    """List every code with which an entry may be denied or cut."""
    del seat
    return answer(_CODES)


@router.get("/risk/trading", response_model=TradingStates)
async def trading(seat: Viewer) -> Response:
    """Tell how far the service, the tenant, its accounts and switched traders may trade; the strictest wins."""
    return answer(await read_trading(seat.store, seat.tenant))


@router.post("/risk/halt", response_model=TradingSet, responses=_ACTS)
async def halt(seat: Operator, request: Request, body: TradingBody) -> Response:
    """Take no entries in a scope until it is resumed; protection, reduces and closes go on."""
    return answer(await _switched(seat, request, body, TradingState.HALTED))


@router.post("/risk/reduce", response_model=TradingSet, responses=_ACTS)
async def reduce(seat: Operator, request: Request, body: TradingBody) -> Response:
    """Let a scope only reduce until it is resumed."""
    return answer(await _switched(seat, request, body, TradingState.REDUCING))


@router.post("/risk/resume", response_model=TradingSet, responses=_ACTS)
async def resume(seat: Operator, request: Request, body: TradingBody) -> Response:
    """Take entries in a scope again, as far as the scopes around it allow."""
    return answer(await _switched(seat, request, body, TradingState.ACTIVE))


@router.get("/flatten", response_model=FlattenPlan, responses=_MISSING)
async def plan(
    seat: Operator,
    trader: Annotated[Name, Query()] = "",
    account: Annotated[Name, Query()] = "",
    then: Annotated[Afterwards, Query(description="What stays when all is closed.")] = Afterwards.HALT,
) -> Response:
    """Show what a flatten would close and what would stay, with the token that confirms it; nothing is done."""
    scope = _scope(trader, account)
    preview = await read_preview(seat.store, seat.tenant, scope)
    token = seat.desk.parts.confirmations.issue(seat.tenant, scope.kind, scope.name, then)
    return answer(FlattenPlan(preview=preview, then=then, confirm=token, valid_s=VALID_S))


@router.post("/flatten", status_code=HTTPStatus.ACCEPTED, response_model=FlattenAsked, responses=_ACTS)
async def flatten(seat: Operator, key: Once, body: FlattenBody) -> Response:
    """Block the entries of a scope and close all that its traders hold, never EXTERNAL; it goes on by itself.

    To ask again joins the one under way. `GET /flatten/{flatten_id}` tells how far it is.
    """
    scope = _scope(body.trader, body.account)
    seat.desk.parts.confirmations.check(body.confirm, seat.tenant, scope.kind, scope.name, body.then)
    by = {"actor": seat.actor, "reason": body.reason}
    return answer(await seat.manager.flatten(seat.tenant, scope, body.then, **by, key=key), HTTPStatus.ACCEPTED)


@router.get("/flatten/{flatten_id}", response_model=CloseProgress, responses=_MISSING)
async def progress(seat: Viewer, flatten_id: str) -> Response:
    """Tell whether the parts of a flatten are done, what they closed, and what is left and why."""
    parts = await read_parts(seat.store, seat.tenant, FlattenId(flatten_id))
    watched, now = await seat.is_worker_alive(), seat.clock.now()
    watches = [
        CloseWatch(account_id=one.account_id, since=one.at, flatten_id=one.flatten_id, watched=watched, now=now)
        for one in parts
    ]
    return answer(await read_progress(seat.store, seat.tenant, watches))


@router.post("/flatten/cancel", response_model=FlattenCanceled, responses=_ACTS)
async def cancel(seat: Operator, key: Once, body: ScopeBody) -> Response:
    """End the flatten of a scope where it is; what it closed stays closed, what it halted or stopped stays so."""
    scope, by = _scope(body.trader, body.account), {"actor": seat.actor, "reason": body.reason}
    return answer(await seat.manager.cancel_flatten(seat.tenant, scope, **by, key=key))


async def _switched(seat: Seat, request: Request, body: TradingBody, state: TradingState) -> TradingSet:
    if "idempotency-key" in request.headers:
        raise HttpProblem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "invalid-request",
            "a switch takes no Idempotency-Key: what is so already is left as it is, and a resume sent again must not "
            "lift the halt of another; look at GET /risk/trading before you send it again",
            field="header.Idempotency-Key",
        )
    if body.service:
        await seat.check_role(request, Role.SERVICE_ADMIN)
    if body.service and (body.trader or body.account):
        raise _two_scopes("service")
    flat = _scope(body.trader, body.account)
    kind = SwitchScope.SERVICE if body.service else SwitchScope(flat.kind)
    scope = TradingScope(kind=kind, name=flat.name)
    return await seat.manager.set_trading(seat.tenant, scope, state, actor=seat.actor, reason=body.reason)


def _two_scopes(field: str) -> HttpProblem:
    return HttpProblem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid-request",
        "name one scope: a trader, an account, or neither for the whole tenant",
        field=f"body.{field}",
    )


def _scope(trader: str, account: str) -> FlattenScope:
    if trader and account:
        raise _two_scopes("account")
    if trader:
        return FlattenScope(kind=ScopeKind.TRADER, name=trader)
    return FlattenScope(kind=ScopeKind.ACCOUNT if account else ScopeKind.TENANT, name=account)
