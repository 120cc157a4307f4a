"""Where a model's endpoint may be (the public internet over https, this machine, the rest on request) and its key."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

from executor.errors import ExecutorConfigError

_EXPECTED: Final = "expected a URL such as https://api.openai.com/v1"
_UNREADABLE: Final = "an unreadable URL"
_INSIDE: Final = (".local", ".internal", ".lan", ".home.arpa", ".localdomain")
_LOOPBACK: Final = "localhost"
_CALLS: Final = ("/chat/completions", "/completions", "/responses", "/messages")
_NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE: Final = IPv6Network("::/96")
_IPV4_BITS: Final = 0xFFFF_FFFF


def check_base_url(base_url: str, *, allow_private: bool = False, where: str = "in models") -> None:
    """Raise ExecutorConfigError, which never shows a password, unless an endpoint may be at `base_url`.

    https goes anywhere public and to this machine, http to this machine only; private networks need `allow_private`,
    which stands `where` the message says.
    """
    if not base_url.isprintable() or not base_url.isascii() or " " in base_url:
        raise ExecutorConfigError(f"holds blanks or characters that no URL has; {_EXPECTED}")
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
    named = next((call for call in _CALLS if url.path.rstrip("/").endswith(call)), "")
    if named:
        raise ExecutorConfigError(f"must end before {named}, which is added to it; {_EXPECTED}")
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


def check_key(key: str, named: str) -> None:
    """Raise ExecutorConfigError, which does not show it, unless a header can carry the key that is `named`."""
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ExecutorConfigError(
            f"{named} holds a blank, a line break or a character that is not ASCII, "
            "which no key has; export the key alone"
        )


def same_url(base_url: str) -> str:
    """Return `base_url` as all its spellings have it: host in small letters, no default port, no slash at the end."""
    url = urlsplit(base_url)
    host, port = url.hostname or "", url.port
    host = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}.get(url.scheme)
    return f"{url.scheme}://{host}{'' if port in (None, default) else f':{port}'}{url.path.rstrip('/')}"


def is_address(host: str) -> bool:
    """Tell whether `host` is an IP address and no name."""
    return _literal(host) is not None


def shown_url(base_url: str) -> str:
    """Return `base_url` without user, password and query."""
    try:
        url = urlsplit(base_url)
    except ValueError:
        return _UNREADABLE
    if not url.netloc:
        return _UNREADABLE if any(sign in base_url for sign in "@?#") else base_url
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address to which an IPv6 address leads through a translator or a tunnel."""
    known = address.sixtofour or (address.teredo[1] if address.teredo else None)
    if known is not None:
        return known
    number = int(address)
    if any(address in network for network in _NAT64) or (address in _COMPATIBLE and number > 1):
        return IPv4Address(number & _IPV4_BITS)
    return None


def _is_loopback(host: str) -> bool:
    address = _literal(host)
    return host == _LOOPBACK if address is None else address.is_loopback


def _is_private(host: str) -> bool:
    """A bare name is looked up in the local network, and so is a number that is no plain address, such as 127.1."""
    address = _literal(host)
    if isinstance(address, IPv6Address):
        address = _embedded(address) or address
    if address is not None:
        return not address.is_global or address.is_multicast
    last = host.rstrip(".").rpartition(".")[2]
    return "." not in host.rstrip(".") or host.rstrip(".").endswith(_INSIDE) or last.isdigit() or last.startswith("0x")
