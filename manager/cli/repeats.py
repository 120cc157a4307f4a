"""What a command says of an act whose key was used before: it asked for nothing, so what it led to is history."""

from manager.cli.render import say
from manager.roster.acts import ActResult, TraderMoved
from manager.state.records import TraderRow


def said_before(result: ActResult) -> bool:
    """Say when and by whom it was done if its key was used before, and tell whether it was."""
    earlier = result.repeated_of
    if earlier is not None:
        say(f"Done before, at {earlier.at:%Y-%m-%d %H:%M:%S} UTC by {earlier.actor}; nothing was asked again.")
    return earlier is not None


def told_now(moved: TraderMoved, now: TraderRow | None) -> str:
    """Say how a trader was moved then, and how it stands now."""
    then = f"{moved.trader_id} was {moved.state} then"
    if moved.amount_usd is not None:
        then = f"{moved.trader_id} got {moved.amount_usd:f} USD then"
    return f"{then}; it is {now.state} now." if now is not None else f"{then}; it was removed since."
