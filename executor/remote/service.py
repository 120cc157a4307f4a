"""What stands behind both protocols: who may ask, for which trader, and the decision itself."""

import hmac
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from executor.contract import Context, Executor, FullDecision, ItemError, Outcome
from executor.errors import ExecutorConfigError, KeyRefused, TraderUnknown
from executor.reply import clean_text

SHORTEST_KEY: Final = 16
_BEARER: Final = "bearer "
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Hold what one key opens: `find` returns the executor of a trader by its id, None if there is none."""

    key: str = field(repr=False)
    find: Callable[[str], Executor | None]
    traders: tuple[str, ...] = ()


def desk_of(key: str, executors: Mapping[str, Executor]) -> Desk:
    """Return a desk of the given traders."""
    return Desk(key=key, find=executors.get, traders=tuple(sorted(executors)))


class DecisionService:
    """Decide for whoever has a key; each key opens its own traders only. Raises ExecutorConfigError for weak keys."""

    def __init__(self, desks: Sequence[Desk]) -> None:
        if not desks:
            raise ExecutorConfigError("no key is configured; an executor is never served without one")
        for desk in desks:
            if len(desk.key) < SHORTEST_KEY or not desk.key.isascii() or not desk.key.isprintable():
                expected = f"expected at least {SHORTEST_KEY} ASCII characters; make one with `openssl rand -hex 32`"
                raise ExecutorConfigError(f"the key of an executor server has {len(desk.key)} characters; {expected}")
        if len({desk.key for desk in desks}) < len(desks):
            raise ExecutorConfigError("two tenants have the same key; give each its own, which tells them apart")
        self._desks = tuple(desks)

    def desk(self, authorization: str | None) -> Desk:
        """Return the desk that `Bearer <key>` opens, compared in constant time; raise KeyRefused."""
        given = authorization or ""
        sent = given[len(_BEARER) :].strip() if given[: len(_BEARER)].lower() == _BEARER else ""
        found = None
        for desk in self._desks:
            if hmac.compare_digest(desk.key.encode(), sent.encode("utf-8", "replace")):
                found = desk
        if found is None:
            raise KeyRefused("the key is missing or wrong; send `Authorization: Bearer <key>` with the server's key")
        return found

    def executor(self, desk: Desk, context: Context) -> Executor:
        """Return who decides for the trader of `context`; raise TraderUnknown."""
        executor = desk.find(context.trader_id)
        if executor is None:
            shown = clean_text(repr(context.trader_id), 80)
            raise TraderUnknown(f"no trader {shown} under this key; add it to the config of the executor server")
        return executor

    async def decided(self, executor: Executor, context: Context) -> FullDecision:
        """Return the decision of an executor, which by its contract does not raise."""
        try:
            return await executor.decide(context)
        except Exception:  # noqa: BLE001 - whatever is wrong in one executor: no new risk, and the server goes on
            _LOG.exception("executor_failed", extra={"trader": context.trader_id})
            error = ItemError(path="executor", message="the executor failed; the log of its server says why")
            return FullDecision(outcome=Outcome.UNAVAILABLE, errors=(error,))
