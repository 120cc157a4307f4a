"""What stands behind both protocols: who may ask, for which trader, and the decision itself."""

import hmac
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import anyio

from executor.contract import Context, Executor, FullDecision, ItemError, Outcome
from executor.errors import (
    ExecutorConfigError,
    KeyRefused,
    ModelError,
    ServerStopping,
    TraderUnable,
    TraderUnknown,
)
from executor.remote.endpoint import STOPPING
from executor.reply.text import clean_text

SHORTEST_KEY: Final = 16
_BEARER: Final = "bearer "
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Hold what one key opens: `find` returns the executor of a trader by its id, None if there is none."""

    key: str = field(repr=False)
    find: Callable[[str], Executor | None]
    traders: tuple[str, ...] = ()

    @property
    def weakness(self) -> str:
        """Return what makes its key unfit, "" if nothing does."""
        if not self.key.isascii() or not self.key.isprintable():
            return "a line break or another character that no header carries"
        if self.key != self.key.strip():
            return "a space at its end"
        return f"{len(self.key)} characters" if len(self.key) < SHORTEST_KEY else ""


def desk_of(key: str, executors: Mapping[str, Executor]) -> Desk:
    """Return a desk of the given traders."""
    return Desk(key=key, find=executors.get, traders=tuple(sorted(executors)))


class DecisionService:
    """Decide for whoever has a key; each key opens its own traders only. Raises ExecutorConfigError for weak keys."""

    def __init__(self, desks: Sequence[Desk]) -> None:
        if not desks:
            raise ExecutorConfigError("no key is configured; an executor is never served without one")
        for desk in desks:
            if desk.weakness:
                expected = f"expected at least {SHORTEST_KEY} ASCII characters; make one with `openssl rand -hex 32`"
                raise ExecutorConfigError(f"the key of an executor server has {desk.weakness}; {expected}")
        if len({desk.key for desk in desks}) < len(desks):
            raise ExecutorConfigError("two tenants have the same key; give each its own, which tells them apart")
        self._desks = tuple(desks)
        self._under_way: set[anyio.CancelScope] = set()
        self._stopping = False
        self._idle: anyio.Event | None = None

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

    def executor(self, desk: Desk, trader_id: str) -> Executor:
        """Return who decides for a trader; raise TraderUnknown."""
        executor = desk.find(trader_id)
        if executor is None:
            shown = clean_text(repr(trader_id), 80)
            raise TraderUnknown(f"no trader {shown} under this key; add it to the config of the executor server")
        return executor

    async def check(self, desk: Desk, trader_id: str) -> None:
        """Raise TraderUnknown, or TraderUnable if its executor could not decide now; "" stands for no trader."""
        if not trader_id:
            return
        executor = self.executor(desk, trader_id)
        try:
            await executor.ping()
        except ModelError as error:
            raise TraderUnable(f"trader {trader_id} cannot be decided for: {error}") from None
        except Exception:  # noqa: BLE001 - whatever is wrong here is told by the log, which the desk does not see
            _LOG.exception("executor_failed", extra={"trader": trader_id})
            raise TraderUnable(f"trader {trader_id} cannot be decided for; the log of its server says why") from None

    async def decided(self, executor: Executor, context: Context, left_s: float = math.inf) -> FullDecision:
        """Return the decision of an executor, within the seconds that its desk still waits; log what it cost.

        Raises ServerStopping once `drain` has begun, also for a decision that it gives up.
        """
        if self._stopping:
            raise ServerStopping(STOPPING)
        decision: FullDecision | None = None
        scope = anyio.CancelScope(deadline=anyio.current_time() + left_s)
        self._under_way.add(scope)
        try:
            with scope:
                decision = await self._taken(executor, context)
        finally:
            self._under_way.discard(scope)
            if self._idle is not None and not self._under_way:
                self._idle.set()
            self._log(context.trader_id, decision)
        if decision is not None:
            return decision
        if self._stopping:
            raise ServerStopping(f"{STOPPING}; the decision was given up, and what it cost is not known", cut=True)
        error = ItemError(path="executor", message=f"no decision within the {left_s:.1f} s that the desk still waits")
        return FullDecision(outcome=Outcome.TIMEOUT, errors=(error,))

    async def drain(self, grace_s: float) -> None:
        """Take no further decision, wait for those under way, and give up what is left after `grace_s`."""
        self._stopping, self._idle = True, anyio.Event()
        if self._under_way:
            with anyio.move_on_after(grace_s):
                await self._idle.wait()
        for scope in tuple(self._under_way):
            scope.cancel()

    @staticmethod
    async def _taken(executor: Executor, context: Context) -> FullDecision:
        """By its contract an executor does not raise; what is wrong with a template names files of this host."""
        try:
            decision = await executor.decide(context)
        except Exception:  # noqa: BLE001 - whatever is wrong in one executor: no new risk, and the server goes on
            _LOG.exception("executor_failed", extra={"trader": context.trader_id})
            error = ItemError(path="executor", message="the executor failed; the log of its server says why")
            return FullDecision(outcome=Outcome.UNAVAILABLE, errors=(error,))
        for error in decision.errors:
            if error.path == "prompt":
                _LOG.error("prompt_unusable", extra={"trader": context.trader_id, "error": error.message})
        unusable = "the prompt template cannot be used; the log of the executor server says why"
        errors = (replace(one, message=unusable) if one.path == "prompt" else one for one in decision.errors)
        return replace(decision, errors=tuple(errors))

    @staticmethod
    def _log(trader_id: str, decision: FullDecision | None) -> None:
        if decision is None:
            _LOG.warning("decision_given_up", extra={"trader": trader_id})
            return
        usage = decision.usage
        told: dict[str, object] = {"trader": trader_id, "outcome": str(decision.outcome), "model": decision.model}
        told |= {"usd": str(usage.cost_usd), "latency_s": round(decision.latency_s, 3)}
        told |= {"unknown_usd": str(usage.unknown_usd)} if usage.unknown_usd else {}
        told |= {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
        _LOG.info("decided", extra=told)
