"""The pass over an account's protection: a stop stands for every position, and none outlives it (docs/rules.md 8)."""

from manager.desk.legs import Legs
from manager.desk.plan.external_overlap import overlaps
from manager.desk.plan.outcomes import ProtectionPlan
from manager.desk.plan.outstanding import without_outstanding
from manager.desk.plan.protection import plan_protection
from manager.desk.session import Session
from manager.desk.take_profits import TakeProfits
from manager.desk.unprotected import Unprotected

_PASSES = 4


class Protector:
    """Protect the books of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._legs = Legs(session)
        self._take_profits = TakeProfits(session)
        self._unprotected = Unprotected(session)

    async def fire_take_profits(self) -> bool:
        """Fire the touched take-profits that do not rest, before anything else happens; tell whether any was."""
        return await self._take_profits.fire(self._plan())

    async def protect(self) -> None:
        """Bring resting stops and take-profits in line with the books.

        A position whose stop does not stand past the grace is closed and an incident raised.
        """
        plan = self._plan()
        for _ in range(_PASSES):
            if not await self._legs.carry_out(plan):
                break
            plan = self._plan()
        await self._unprotected.close_past_grace(self._plan() if plan.place or plan.cancel else plan)
        self._take_profits.keep_unfired(plan)
        self._tell_overlaps()

    def _plan(self) -> ProtectionPlan:
        session = self._session
        held, state = session.view(), session.state
        # Alone on its symbol a reduce-only stop is safe whether the reduce fills or not, so it stays until it has.
        harmless = session.exchange.capabilities.reduce_only
        view = without_outstanding(held, state.outstanding.reduces(harmless=not harmless))
        return plan_protection(view, state.outstanding.legs(), dust=state.dust, held=held)

    def _tell_overlaps(self) -> None:
        for overlap in overlaps(self._session.view()):
            self._session.incident(
                "EXTERNAL_OVERLAP",
                f"EXTERNAL stands with {overlap.external} against {overlap.total} of the books: stops, take-profits "
                f"and closes trade at most {overlap.room} until an operator assigns or crosses it",
                symbol=overlap.symbol,
            )
