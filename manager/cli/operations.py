"""`propdesk operations`: what the desk did, newest first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

import typer

from exchanges.clock import SystemClock
from manager.cli.connect import DeskOptions
from manager.cli.guard import Refused
from manager.cli.options import check_span, moment, taking
from manager.cli.render import instant, price, print_json, show_table, usd
from manager.state.records import AccountId
from manager.views.operations import Operation, OperationKind, OperationQuery, read_operations
from traders.spec import TraderId

_SHORT_ID: Final = 8
_COLUMNS: Final = (
    "at (UTC)", "id?", "traders", "symbol", "what", "quantity>?", "filled>?", "price>", "fee>?", "outcome", "kind?", "",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsOptions(DeskOptions):
    """Hold what `propdesk operations` is given."""

    account: Annotated[str, typer.Option("--account", metavar="NAME", help="Only of this account.")] = ""
    trader: Annotated[str, typer.Option("--trader", metavar="ID", help="Only where this trader takes part.")] = ""
    kind: Annotated[
        list[OperationKind] | None,
        typer.Option("--kind", help="Only of this kind; several times for several. `decision` lists sound ones too."),
    ] = None
    symbol: Annotated[
        str, typer.Option("--symbol", metavar="SYMBOL", help="Only of this symbol; decisions and events are of none.")
    ] = ""
    since: Annotated[datetime | None, moment("--since", "Only from then on:")] = None
    until: Annotated[datetime | None, moment("--until", "Only until then:")] = None
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many, the newest.")] = 50
    full: Annotated[bool, typer.Option("--full", help="Ids in full; `propdesk why` takes short ones too.")] = False

    def query(self) -> OperationQuery:
        """Return what is asked; raise Refused for what contradicts itself."""
        check_span(self.since, self.until)
        bare = [kind for kind in self.kind or () if kind in (OperationKind.DECISION, OperationKind.EVENT)]
        if self.symbol and bare:
            raise Refused(f"--symbol narrows what has a symbol; leave out --kind {bare[0]}")
        return OperationQuery(
            account_id=AccountId(self.account),
            trader_id=TraderId(self.trader),
            kinds=tuple(self.kind) if self.kind else tuple(OperationKind),
            sound_decisions=OperationKind.DECISION in (self.kind or ()),
            symbol=self.symbol,
            since=self.since,
            until=self.until,
            limit=self.limit,
        )


@taking(OperationsOptions)
def operations(options: OperationsOptions) -> None:
    """List orders, denials, conflicts, failed decisions, incidents and acts of operators, newest first.

    The price of an order is the average of its fills, that of one that waits for a trigger stands in brackets. Under a
    row stands what else is known of it.
    """
    query = options.query()
    found = options.on_store(lambda store: read_operations(store, options.owner, query)).operations
    if options.as_json:
        print_json({"tenant": options.tenant, "operations": found})
        return
    now = SystemClock().now()
    today = all(one.at.date() == now.date() for one in found)
    length = None if options.full else _short_length([one.ref for one in found if one.kind is OperationKind.ORDER])
    title = f"Operations of {now:%Y-%m-%d}" if today and found else "Operations"
    show_table(title, _COLUMNS, [_cells(one, length, today=today) for one in found])


def _short_length(ids: Sequence[str]) -> int:
    """Return how much of each id tells it from the others."""
    longest = max(map(len, ids), default=_SHORT_ID)
    return next((n for n in range(_SHORT_ID, longest) if len({one[:n] for one in ids}) == len(set(ids))), longest)


def _tail(ref: str) -> str:
    """Return the end of an event's or an incident's id that is long enough to tell it from others of its time."""
    parts = ref.split("/")
    ends = ("/".join(parts[n:]) for n in range(len(parts) - 1, -1, -1))
    return next((end for end in ends if len(end) >= _SHORT_ID), ref)


def shown_id(one: Operation, length: int | None) -> str:
    """Return as much of an id as tells it from others, `length` characters of an order's; all of it without one."""
    if length is None:
        return one.ref
    if one.kind is OperationKind.ORDER:
        return one.ref[:length]
    return _tail(one.ref) if one.kind in (OperationKind.EVENT, OperationKind.INCIDENT) else one.ref


def _cells(one: Operation, length: int | None, *, today: bool) -> list[str]:
    is_order = one.kind is OperationKind.ORDER
    resting = is_order and one.average_price is None and one.trigger_price is not None
    paid = f"({price(one.trigger_price)})" if resting else price(one.average_price)
    return [
        f"{one.at:%H:%M:%S}" if today else instant(one.at),
        shown_id(one, length),
        ", ".join(one.traders),
        one.symbol,
        one.what,
        *((price(one.quantity), price(one.filled), paid) if is_order else ("", "", "")),
        "" if one.fee is None else usd(one.fee),
        one.outcome,
        "" if is_order else one.kind,
        one.detail,
    ]
