"""Where a model's endpoint may be: the public internet over https, this machine, and the rest only on request."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

from executor.errors import ExecutorConfigError

_EXPECTED: Final = "expected a URL such as https://api.openai.com/v1"
_INSIDE: Final = (".local", ".internal", ".lan", ".home.arpa", ".localdomain")
_LOOPBACK: Final = "localhost"


def check_base_url(base_url: str, *, allow_private: bool = False, where: str = "in models") -> None:
    """Raise ExecutorConfigError, which never shows a password, unless an endpoint may be at `base_url`.

    https goes anywhere public and to this machine, http to this machine only; private networks need `allow_private`,
    which stands `where` the message says.
    """
    try:
        url = urlsplit(base_url)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise ExecutorConfigError(f"is not a URL ({error}); {_EXPECTED}") from None
    if url.scheme not in ("http", "https") or not host:
        raise ExecutorConfigError(_EXPECTED)
    if url.username is not None or url.password is not None:
        raise ExecutorConfigError("must not carry a user or password; give the key as api_key: ${NAME}")
    if url.query or url.fragment:
        raise ExecutorConfigError(f"must end with its path, without ? or #; {_EXPECTED}")
    if _is_loopback(host):
        return
    private = _is_private(host)
    if private and not allow_private:
        raise ExecutorConfigError(
            f"host {host} is in a private network; set allow_private: true {where} if that is meant"
        )
    if url.scheme == "http" and not private:
        raise ExecutorConfigError("sends the key and the prompts unencrypted; write https://")


def check_peer(address: str, *, host: str) -> None:
    """Raise ExecutorConfigError if the public name `host` led to `address` in a private network."""
    if not _is_loopback(host) and (_is_private(address) or _is_loopback(address)):
        raise ExecutorConfigError(
            f"host {host} resolves to the private address {address}; set allow_private: true in models if that is meant"
        )


def shown_url(base_url: str) -> str:
    """Return `base_url` without user, password and query."""
    try:
        url = urlsplit(base_url)
    except ValueError:
        return "an unreadable URL"
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_loopback(host: str) -> bool:
    address = _literal(host)
    return host == _LOOPBACK if address is None else address.is_loopback


def _is_private(host: str) -> bool:
    """A bare name is looked up in the local network, and so is a number that is no plain address, such as 127.1."""
    address = _literal(host)
    if address is not None:
        return not address.is_global or address.is_multicast
    last = host.rstrip(".").rpartition(".")[2]
    return "." not in host.rstrip(".") or host.rstrip(".").endswith(_INSIDE) or last.isdigit() or last.startswith("0x")
