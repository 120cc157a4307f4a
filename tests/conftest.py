"""Rules every test runs under: loopback sockets only, no model key, deterministic hypothesis, asyncio."""

import ipaddress
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["database_fixtures"]

_MODEL_VARIABLES = tuple(
    f"OPENAI_{name}"
    for name in ("API_KEY", "ADMIN_KEY", "BASE_URL", "CUSTOM_HEADERS", "LOG", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET")
)
_TERMINAL_VARIABLES = ("COLUMNS", "NO_COLOR")  # xdist sets the first in its workers
_LOCAL_NAMES = ("localhost", "")

settings.register_profile(
    "propdesk",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
# `make check` has fewer examples of each property; `make test` runs the same tests with all of them.
settings.register_profile("quick", settings.get_profile("propdesk"), max_examples=25)
settings.register_profile("explore", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "propdesk"))


def _refuse_remote(address: Any) -> None:
    host = address[0] if isinstance(address, tuple) else None
    if host is None or host in _LOCAL_NAMES:
        return
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise PermissionError(f"a test tried to reach {address!r}; only loopback and unix sockets are allowed")


class _LocalSocket(socket.socket):
    def connect(self, address: Any) -> None:
        _refuse_remote(address)
        super().connect(address)

    def connect_ex(self, address: Any) -> int:
        _refuse_remote(address)
        return super().connect_ex(address)

    def sendto(self, *arguments: Any) -> int:
        _refuse_remote(arguments[-1])
        return super().sendto(*arguments)


@pytest.fixture(autouse=True, scope="session")
def _local_only() -> Iterator[None]:
    resolve = socket.getaddrinfo

    def resolve_local(host: Any, *arguments: Any, **options: Any) -> Any:
        _refuse_remote((host.decode() if isinstance(host, bytes) else host, "name lookup"))
        return resolve(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", _LocalSocket)
        patch.setattr(socket, "getaddrinfo", resolve_local)
        for name in (*_MODEL_VARIABLES, *_TERMINAL_VARIABLES):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio, the loop the desk runs on."""
    return "asyncio"
