"""How the desk is: status, accounts with their portfolios, performance, ranking, costs, and who asks."""

from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from manager.api.answers import answer
from manager.api.caller import Viewer
from manager.api.health import installed_version
from manager.api.problems import documented
from manager.api.routes.narrowing import Instant, Name, OfTrader, Page
from manager.state.kinds import Role
from manager.state.records import AccountId, TenantId
from manager.views.costs import CostPage, CostQuery, read_model_costs
from manager.views.performance import PerformancePage, PerformanceQuery, read_performance
from manager.views.portfolio import Portfolio, read_portfolio
from manager.views.series import Series, SeriesQuery, read_series
from manager.views.status import AccountStatus, StatusPage, StatusQuery, read_status
from traders.spec import TraderId

router: Final = APIRouter(tags=["desk"])
_MISSING: Final = documented(HTTPStatus.NOT_FOUND)


class OfSeries(BaseModel):
    """Say whose curve is wanted, of which time and how finely."""

    model_config = ConfigDict(extra="forbid")

    trader: Name = Field(default="", description="Of this trader; by default of the whole account.")
    since: Instant | None = Field(default=None, description="From this instant on; by default a day before `until`.")
    until: Instant | None = Field(default=None, description="Up to this instant; by default now.")
    step_s: int = Field(default=60, ge=1, le=86_400, description="One point in so many seconds.")


class OfModels(Page):
    """Narrow costs to models."""

    model: list[str] = Field(default=[], description="Only of these models.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Say as whom a key acts, and which version answers."""

    key_id: str
    name: str
    role: Role
    tenant: TenantId
    version: str


@router.get("/whoami", response_model=Identity)
async def whoami(seat: Viewer) -> Response:
    """Tell whose key this is and what it may do."""
    caller = seat.caller
    return answer(
        Identity(
            key_id=caller.key_id, name=caller.name, role=caller.role, tenant=seat.tenant, version=installed_version()
        )
    )


@router.get("/status", response_model=StatusPage, responses=_MISSING)
async def status(seat: Viewer, given: Annotated[OfTrader, Query()]) -> Response:
    """Show accounts with their light, traders, positions and incidents; `limit` counts traders."""
    query = StatusQuery(
        now=seat.clock.now(),
        worker_alive=await seat.is_worker_alive(),
        account_id=AccountId(given.account),
        trader_id=TraderId(given.trader),
        limit=given.limit,
        after=given.after,
    )
    return answer(await read_status(seat.store, seat.tenant, query))


@router.get("/accounts/{account_id}", response_model=AccountStatus, responses=_MISSING)
async def account(seat: Viewer, account_id: str) -> Response:
    """Show one account whole: light and reasons, equity, traders, positions, incidents, use of capital."""
    query = StatusQuery(
        now=seat.clock.now(), worker_alive=await seat.is_worker_alive(), account_id=AccountId(account_id)
    )
    page = await read_status(seat.store, seat.tenant, query)
    return answer(page.accounts[0])


@router.get("/accounts/{account_id}/portfolio", response_model=Portfolio, responses=_MISSING)
async def portfolio(seat: Viewer, account_id: str) -> Response:
    """Show what an account is worth and holds at the mark, its open orders, and the books against EXTERNAL."""
    return answer(await read_portfolio(seat.store, seat.tenant, AccountId(account_id)))


@router.get("/accounts/{account_id}/series", response_model=Series, responses=_MISSING)
async def series(seat: Viewer, account_id: str, given: Annotated[OfSeries, Query()]) -> Response:
    """Give the curve of an account or of one of its traders: equity and drawdown, one point a step."""
    until = given.until or seat.clock.now()
    query = SeriesQuery(
        account_id=AccountId(account_id),
        trader_id=TraderId(given.trader),
        since=given.since or until - timedelta(days=1),
        until=until,
        step_s=given.step_s,
    )
    return answer(await read_series(seat.store, seat.tenant, query))


@router.get("/performance", response_model=PerformancePage, responses=_MISSING)
async def performance(seat: Viewer, given: Annotated[OfTrader, Query()]) -> Response:
    """Rank traders, the best first, each with what its score is made of; sums over all and by account beside them."""
    query = PerformanceQuery(
        now=seat.clock.now(),
        account_id=AccountId(given.account),
        trader_id=TraderId(given.trader),
        limit=given.limit,
        after=given.after,
    )
    return answer(await read_performance(seat.store, seat.tenant, query))


@router.get("/models/costs", response_model=CostPage)
async def costs(seat: Viewer, given: Annotated[OfModels, Query()]) -> Response:
    """Tell what model calls cost on this UTC day, the tenant's before those of each model."""
    query = CostQuery(now=seat.clock.now(), models=tuple(given.model), limit=given.limit, after=given.after)
    return answer(await read_model_costs(seat.store, seat.tenant, query))
