"""Give the kept entries their size: margin is dealt in the resolver's order or scaled (docs/rules.md 4), then floored.

What does not fit is cut to what is left and denied below the venue's minimum; nothing is redistributed.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from exchanges.precision import quantity_for
from exchanges.types import ZERO, Symbol
from manager.desk.plan.conflict_resolver import strategy_of
from manager.desk.plan.outcomes import Candidate, Clamp, Conflict, Denial, Reduce, SizedEntry, Sizing
from manager.desk.plan.values import AccountView
from manager.state.records import PositionKey


def allocate(view: AccountView, kept: Sequence[Candidate], reduces: Sequence[Reduce]) -> Sizing:
    """Return the entries with their quantities; their margins never add up to more than the free margin.

    `kept` comes in the resolver's order. Too small an entry is BELOW_MIN_NOTIONAL, one that capital made too small is
    INSUFFICIENT_MARGIN; each symbol on which capital was short is one resource conflict.
    """
    if not kept:
        return Sizing()
    sizer = Sizer(view)
    viable = [(entry, sized) for entry in kept if (sized := sizer.size(entry)) is not None]
    needed = sum((entry.size_usd / entry.leverage for entry, _ in viable), ZERO)
    free = free_margin(view, reduces)
    if needed <= free or not viable:
        return Sizing(entries=tuple(sized for _, sized in viable), denials=tuple(sizer.denials))
    entries = [entry for entry, _ in viable]
    sizes = strategy_of(view.rules.conflict_strategy).deal(entries, free, sizer.takes)
    return sizer.cut(entries, sizes, f"{_usd(max(free, ZERO))} USD of {_usd(needed)} USD margin free")


def free_margin(view: AccountView, reduces: Iterable[Reduce]) -> Decimal:
    """Return the account's equity less margin in use and less the margin reserved for unknown entries, in USD."""
    reserved = sum((reservation.margin for reservation in view.reservations), ZERO)
    return view.equity - margin_in_use(view, reduces) - reserved


def margin_in_use(view: AccountView, reduces: Iterable[Reduce] = ()) -> Decimal:
    """Return the sum over symbols of the larger side's margin, books after `reduces` and EXTERNAL (docs/rules.md 5).

    A symbol without a mark counts at its entry price.
    """
    taken: dict[PositionKey, Decimal] = defaultdict(Decimal)
    for reduce in reduces:
        taken[reduce.key] += reduce.quantity
    held = [
        (position, abs(position.quantity) - taken.get(PositionKey(trader_id, symbol), ZERO))
        for trader_id, trader in view.traders.items()
        for symbol, position in trader.book.positions.items()
    ]
    held += [(position, abs(position.quantity)) for position in view.external.positions.values()]
    sides: dict[Symbol, list[Decimal]] = {}
    for position, left in held:
        if left > ZERO:
            margins = sides.setdefault(position.symbol, [ZERO, ZERO])
            worth = left * view.price_of(position) * position.contract_size
            margins[position.quantity > ZERO] += worth / position.leverage
    return sum((max(margins) for margins in sides.values()), ZERO)


class Sizer:
    """Turn sizes in USD into whole lots at the marks, and deny what the venue would not take."""

    def __init__(self, view: AccountView) -> None:
        self.denials: list[Denial] = []
        self._view = view

    def takes(self, entry: Candidate, size_usd: Decimal) -> bool:
        """Tell whether the venue takes an entry of this size."""
        quantity, notional = self._quantity(entry, size_usd)
        return quantity > ZERO and notional >= self._view.instruments[entry.symbol].min_notional

    def size(self, entry: Candidate, before: Candidate | None = None) -> SizedEntry | None:
        """Floor an entry to the lot; deny it below the minimum, where `before` is the entry that capital cut."""
        quantity, notional = self._quantity(entry, entry.size_usd)
        minimum = self._view.instruments[entry.symbol].min_notional
        if quantity > ZERO and notional >= minimum:
            return SizedEntry(candidate=entry, quantity=quantity, notional=notional, margin=notional / entry.leverage)
        numbers = {"size_usd": (before or entry).size_usd, "notional": notional, "min_notional": minimum}
        code = "BELOW_MIN_NOTIONAL" if before is None else "INSUFFICIENT_MARGIN"
        detail = f"{_usd(notional)} USD is below the venue's minimum of {minimum} USD"
        self.denials.append(Denial.of(entry.intent, code, detail, **numbers))
        return None

    def cut(self, entries: Sequence[Candidate], sizes: Sequence[Decimal], why: str) -> Sizing:
        """Return the sizing when capital is short, with a clamp for each cut and a conflict for each symbol."""
        kept: list[SizedEntry] = []
        clamps: list[Clamp] = []
        short: set[Symbol] = set()
        words: dict[Symbol, list[str]] = defaultdict(list)
        for entry, size in zip(entries, sizes, strict=True):
            if size == entry.size_usd:
                sized = self.size(entry)
            else:
                short.add(entry.symbol)
                sized = self.size(replace(entry, size_usd=size), before=entry)
            words[entry.symbol].append(_outcome_word(entry, sized))
            if sized is None:
                continue
            kept.append(sized)
            if size != entry.size_usd:
                clamps.append(Clamp.of(entry.intent, "INSUFFICIENT_MARGIN", entry.size_usd, size))
        conflicts = tuple(
            Conflict.between(
                "resource", [e for e in entries if e.symbol == symbol], f"{why}; {'; '.join(words[symbol])}"
            )
            for symbol in sorted(short)
        )
        return Sizing(entries=tuple(kept), denials=tuple(self.denials), clamps=tuple(clamps), conflicts=conflicts)

    def _quantity(self, entry: Candidate, size_usd: Decimal) -> tuple[Decimal, Decimal]:
        """Return quantity and notional of a size."""
        instrument, mark = self._view.instruments[entry.symbol], self._view.marks[entry.symbol].price
        quantity = quantity_for(size_usd, mark, instrument)
        return quantity, quantity * mark * instrument.contract_size


def _outcome_word(entry: Candidate, sized: SizedEntry | None) -> str:
    if sized is None:
        return f"denied {entry.trader_id}"
    if sized.candidate.size_usd == entry.size_usd:
        return f"kept {entry.trader_id} {_usd(entry.size_usd)} USD"
    return f"cut {entry.trader_id} from {_usd(entry.size_usd)} to {_usd(sized.candidate.size_usd)} USD"


def _usd(amount: Decimal) -> str:
    return f"{amount:.2f}"
