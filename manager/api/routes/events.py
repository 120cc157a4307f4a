"""Events: pages, and a stream that goes on where its reader stopped."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from manager.api.answers import answer
from manager.api.caller import Seat, Viewer
from manager.api.routes.narrowing import OfTrader
from manager.state.errors import StateError
from manager.state.kinds import EventKind
from manager.state.records import AccountId
from manager.views.events import EventPage, EventQuery, read_events
from manager.views.pages import jsonable
from traders.spec import TraderId

router: Final = APIRouter(tags=["events"])
_LOOK_S: Final = 1.0
_BEAT_S: Final = 15.0
_PAGE: Final = 200


class OfEvents(OfTrader):
    """Narrow events to kinds."""

    kind: list[EventKind] = Field(default=[], description="Only of these kinds.")


@router.get("/events", response_model=EventPage)
async def events(seat: Viewer, given: Annotated[OfEvents, Query()]) -> Response:
    """List what was done to traders and accounts, the oldest first; `next` is where to go on, now or later."""
    return answer(await read_events(seat.store, seat.tenant, _query(given)))


@router.get("/events/stream", response_class=StreamingResponse)
async def stream(
    seat: Viewer,
    request: Request,
    given: Annotated[OfEvents, Query()],
    last_event_id: Annotated[str | None, Header(description="Go on after this id, as a browser says it.")] = None,
) -> StreamingResponse:
    """Follow events as server-sent events; the id of each is where to go on, so that none is missed."""
    query = replace(_query(given), limit=_PAGE, after=last_event_id or given.after)
    await read_events(seat.store, seat.tenant, query)  # a cursor that is none is refused before the stream begins
    following = _following(seat, request, query)
    return StreamingResponse(following, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _query(given: OfEvents) -> EventQuery:
    return EventQuery(
        account_id=AccountId(given.account),
        trader_id=TraderId(given.trader),
        kinds=tuple(given.kind),
        limit=given.limit,
        after=given.after,
    )


async def _following(seat: Seat, request: Request, query: EventQuery) -> AsyncIterator[str]:
    quiet_s = 0.0
    stop: asyncio.Event = request.app.state.stop
    while not stop.is_set() and not await request.is_disconnected():
        try:
            page = await read_events(seat.store, seat.tenant, query)
        except StateError as error:
            yield f": the database is away ({type(error).__name__}); the stream goes on when it is back\n\n"
            return
        for event in page.events:
            yield f"id: {event.cursor}\nevent: {event.kind}\ndata: {json.dumps(jsonable(event))}\n\n"
        query = replace(query, after=page.next)
        quiet_s = 0.0 if page.events else quiet_s + _LOOK_S
        if quiet_s >= _BEAT_S:
            quiet_s = 0.0
            yield ": nothing new\n\n"
        if len(page.events) < _PAGE:
            try:
                await asyncio.wait_for(stop.wait(), _LOOK_S)
            except TimeoutError:
                continue
