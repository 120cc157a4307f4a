"""Say in a few words how a decision ended."""

from collections.abc import Sequence
from typing import Final

from executor.contract import ItemError, Outcome
from manager.cli.render import short

_LONGEST: Final = 48


def dropped_items(errors: Sequence[ItemError]) -> int:
    """Count the items of the reply that counts which were dropped, each once however much is wrong with it."""
    return len({error.path.partition(".")[0] for error in errors if error.path.startswith("decisions[")})


def outcome_text(outcome: str, errors: Sequence[str], actions: Sequence[str], dropped: int) -> str:
    """Return what was decided, or why nothing was; `errors` are sentences, the most telling first."""
    if outcome != Outcome.DECIDED:
        why = next(iter(errors), "no reason is known")
        return f"{outcome}: {short(why, _LONGEST)}"
    lost = f" ({dropped} dropped)" if dropped else ""
    return (", ".join(actions) or "nothing to do") + lost
