"""Remember which news of a venue is booked, so that looking back at it again costs no statement."""

from collections.abc import Iterable

from exchanges.types import CashMovement, Fill, FundingPayment

News = Fill | FundingPayment | CashMovement
_MOST = 20_000


def name_of(item: News) -> tuple[str, str]:
    """Return what an item of news is known by; each kind has ids of its own."""
    match item:
        case Fill():
            return "fill", item.trade_id
        case FundingPayment():
            return "funding", item.key
        case CashMovement():
            return "cash", item.movement_id


class SeenNews:
    """Hold what the database said is booked; what it has it keeps, so this never has to be taken back."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], None] = {}

    def has(self, item: News) -> bool:
        """Tell whether an item is known to be booked."""
        return name_of(item) in self._names

    def note(self, items: Iterable[News]) -> None:
        """Take in items that are booked; of too many the first are forgotten and asked for again."""
        self._names.update(dict.fromkeys(map(name_of, items)))
        while len(self._names) > _MOST:
            del self._names[next(iter(self._names))]
