"""What was decided, denied, ordered, traded and done, the newest first, and why."""

from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import Field

from manager.api.answers import answer
from manager.api.caller import Viewer
from manager.api.problems import documented
from manager.api.routes.narrowing import OfSymbol, OfTrader, Within
from manager.errors import UnknownReference
from manager.state.journal import ConflictRow
from manager.state.records import AccountId, IntentRow, OrderRow, RoundRow, VerdictRow
from manager.views.incidents import IncidentPage, IncidentQuery, read_incidents
from manager.views.journal import JournalKind, JournalPage, JournalQuery, ListedDecision, read_journal
from manager.views.operations import OperationKind, OperationPage, OperationQuery, read_operations
from manager.views.trades import TradePage, TradeQuery, read_trades
from manager.views.why import Story, read_story
from traders.spec import TraderId

router: Final = APIRouter(tags=["records"])
_MISSING: Final = documented(HTTPStatus.NOT_FOUND)


class OfKinds(OfSymbol):
    """Narrow operations to kinds; `order` is what changes positions."""

    kind: list[OperationKind] = Field(default=list(OperationKind), description="Only of these kinds.")


class OfTrades(OfSymbol):
    """Choose closed trades or open ones."""

    open: bool = Field(default=False, description="Only positions that are still held.")


class OfIncidents(OfTrader):
    """Choose all incidents or the open ones."""

    open: bool = Field(default=False, description="Only those that have not ended.")


@router.get("/operations", response_model=OperationPage, responses=_MISSING)
async def operations(seat: Viewer, given: Annotated[OfKinds, Query()]) -> Response:
    """List orders, denials, conflicts, incidents, events and failed decisions, the newest first."""
    query = OperationQuery(
        account_id=AccountId(given.account),
        trader_id=TraderId(given.trader),
        kinds=tuple(given.kind),
        **given.model_dump(include={"symbol", "since", "until", "limit", "after"}),
    )
    return answer(await read_operations(seat.store, seat.tenant, query))


@router.get("/trades", response_model=TradePage, responses=_MISSING)
async def trades(seat: Viewer, given: Annotated[OfTrades, Query()]) -> Response:
    """List closed trades, or the open ones, each with entry, exit, pnl, fees and how it was closed."""
    query = TradeQuery(
        account_id=AccountId(given.account),
        trader_id=TraderId(given.trader),
        open_only=given.open,
        **given.model_dump(include={"symbol", "since", "until", "limit", "after"}),
    )
    return answer(await read_trades(seat.store, seat.tenant, query))


@router.get("/incidents", response_model=IncidentPage)
async def incidents(seat: Viewer, given: Annotated[OfIncidents, Query()]) -> Response:
    """List what an operator must see, the newest first."""
    query = IncidentQuery(
        account_id=AccountId(given.account),
        trader_id=TraderId(given.trader),
        open_only=given.open,
        limit=given.limit,
        after=given.after,
    )
    return answer(await read_incidents(seat.store, seat.tenant, query))


@router.get("/why/{ref}", response_model=Story, responses=documented(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT))
async def why(seat: Viewer, ref: str) -> Response:
    """Explain an order, trade, intent or decision by its id: what was seen, asked, denied, sent and filled."""
    story = await read_story(seat.store, seat.tenant, ref)
    if story is None:
        raise UnknownReference.of(ref)
    return answer(story)


def _journal(kind: JournalKind, page: Any, told: str, path: str = "") -> None:
    """Add the route that lists the rows of one kind, which have a symbol."""

    async def rows(seat: Viewer, given: Annotated[OfSymbol, Query()]) -> Response:
        return answer(await read_journal(seat.store, seat.tenant, _query(kind, given, given.symbol)))

    _list(path or f"/{kind}", rows, kind, page, told)


def _journal_of_no_symbol(kind: JournalKind, page: Any, told: str) -> None:
    async def rows(seat: Viewer, given: Annotated[Within, Query()]) -> Response:
        return answer(await read_journal(seat.store, seat.tenant, _query(kind, given)))

    _list(f"/{kind}", rows, kind, page, told)


def _list(path: str, endpoint: Any, kind: JournalKind, page: Any, told: str) -> None:
    router.add_api_route(
        path, endpoint, methods=["GET"], response_model=page, responses=_MISSING, name=f"list_{kind}", description=told
    )


def _query(kind: JournalKind, given: Within, symbol: str = "") -> JournalQuery:
    return JournalQuery(
        kind=kind,
        account_id=AccountId(given.account),
        trader_id=TraderId(given.trader),
        symbol=symbol,
        **given.model_dump(include={"since", "until", "limit", "after"}),
    )


_journal_of_no_symbol(
    JournalKind.DECISIONS, JournalPage[ListedDecision], "List decisions with items, cost and outcome."
)
_journal_of_no_symbol(JournalKind.INTENTS, JournalPage[IntentRow], "List intents and what became of each.")
_journal_of_no_symbol(JournalKind.ROUNDS, JournalPage[RoundRow], "List rounds with the counts of their stages.")
_journal(JournalKind.ORDERS, JournalPage[OrderRow], "List orders with their shares.")
_journal(JournalKind.CONFLICTS, JournalPage[ConflictRow], "List conflicts between traders.")
_journal(JournalKind.VERDICTS, JournalPage[VerdictRow], "List denials and clamps with numbers.", "/risk/verdicts")
