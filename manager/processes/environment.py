"""What of the environment each child of the supervisor is given."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import manager
from manager.settings import describe_settings
from manager.state.embedded.environment import COMMON, least

_NAMED: Final = re.compile(r"\$\{(\w+)\}")
_DATABASE: Final = "DATABASE_URL"
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "GRPC_PROXY")
_CERTIFICATES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_GRPC: Final = ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "GRPC_VERBOSITY")
_OUTSIDE: Final = frozenset((*_PROXIES, *_CERTIFICATES, *_GRPC))


def web_environment(config: Path, given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what the web needs: the database and the settings, the service key too, and nothing that the config names.

    Under the service key it checks API keys and opens what is encrypted.
    """
    named = _named(config)
    wanted = {one.name for one in describe_settings()}
    return {name: value for name, value in _own(given, wanted).items() if name in COMMON or name not in named}


def worker_environment(config: Path, given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what the worker needs: what the config names now, the settings, proxies and certificates."""
    outside = {name for name in given if name.upper() in _OUTSIDE}
    return _own(given, {one.name for one in describe_settings()} | outside | _named(config))


def _own(given: Mapping[str, str], wanted: set[str]) -> dict[str, str]:
    if given.get(_DATABASE, "").strip():
        wanted = wanted | {name for name in given if name.startswith("PG")}
    home, known = str(Path(manager.__file__).resolve().parents[1]), given.get("PYTHONPATH", "")
    found = {name: given[name] for name in given if name in wanted}
    return {**least(given), **found, "PYTHONPATH": os.pathsep.join(part for part in (home, known) if part)}


def _named(config: Path) -> set[str]:
    """Return the variables that the config refers to; read at each start of a child, for it may name new ones."""
    try:
        return set(_NAMED.findall(config.read_text("utf-8", "replace")))
    except OSError:
        return set()
