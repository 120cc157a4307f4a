"""Give the kept entries their size: margin is dealt in the resolver's order or scaled (RULES.md 4), then lots are cut.

What does not fit is cut to what is left and denied below the venue's minimum; nothing is redistributed.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction

from exchanges.precision import quantity_for
from exchanges.types import Symbol
from manager.desk.plan.valuation import price_of
from manager.desk.plan.values import (
    ZERO,
    AccountView,
    Candidate,
    Clamp,
    Conflict,
    ConflictStrategy,
    Denial,
    Reduce,
    SizedEntry,
    Sizing,
)
from manager.state.records import PositionKey
from traders.book import Position

_SIZE_DIGITS = 8
_IN_ORDER = frozenset({ConflictStrategy.FIRST_COME, ConflictStrategy.HIGHEST_CONFIDENCE})


def allocate(view: AccountView, kept: Sequence[Candidate], reduces: Sequence[Reduce]) -> Sizing:
    """Return the entries with their quantities; their margins never add up to more than the free margin.

    `kept` comes in the resolver's order. Too small a wish is BELOW_MIN_NOTIONAL, one that capital made too small is
    INSUFFICIENT_MARGIN; each symbol on which capital was short is one resource conflict.
    """
    if not kept:
        return Sizing()
    result = _Result(view=view)
    viable = [(wish, entry) for wish in kept if (entry := result.sized(wish)) is not None]
    needed = sum((wish.size_usd / wish.leverage for wish, _ in viable), ZERO)
    free = free_margin(view, reduces)
    if needed <= free or not viable:
        entries = tuple(entry for _, entry in viable)
        return Sizing(entries=entries, denials=tuple(result.denials))
    wishes = [wish for wish, _ in viable]
    sizes = _in_order(wishes, free, result) if view.rules.conflict_strategy in _IN_ORDER else _scaled(wishes, free)
    return result.cut(wishes, sizes, f"{_usd(max(free, ZERO))} USD of {_usd(needed)} USD margin free")


def free_margin(view: AccountView, reduces: Iterable[Reduce]) -> Decimal:
    """Return the account's equity less margin in use and less the margin reserved for unknown entries, in USD."""
    reserved = sum((reservation.margin for reservation in view.reservations), ZERO)
    return view.equity - margin_in_use(view, reduces) - reserved


def margin_in_use(view: AccountView, reduces: Iterable[Reduce] = ()) -> Decimal:
    """Return the sum over symbols of the larger side's margin, books after `reduces` and EXTERNAL (RULES.md 5).

    A symbol without a mark counts at its entry price.
    """
    taken: dict[PositionKey, Decimal] = defaultdict(Decimal)
    for reduce in reduces:
        taken[PositionKey(reduce.trader_id, reduce.symbol)] += reduce.quantity
    sides: dict[Symbol, list[Decimal]] = {}
    for trader_id, trader in view.traders.items():
        for symbol, position in trader.book.positions.items():
            left = abs(position.quantity) - taken.get(PositionKey(trader_id, symbol), ZERO)
            _add_margin(sides, position, left, view)
    for position in view.external.positions.values():
        _add_margin(sides, position, abs(position.quantity), view)
    return sum((max(margins) for margins in sides.values()), ZERO)


def _add_margin(sides: dict[Symbol, list[Decimal]], position: Position, quantity: Decimal, view: AccountView) -> None:
    if quantity <= ZERO:
        return
    margins = sides.setdefault(position.symbol, [ZERO, ZERO])
    margins[position.quantity > ZERO] += (
        quantity * price_of(view, position) * position.contract_size / position.leverage
    )


