"""Delete what is older than its retention, and thin samples of equity; any number of workers may do so at once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from exchanges.clock import EPOCH, Clock
from manager.desk.incidents.log import log_resolved
from manager.spending.budget_incidents import end_before
from manager.state.spending import day_of
from manager.state.store import ServiceTransaction, Store

_LOG = structlog.get_logger(__name__)
_DAY_S: Final = 86_400.0
_AT_ONCE: Final = 5_000
_WHOLE_FOR: Final = timedelta(days=1)
_THINNED_BACK: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Say how long what is kept, in seconds; `history_s` is for daily sums of costs and for ended incidents."""

    prompts_s: float = 30 * _DAY_S
    contexts_s: float = 90 * _DAY_S
    equity_s: float = 400 * _DAY_S
    history_s: float = 400 * _DAY_S


class Retention:
    """Delete in short transactions, some rows at a time, so that no job waits for it."""

    def __init__(self, store: Store, clock: Clock, keep: Keep) -> None:
        self._store = store
        self._clock = clock
        self._keep = keep
        self._thinned_until = EPOCH

    @property
    def duties(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """Return what is to be done again and again, each for itself."""
        return self.forget_prompts, self.forget_contexts, self.forget_equity, self.close_days

    async def forget_prompts(self) -> None:
        """Delete the texts of old prompts; their decisions stay."""
        before = self._before(self._keep.prompts_s)
        async with self._store.service() as service:
            forgotten = await service.forget_prompts(before)
        if forgotten:
            _LOG.info("prompts_forgotten", count=forgotten, older_than_s=self._keep.prompts_s)

    async def forget_contexts(self) -> None:
        """Take from old decisions what their traders were shown."""
        before = self._before(self._keep.contexts_s)
        await self._some(lambda service: service.forget_contexts(before, _AT_ONCE))

    async def forget_equity(self) -> None:
        """Delete old samples of equity, and thin those older than a day to the last of each hour."""
        before, whole = self._before(self._keep.equity_s), self._clock.now() - _WHOLE_FOR
        await self._some(lambda service: service.forget_equity(before, _AT_ONCE))
        whole = whole.replace(minute=0, second=0, microsecond=0)
        since = max(self._thinned_until, whole - _THINNED_BACK)
        while since < whole:
            until = since + timedelta(hours=1)
            await self._some(partial(_thin, since, until))
            self._thinned_until = since = until

    async def close_days(self) -> None:
        """End the budget incidents of days past, which no call may end any more; forget costs and incidents of old."""
        now, before = self._clock.now(), self._before(self._keep.history_s)
        async with self._store.service() as service:
            await service.forget_spending(before)
            await service.forget_incidents(before)
            tenants = await service.tenants()
        for tenant in tenants:
            async with self._store.transaction(tenant) as tx:
                ended = await end_before(tx, day_of(now), now)
            log_resolved(ended)

    def _before(self, keep_s: float) -> datetime:
        return self._clock.now() - timedelta(seconds=keep_s)

    async def _some(self, delete: Callable[[ServiceTransaction], Awaitable[int]]) -> None:
        """Delete until nothing is left."""
        deleted = _AT_ONCE
        while deleted >= _AT_ONCE:
            async with self._store.service() as service:
                deleted = await delete(service)
            await asyncio.sleep(0)


async def _thin(since: datetime, until: datetime, service: ServiceTransaction) -> int:
    return await service.thin_equity(since, until, _AT_ONCE)
