"""Client order ids: how one is made, and what it looks like at a venue.

An id is 128 bits as 32 hexadecimal digits, a digest of what the order is: it names neither trader nor symbol, and the
same order has the same id again after a crash. A venue writes it in its own form and reads that form back: paper as it
is, Hyperliquid as 128 bits in hexadecimal, Binance in 36 characters, Interactive Brokers as an order reference.
"""

import json
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from exchanges.types import ClientOrderId

_OPAQUE: Final = re.compile(r"[0-9a-f]{32}")


def new_client_order_id(*parts: str) -> ClientOrderId:
    """Return the id of the order that `parts` name, together and in this order; equal parts give an equal id."""
    return ClientOrderId(sha256(json.dumps(parts).encode()).hexdigest()[:32])


class ClientIdForm(Protocol):
    """Say how a venue writes client order ids."""

    def write(self, client_order_id: ClientOrderId) -> str:
        """Return the id as the venue takes it; raise ValueError for one that has no such form."""
        ...

    def read(self, text: str) -> ClientOrderId | None:
        """Return the id that the venue's text stands for, None for the id of an order that is not ours."""
        ...


class AsItIs:
    """Take any id unchanged, also the speaking ones of earlier versions, whose orders still rest at paper venues."""

    def write(self, client_order_id: ClientOrderId) -> str:
        """Return the id."""
        return client_order_id

    def read(self, text: str) -> ClientOrderId | None:
        """Return the text as an id, None for an empty one."""
        return ClientOrderId(text) if text else None


@dataclass(frozen=True, slots=True)
class Digits:
    """Write the 32 digits behind a prefix, in groups of these lengths with hyphens between."""

    prefix: str = ""
    groups: tuple[int, ...] = (32,)

    def write(self, client_order_id: ClientOrderId) -> str:
        """Return the venue's form of an id; raise ValueError unless it is 32 hexadecimal digits."""
        if not _OPAQUE.fullmatch(client_order_id):
            raise ValueError(
                f"client order id {client_order_id!r}: expected 32 hexadecimal digits; only paper takes it"
            )
        digits = iter(client_order_id)
        return self.prefix + "-".join("".join(next(digits) for _ in range(length)) for length in self.groups)

    def read(self, text: str) -> ClientOrderId | None:
        """Return the id, whatever the case of its digits; None for a text of another form."""
        found = text.lower()
        digits = ClientOrderId(found.removeprefix(self.prefix).replace("-", ""))
        return digits if _OPAQUE.fullmatch(digits) and self.write(digits) == found else None


AS_IT_IS: Final[ClientIdForm] = AsItIs()
HEX_128: Final[ClientIdForm] = Digits("0x")
CHARACTERS_36: Final[ClientIdForm] = Digits(groups=(8, 4, 4, 4, 12))
ORDER_REF: Final[ClientIdForm] = Digits("propdesk-")
