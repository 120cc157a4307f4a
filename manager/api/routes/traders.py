"""Traders: list, take on, change, and move through their lives."""

from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from exchanges.types import Symbol
from manager.api.answers import answer, expected_version, is_current
from manager.api.caller import REASON, Admin, Once, Operator, Viewer
from manager.api.problems import documented
from manager.api.routes.narrowing import OfAccount
from manager.config.bodies import definition_of
from manager.roster.acts import CloseAsked, TraderMoved, TraderTaken
from manager.roster.dismissal import Dismissed
from manager.state.records import AccountId, TraderState
from manager.views.definitions import Definition, read_definition
from manager.views.roster import Roster, RosterQuery, TraderSort, read_roster
from manager.views.trader import TraderPage, TraderQuery, read_trader
from traders.spec import TraderId

router: Final = APIRouter(prefix="/traders", tags=["traders"])
_CHANGES: Final = documented(
    HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED, HTTPStatus.PRECONDITION_REQUIRED, HTTPStatus.NOT_FOUND
)
_ACTS: Final = documented(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


class Body(BaseModel):
    """Refuse what no field takes."""

    model_config = ConfigDict(extra="forbid")


class TraderChange(Body):
    """Name what is to change, in the words of the config; what is left out stays."""

    name: str | None = Field(default=None, examples=["Trend on BTC"])
    symbols: list[str] | None = Field(default=None, examples=[["BTC/USDT:USDT"]])
    prompt_template: str | None = Field(default=None, examples=["prompts/trend.md"])
    decision_interval: str | None = Field(default=None, examples=["3m"])
    allocation_pct: Decimal | None = Field(default=None, ge=0, le=100, examples=["30"])
    risk_params: dict[str, Any] | None = Field(default=None, examples=[{"max_positions": 2}])
    description: str | None = Field(default=None, examples=["Buys breakouts, out within the day"])
    author: str | None = Field(default=None, examples=["ann"])
    reason: str = Field(default=REASON, max_length=500)


class TraderBody(TraderChange):
    """Define a trader in the words of the config (docs/config.md, traders[])."""

    id: str = Field(examples=["trend_btc"])
    exchange: str = Field(examples=["paper"])
    executor: dict[str, Any] = Field(examples=[{"type": "baseline", "style": "trend"}])
    symbols: list[str] = Field(examples=[["BTC/USDT:USDT"]])
    decision_interval: str = Field(examples=["3m"])
    isolation: dict[str, Any] | None = Field(default=None, examples=[{"failed_decisions": 5}])
    auto_start: bool = True
    show_desk_exposure: bool = True


class OfRoster(OfAccount):
    """Narrow and sort a list of traders."""

    state: list[TraderState] = Field(default=[], description="Only in these states.")
    sort: TraderSort = Field(default=TraderSort.ID, description="In which order; money from the largest on.")


class Why(Body):
    """Say why an act is done; the event keeps it."""

    reason: str = Field(default=REASON, max_length=500, examples=["lunch"])


class FundBody(Why):
    """Say how much a bankrupt trader is given."""

    amount_usd: Decimal = Field(gt=0, allow_inf_nan=False, examples=["500"])


class CloseBody(Why):
    """Say what is to be closed; without a symbol all that the trader holds."""

    symbol: str = Field(default="", max_length=64, examples=["BTC/USDT:USDT"])


@router.get("", response_model=Roster, responses=documented(HTTPStatus.NOT_FOUND))
async def list_traders(seat: Viewer, given: Annotated[OfRoster, Query()]) -> Response:
    """List traders with state, equity, pnl and the time of the last decision."""
    query = RosterQuery(
        account_id=AccountId(given.account),
        states=tuple(given.state),
        sort=given.sort,
        limit=given.limit,
        after=given.after,
    )
    return answer(await read_roster(seat.store, seat.tenant, query))


@router.post("", status_code=HTTPStatus.CREATED, response_model=TraderTaken, responses=_ACTS)
async def create(seat: Admin, key: Once, body: TraderBody) -> Response:
    """Take a trader on; it starts at once unless `auto_start` is false."""
    spec = definition_of(body.model_dump(exclude_unset=True, exclude={"reason"}), seat.desk.config, seat.tenant)
    taken = await seat.manager.take_on(seat.tenant, spec, actor=seat.actor, reason=body.reason, key=key)
    place = f"/api/v1/traders/{taken.trader_id}"
    return answer(taken, HTTPStatus.CREATED, version=taken.version, location=place)


@router.get("/{trader_id}", response_model=TraderPage, responses=documented(HTTPStatus.NOT_FOUND))
async def get(seat: Viewer, trader_id: str) -> Response:
    """Show a trader: state, limits with how near each is, positions, open orders, last decisions and verdicts."""
    query = TraderQuery(now=seat.clock.now(), trader_id=TraderId(trader_id))
    return answer(await read_trader(seat.store, seat.tenant, query))


@router.get("/{trader_id}/definition", response_model=Definition, responses=documented(HTTPStatus.NOT_FOUND))
async def definition(seat: Viewer, request: Request, trader_id: str) -> Response:
    """Show a trader's definition as the config would write it; its ETag is what a change has to name."""
    found = await read_definition(seat.store, seat.tenant, TraderId(trader_id))
    if is_current(request.headers.get("if-none-match"), found.version):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": f'"{found.version}"'})
    return answer(found, version=found.version)


@router.patch("/{trader_id}", response_model=TraderTaken, responses=_CHANGES)
async def patch(seat: Admin, request: Request, trader_id: str, body: TraderChange) -> Response:
    """Change a definition, from its next decision and round on; If-Match names the version that was read."""
    expected = expected_version(request.headers)
    given = body.model_dump(exclude_unset=True, exclude={"reason"})
    by = {"actor": seat.actor, "reason": body.reason}
    changed = await seat.manager.update(seat.tenant, TraderId(trader_id), given, **by, expected=expected)
    return answer(changed, version=changed.version)


@router.delete("/{trader_id}", response_model=Dismissed, responses=_ACTS)
async def delete(
    seat: Admin,
    trader_id: str,
    force: Annotated[bool, Query(description="Stop it and close what it holds; ask again once it is flat.")] = False,
    reason: Annotated[str, Query(max_length=500)] = REASON,
) -> Response:
    """Dismiss a flat trader; its books and history stay."""
    done = await seat.manager.unregister(seat.tenant, TraderId(trader_id), actor=seat.actor, reason=reason, force=force)
    return answer(Dismissed(trader_id=TraderId(trader_id), outcome=done))


@router.post("/{trader_id}/start", response_model=TraderMoved, responses=_ACTS)
async def start(seat: Operator, key: Once, trader_id: str, body: Why) -> Response:
    """Let a stopped trader decide."""
    by = {"actor": seat.actor, "reason": body.reason}
    return answer(await seat.manager.start(seat.tenant, TraderId(trader_id), **by, key=key))


@router.post("/{trader_id}/pause", response_model=TraderMoved, responses=_ACTS)
async def pause(seat: Operator, key: Once, trader_id: str, body: Why) -> Response:
    """Stop a trader's decisions and entries; its positions stay, protected."""
    by = {"actor": seat.actor, "reason": body.reason}
    return answer(await seat.manager.pause(seat.tenant, TraderId(trader_id), **by, key=key))


@router.post("/{trader_id}/resume", response_model=TraderMoved, responses=_ACTS)
async def resume(seat: Operator, key: Once, trader_id: str, body: Why) -> Response:
    """Let a paused trader decide again."""
    by = {"actor": seat.actor, "reason": body.reason}
    return answer(await seat.manager.resume(seat.tenant, TraderId(trader_id), **by, key=key))


@router.post("/{trader_id}/stop", response_model=TraderMoved, responses=_ACTS)
async def stop(seat: Operator, key: Once, trader_id: str, body: Why) -> Response:
    """Stop a trader; its free capital is withdrawn, its positions stay, protected."""
    by = {"actor": seat.actor, "reason": body.reason}
    return answer(await seat.manager.stop(seat.tenant, TraderId(trader_id), **by, key=key))


@router.post("/{trader_id}/isolate", response_model=TraderMoved, responses=_ACTS)
async def isolate(seat: Operator, key: Once, trader_id: str, body: Why) -> Response:
    """Block a trader's entries until it is stopped and started anew."""
    by = {"actor": seat.actor, "reason": body.reason}
    return answer(await seat.manager.isolate(seat.tenant, TraderId(trader_id), **by, key=key))


@router.post("/{trader_id}/fund", response_model=TraderMoved, responses=_ACTS)
async def fund(seat: Admin, key: Once, trader_id: str, body: FundBody) -> Response:
    """Recapitalise a bankrupt trader from what its account has free."""
    by = {"actor": seat.actor, "reason": body.reason}
    return answer(await seat.manager.fund(seat.tenant, TraderId(trader_id), body.amount_usd, **by, key=key))


@router.post("/{trader_id}/close", response_model=CloseAsked, responses=_ACTS)
async def close(seat: Operator, key: Once, trader_id: str, body: CloseBody) -> Response:
    """Ask for the close of a position, or of all; the account's next round does it, whatever else is off."""
    symbol = Symbol(body.symbol) if body.symbol else None
    by = {"actor": seat.actor, "reason": body.reason}
    return answer(await seat.manager.close(seat.tenant, TraderId(trader_id), symbol, **by, key=key))
