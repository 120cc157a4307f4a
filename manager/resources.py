"""Where the files that ship beside the code are, in a source checkout and in an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_BUNDLED = _PACKAGE / "_data"
_CHECKOUT = _PACKAGE.parent
_NAMES = ("prompts", "migrations", "alembic.ini", "config.yaml")


def resource(name: str) -> Path:
    """Return the path of a shipped file or folder: `prompts`, `migrations`, `alembic.ini` or the sample `config.yaml`.

    Raises ValueError for another name and FileNotFoundError when the installation lacks it.
    """
    if name not in _NAMES:
        raise ValueError(f"resource {name!r} is unknown; expected one of {', '.join(_NAMES)}")
    root = _BUNDLED if _BUNDLED.is_dir() else _CHECKOUT
    path = root / name
    if not path.exists():
        raise FileNotFoundError(f"{name} is missing from {root}; install Propdesk again or restore the checkout")
    return path
