"""What a key may look like."""

from executor.errors import ExecutorConfigError


def check_key(key: str, named: str) -> None:
    """Raise ExecutorConfigError, which does not show it, unless a header can carry the key that is `named`."""
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ExecutorConfigError(
            f"{named} holds a blank, a line break or a character that is not ASCII, "
            "which no key has; export the key alone"
        )
