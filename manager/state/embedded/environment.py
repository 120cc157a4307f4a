"""What every process is given of the environment: nothing by which another account learns a key from /proc."""

from collections.abc import Mapping
from typing import Final

COMMON: Final = ("PATH", "HOME", "TZ", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "USER", "LOGNAME", "LD_LIBRARY_PATH")
_PYTHON: Final = "PYTHON"


def least(environment: Mapping[str, str], *, python: bool = True) -> dict[str, str]:
    """Return what any program needs, and with `python` what tells an interpreter where its code is."""
    return {
        name: value for name, value in environment.items() if name in COMMON or (python and name.startswith(_PYTHON))
    }