@dataclass(slots=True)
class _Result:
    view: AccountView
    denials: list[Denial] = field(default_factory=list)

    def quantity(self, wish: Candidate, size_usd: Decimal) -> tuple[Decimal, Decimal, bool]:
        """Return the quantity and notional of a size, and whether the venue takes it."""
        instrument = self.view.instruments[wish.symbol]
        mark = self.view.marks[wish.symbol].price
        quantity = quantity_for(size_usd, mark, instrument)
        notional = quantity * mark * instrument.contract_size
        return quantity, notional, quantity > ZERO and notional >= instrument.min_notional

    def sized(self, wish: Candidate, before: Candidate | None = None) -> SizedEntry | None:
        """Floor a wish to the lot; deny it below the minimum, where `before` is the wish that capital cut."""
        quantity, notional, sendable = self.quantity(wish, wish.size_usd)
        if sendable:
            return SizedEntry(candidate=wish, quantity=quantity, notional=notional, margin=notional / wish.leverage)
        minimum = self.view.instruments[wish.symbol].min_notional
        code = "BELOW_MIN_NOTIONAL" if before is None else "INSUFFICIENT_MARGIN"
        asked = wish if before is None else before
        self.denials.append(
            Denial(
                intent_id=wish.intent.intent_id,
                trader_id=wish.trader_id,
                symbol=wish.symbol,
                code=code,
                detail=f"{_usd(notional)} USD is below the venue's minimum of {minimum} USD",
                numbers={
                    "size_usd": str(asked.size_usd),
                    "notional": str(notional),
                    "min_notional": str(minimum),
                },
            )
        )
        return None

    def cut(self, wishes: Sequence[Candidate], sizes: Sequence[Decimal], why: str) -> Sizing:
        """Return the sizing when capital is short, with a clamp for each cut and a conflict for each symbol."""
        entries: list[SizedEntry] = []
        clamps: list[Clamp] = []
        short: set[Symbol] = set()
        words: dict[Symbol, list[str]] = defaultdict(list)
        for wish, size in zip(wishes, sizes, strict=True):
            if size == wish.size_usd:
                entry = self.sized(wish)
            else:
                short.add(wish.symbol)
                entry = self.sized(replace(wish, size_usd=size), before=wish)
            words[wish.symbol].append(_word(wish, entry))
            if entry is None:
                continue
            entries.append(entry)
            if size != wish.size_usd:
                clamps.append(_clamp(wish, size))
        conflicts = [_conflict(symbol, wishes, words, why) for symbol in sorted(short)]
        return Sizing(
            entries=tuple(entries), denials=tuple(self.denials), clamps=tuple(clamps), conflicts=tuple(conflicts)
        )


def _in_order(wishes: Sequence[Candidate], free: Decimal, result: _Result) -> list[Decimal]:
    """Spend the margin in order; what ends below the venue's minimum spends nothing."""
    sizes = []
    left = Fraction(max(free, ZERO))
    for wish in wishes:
        size = min(wish.size_usd, _floored(left * wish.leverage))
        sizes.append(size)
        if result.quantity(wish, size)[2]:
            left -= Fraction(size) / wish.leverage
    return sizes


def _scaled(wishes: Sequence[Candidate], free: Decimal) -> list[Decimal]:
    """Scale every wish by available / needed, in one pass."""
    needed = sum(Fraction(wish.size_usd) / wish.leverage for wish in wishes)
    share = min(Fraction(max(free, ZERO)) / needed, Fraction(1))
    return [min(wish.size_usd, _floored(Fraction(wish.size_usd) * share)) for wish in wishes]


def _floored(amount: Fraction) -> Decimal:
    return Decimal(amount.numerator * 10**_SIZE_DIGITS // amount.denominator).scaleb(-_SIZE_DIGITS)


def _clamp(wish: Candidate, size: Decimal) -> Clamp:
    return Clamp(
        intent_id=wish.intent.intent_id,
        trader_id=wish.trader_id,
        symbol=wish.symbol,
        code="INSUFFICIENT_MARGIN",
        before=wish.size_usd,
        after=size,
    )


def _conflict(symbol: Symbol, wishes: Sequence[Candidate], words: Mapping[Symbol, Sequence[str]], why: str) -> Conflict:
    involved: dict[str, Decimal | None] = {}
    for wish in wishes:
        if wish.symbol == symbol:
            involved.setdefault(wish.trader_id, wish.confidence)
    return Conflict(
        type="resource",
        symbol=symbol,
        traders=tuple(involved),
        confidences=tuple(involved.values()),
        severity="medium",
        outcome=f"{why}; {'; '.join(words[symbol])}",
    )


def _word(wish: Candidate, entry: SizedEntry | None) -> str:
    if entry is None:
        return f"denied {wish.trader_id}"
    if entry.candidate.size_usd == wish.size_usd:
        return f"kept {wish.trader_id} {_usd(wish.size_usd)} USD"
    return f"cut {wish.trader_id} from {_usd(wish.size_usd)} to {_usd(entry.candidate.size_usd)} USD"


def _usd(amount: Decimal) -> str:
    return f"{amount:.2f}"
