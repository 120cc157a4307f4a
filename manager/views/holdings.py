"""What is held and what it has made: positions, and the money of a trader, an account or a desk.

Everything is at the marks of the last sample, so that what is shown together adds up:
equity = start capital + capital moved since + PnL.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from exchanges.types import ZERO
from manager.state.records import UNALLOCATED, BookRow, PositionRow, SampledMark
from traders.spec import TraderId

_HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionStatus:
    """Hold one position; `mark` is that of the account's last sample of equity, its candle or tick of `marked_at`.

    `quantity` is signed, `notional` and `margin` are at the mark, or at the entry price where no mark is known.
    `stop_distance_pct` is how far the stop is from the mark, in percent of the mark, negative once it is passed.
    """

    trader_id: TraderId
    symbol: str
    side: str
    quantity: Decimal
    entry_price: Decimal
    leverage: int
    notional: Decimal
    margin: Decimal
    mark: Decimal | None
    marked_at: datetime | None
    unrealized_pnl: Decimal | None
    opened_at: datetime
    stop_loss: Decimal | None
    stop_distance_pct: Decimal | None
    take_profit: Decimal | None
    unprotected_since: datetime | None

    @classmethod
    def of(cls, row: PositionRow, mark: SampledMark | None) -> "PositionStatus":
        """Return the view of a position at the mark of its symbol."""
        units, direction = row.quantity * row.contract_size, 1 if row.quantity > 0 else -1
        notional = abs(row.cost if mark is None else units * mark.price)
        away = None if mark is None or row.stop_loss is None else direction * (mark.price - row.stop_loss) / mark.price
        return cls(
            trader_id=row.trader_id,
            symbol=row.symbol,
            side="long" if direction > 0 else "short",
            quantity=row.quantity,
            entry_price=row.cost / units,
            leverage=row.leverage,
            notional=notional,
            margin=notional / row.leverage,
            mark=None if mark is None else mark.price,
            marked_at=None if mark is None else mark.at,
            unrealized_pnl=None if mark is None else units * mark.price - row.cost,
            opened_at=row.opened_at,
            stop_loss=row.stop_loss,
            stop_distance_pct=None if away is None else away * _HUNDRED,
            take_profit=row.take_profit,
            unprotected_since=row.unprotected_since,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sum up an account or a desk in USD: `equity` = `start_usd` + `moved_usd` + `pnl_usd`.

    `moved_usd` is what came in less what went out since the start, `pnl_pct` is of the capital that is in, None without
    any, and `margin_pct` of the equity. Positions without a mark count at their entry price.
    """

    equity: Decimal = ZERO
    start_usd: Decimal = ZERO
    moved_usd: Decimal = ZERO
    pnl_usd: Decimal = ZERO
    pnl_pct: Decimal | None = None
    margin_usd: Decimal = ZERO
    margin_pct: Decimal | None = None
    open_positions: int = 0
    traders: int = 0
    running: int = 0

    @classmethod
    def of(cls, parts: "Iterable[Totals]") -> "Totals":
        """Return the sum of several."""
        known = list(parts)

        def whole(name: str) -> Decimal:
            return sum((getattr(one, name) for one in known), ZERO)

        return cls(
            equity=whole("equity"),
            start_usd=whole("start_usd"),
            moved_usd=whole("moved_usd"),
            pnl_usd=whole("pnl_usd"),
            pnl_pct=_share(whole("pnl_usd"), whole("start_usd") + whole("moved_usd")),
            margin_usd=whole("margin_usd"),
            margin_pct=_share(whole("margin_usd"), whole("equity")),
            open_positions=sum(one.open_positions for one in known),
            traders=sum(one.traders for one in known),
            running=sum(one.running for one in known),
        )


def start_of(book: BookRow) -> Decimal:
    """Return the first capital that came to a book; what came or went since has been moved."""
    return book.started_usd


class Holdings:
    """Value the books of one account at the marks of its last sample."""

    def __init__(
        self, books: Sequence[BookRow], positions: Sequence[PositionRow], marks: Mapping[str, SampledMark]
    ) -> None:
        self._books = books
        self._marks = marks
        self._held: dict[TraderId, list[PositionRow]] = {}
        for row in positions:
            self._held.setdefault(row.trader_id, []).append(row)

    def equity(self, book: BookRow) -> Decimal | None:
        """Return what a book is worth, None while a position of it has no mark."""
        held = self._held.get(book.trader_id, ())
        if any(row.symbol not in self._marks for row in held):
            return None
        return book.cash + sum((self._unrealized(row) for row in held), ZERO)

    def totals(self, *, traders: int, running: int) -> Totals:
        """Return the sums of all books, those of no trader too; money comes to an account by UNALLOCATED."""
        rows = [row for held in self._held.values() for row in held]
        start = next((start_of(book) for book in self._books if book.trader_id == UNALLOCATED), ZERO)
        capital = sum((book.capital for book in self._books), ZERO)
        equity = sum((book.cash for book in self._books), ZERO) + sum(map(self._unrealized, rows), ZERO)
        margin = sum((PositionStatus.of(row, self._marks.get(row.symbol)).margin for row in rows), ZERO)
        own = Totals(
            equity=equity,
            start_usd=start,
            moved_usd=capital - start,
            pnl_usd=equity - capital,
            margin_usd=margin,
            open_positions=sum(not row.dust for row in rows),
            traders=traders,
            running=running,
        )
        return Totals.of([own])

    def _unrealized(self, row: PositionRow) -> Decimal:
        mark = self._marks.get(row.symbol)
        return ZERO if mark is None else row.position.unrealized(mark.price)


def _share(part: Decimal, whole: Decimal) -> Decimal | None:
    return part / whole * _HUNDRED if whole > 0 else None
