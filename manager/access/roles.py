"""What a role may do: all that is asked of it or of one below."""

from manager.state.kinds import Role

_ORDER = tuple(Role)


def may(role: Role, needed: Role) -> bool:
    """Tell whether a role is the one that is needed or one above it."""
    return _ORDER.index(role) >= _ORDER.index(needed)
