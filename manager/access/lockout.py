"""How often who is refused may try again, by source address; and how fast one key may ask. Both are kept in memory.

Never by the id of a key: else anybody who knows one could lock its holder out of a halt.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Generic, TypeVar

from exchanges.clock import Clock

V = TypeVar("V")
MOST_KEPT = 10_000
_NETWORK_BITS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Set how many refusals within a time lock an address, how long at first, and how long at most.

    Each lock takes twice as long as the one before it, until there has been none for `forgotten_after_s`.
    """

    refused: int = 10
    within_s: float = 300
    first_s: float = 30
    longest_s: float = 900
    forgotten_after_s: float = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Hold the refusals of one address that still count, until when it is locked, and how many locks it has had."""

    refused_at: tuple[float, ...] = ()
    locked_until: float = 0.0
    locks: int = 0

    def wait_s(self, now_s: float) -> float:
        """Return how long the lock still lasts, 0 for none."""
        return max(0.0, self.locked_until - now_s)

    def refused(self, now_s: float, patience: Patience) -> "Record":
        """Return the record after one more refusal; within a lock nothing is counted."""
        if self.wait_s(now_s):
            return self
        counted = (*(at for at in self.refused_at if now_s - at < patience.within_s), now_s)
        over = self.locks and now_s - self.locked_until >= patience.forgotten_after_s
        locks = 0 if over else self.locks
        if len(counted) < patience.refused:
            return Record(refused_at=counted, locked_until=self.locked_until, locks=locks)
        lasts_s = min(patience.first_s * 2.0 ** min(locks, 32), patience.longest_s)
        return Record(locked_until=now_s + lasts_s, locks=locks + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Set how many requests a second one key may make, and how many at once after a rest."""

    per_s: float = 50
    burst: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Hold the tokens that a key has left, as of an instant."""

    tokens: float
    at_s: float

    def at(self, now_s: float, rate: Rate) -> "Bucket":
        """Return the bucket as it is at an instant."""
        earned = max(0.0, now_s - self.at_s) * rate.per_s
        return Bucket(tokens=min(float(rate.burst), self.tokens + earned), at_s=max(now_s, self.at_s))

    def taken(self, now_s: float, rate: Rate) -> tuple["Bucket", float]:
        """Return the bucket with a token less and 0, or, where none is left, as it is and how long to wait for one."""
        full = self.at(now_s, rate)
        if full.tokens >= 1.0:
            return Bucket(tokens=full.tokens - 1.0, at_s=full.at_s), 0.0
        return full, (1.0 - full.tokens) / rate.per_s


@dataclass(slots=True)
class Latest(Generic[V]):
    """Keep the value of each name, and of too many those that were changed last."""

    most: int = MOST_KEPT
    _kept: "OrderedDict[str, V]" = field(default_factory=OrderedDict)

    def get(self, name: str) -> V | None:
        """Return the value of a name."""
        return self._kept.get(name)

    def put(self, name: str, value: V) -> None:
        """Set the value of a name."""
        self._kept[name] = value
        self._kept.move_to_end(name)
        if len(self._kept) > self.most:
            self._kept.popitem(last=False)

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._kept)


class Lockout:
    """Refuse an address for a growing time when it was refused too often."""

    def __init__(self, clock: Clock, patience: Patience | None = None) -> None:
        self._now: Callable[[], float] = clock.boot_s
        self._patience = patience or Patience()
        self._records: Latest[Record] = Latest()

    def wait_s(self, address: str) -> float:
        """Return how long an address is still locked, 0 if it is not."""
        record = self._records.get(source_of(address))
        return record.wait_s(self._now()) if record is not None else 0.0

    def refused(self, address: str) -> float:
        """Count a refusal of an address, and return how long it is locked now."""
        name, now_s = source_of(address), self._now()
        record = (self._records.get(name) or Record()).refused(now_s, self._patience)
        self._records.put(name, record)
        return record.wait_s(now_s)


class RateLimit:
    """Let each key ask at a rate, and more at once after a rest."""

    def __init__(self, clock: Clock, rate: Rate | None = None) -> None:
        self._now: Callable[[], float] = clock.boot_s
        self._rate = rate or Rate()
        self._buckets: Latest[Bucket] = Latest()

    def take(self, name: str) -> float:
        """Take one request of a key and return 0, or return how long it has to wait."""
        now_s = self._now()
        bucket = self._buckets.get(name) or Bucket(tokens=float(self._rate.burst), at_s=now_s)
        left, wait_s = bucket.taken(now_s, self._rate)
        self._buckets.put(name, left)
        return wait_s


def source_of(address: str) -> str:
    """Return whom an address stands for: of IPv6 its network of 64 bits, of which one subscriber has all addresses."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{IPv6Address(int(found) >> _NETWORK_BITS << _NETWORK_BITS)}/{_NETWORK_BITS}"
