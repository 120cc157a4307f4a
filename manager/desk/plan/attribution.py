"""Split venue fills among traders, exactly (docs/rules.md 9); how large orders are split is in docs/decisions.

What each trader has received is a function of the cumulative fill alone, so a fill's parts are the difference between
two values of that function, and several fills, however cut, give what one fill would have.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import gcd
from operator import add

from exchanges.types import ZERO
from manager.state.records import Share
from traders.book import EXTERNAL
from traders.spec import TraderId

FEE_STEP = Decimal("1E-12")
MAX_LOTS = 10_000


def attribute(
    shares: Sequence[Share], already_filled: Decimal, fill_quantity: Decimal, lot: Decimal
) -> tuple[Decimal, ...]:
    """Return each share's unsigned part of a fill that comes after `already_filled` units of the order.

    The parts add up to the fill; what a venue fills beyond the order's quantity is in no part.
    """
    if len(shares) == 1:
        left = max(shares[0].quantity - already_filled, ZERO)
        return (min(fill_quantity, left),)
    total = sum((share.quantity for share in shares), ZERO)
    after = min(already_filled + fill_quantity, total)
    if not already_filled and after == total:
        return tuple(share.quantity for share in shares)
    order = sorted(range(len(shares)), key=lambda index: (shares[index].trader_id, shares[index].intent_id, index))
    places = max(0, *(-_exponent(number) for number in (lot, already_filled, after)))
    places = max(places, *(-_exponent(share.quantity) for share in shares))
    requests = [_to_int(shares[index].quantity, places) for index in order]
    step = _to_int(lot, places)
    before_parts = _received(requests, _to_int(min(already_filled, total), places), step)
    after_parts = _received(requests, _to_int(after, places), step)
    parts = [ZERO] * len(shares)
    for index, before, now in zip(order, before_parts, after_parts, strict=True):
        parts[index] = Decimal(now - before).scaleb(-places)
    return tuple(parts)


def split_fee(fee: Decimal, parts: Sequence[Decimal]) -> tuple[Decimal, ...]:
    """Return the fee of each part, by quantity, in steps of 1e-12 USD; the largest part takes what rounding leaves."""
    if len(parts) == 1:
        return (fee,)
    if not fee:
        return (ZERO,) * len(parts)
    total = sum((abs(part) for part in parts), ZERO)
    if not total:
        raise ValueError(f"a fee of {fee} USD has no part to go to; pass the non-zero parts of the fill")
    fees = [(fee * abs(part) / total).quantize(FEE_STEP) for part in parts]
    largest = max(range(len(parts)), key=lambda index: (abs(parts[index]), -index))
    fees[largest] += fee - sum(fees, ZERO)
    return tuple(fees)


def liquidation_parts(
    held: Mapping[TraderId, Decimal], quantity: Decimal, lot: Decimal
) -> tuple[tuple[TraderId, Decimal], ...]:
    """Return who gives up how much of a liquidation or ADL fill, unsigned, by trader id; the rest is EXTERNAL's.

    `held` is what each book has on the side that the venue reduced, unsigned. Largest remainder by lot, ties by
    trader id, never more than a book holds.
    """
    books = {trader_id: held[trader_id] for trader_id in sorted(held) if trader_id != EXTERNAL and held[trader_id]}
    total = sum(books.values(), ZERO)
    if quantity >= total:
        parts = books
    else:
        parts = {trader_id: quantity * size // (total * lot) * lot for trader_id, size in books.items()}
        _deal_remainder(parts, books, quantity, lot)
    rest = quantity - sum(parts.values(), ZERO)
    split = tuple((trader_id, part) for trader_id, part in parts.items() if part)
    return (*split, (EXTERNAL, rest)) if rest else split


def _deal_remainder(
    parts: dict[TraderId, Decimal], books: Mapping[TraderId, Decimal], quantity: Decimal, lot: Decimal
) -> None:
    total = sum(books.values(), ZERO)
    rest = quantity - sum(parts.values(), ZERO)
    due = {trader_id: quantity * size - parts[trader_id] * total for trader_id, size in books.items()}
    neediest = sorted(books, key=lambda trader_id: (-due[trader_id], trader_id))
    while rest > ZERO:
        for trader_id in neediest:
            piece = min(lot, rest, books[trader_id] - parts[trader_id])
            parts[trader_id] += piece
            rest -= piece


def _received(requests: Sequence[int], filled: int, lot: int) -> list[int]:
    """Return what each request has received once `filled` units are in; all numbers in one integer unit."""
    total = sum(requests)
    if filled >= total:
        return list(requests)
    if not filled:
        return [0] * len(requests)
    size = _lot_size(total, lot)
    base = [0] * len(requests)
    left = list(requests)
    while True:
        whole = sum(request // size for request in left)
        if filled <= whole * size:
            dealt = _deal(left, filled, size)
            return [have + more for have, more in zip(base, dealt, strict=True)]
        filled -= whole * size
        base = [have + request // size * size for have, request in zip(base, left, strict=True)]
        left = [request % size for request in left]
        if size == lot:
            return _in_turn(base, left, filled)
        size = max(lot, min(size // 10, _lot_size(sum(left), lot)))


def _lot_size(total: int, lot: int) -> int:
    """Return lot x the smallest power of ten that cuts `total` into at most MAX_LOTS."""
    size = lot
    while total > size * MAX_LOTS:
        size *= 10
    return size


def _deal(requests: Sequence[int], filled: int, size: int) -> list[int]:
    """Deal `filled` in lots of `size`, each to the largest request/total x cumulative - received that still has room.

    A lot in progress goes to the trader that gets the whole of it.
    """
    total = sum(requests)
    lots, started = divmod(filled, size)
    rooms = [request // size for request in requests]
    received = [0] * len(requests)
    if not any(request % size for request in requests):
        unit = gcd(*rooms)
        rounds, lots = divmod(lots, total // size // unit)
        received = [room // unit * rounds for room in rooms]
    due = [0] * len(requests)
    for _ in range(lots):
        due = list(map(add, due, requests))
        winner = _neediest(due, received, rooms)
        due[winner] -= total
        received[winner] += 1
    parts = [count * size for count in received]
    if started:
        parts[_neediest(list(map(add, due, requests)), received, rooms)] += started
    return parts


def _neediest(due: list[int], received: Sequence[int], rooms: Sequence[int]) -> int:
    """Return the trader with room that the most is due to, the first of equals."""
    winner = due.index(max(due))
    if received[winner] < rooms[winner]:
        return winner
    open_ones = (index for index, room in enumerate(rooms) if received[index] < room)
    return max(open_ones, key=lambda index: (due[index], -index))


def _in_turn(base: list[int], left: Sequence[int], filled: int) -> list[int]:
    """Give what is below a lot, where requests are not whole lots, in order of trader id."""
    for index, room in enumerate(left):
        piece = min(room, filled)
        base[index] += piece
        filled -= piece
    return base


def _exponent(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"quantity {number} is not finite; refuse it where it enters")
    return exponent


def _to_int(number: Decimal, places: int) -> int:
    return int(number.scaleb(places))
