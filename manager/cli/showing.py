"""`propdesk traders show`: one trader whole, on one screen."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Final

import typer

from exchanges.clock import SystemClock
from executor.prompts.values import duration
from manager.cli.connect import DeskOptions
from manager.cli.options import taking
from manager.cli.performance import show_trader
from manager.cli.render import instant, percent, price, print_json, say, show_table, usd
from manager.cli.status import decided_text
from manager.cli.trades import signed
from manager.state.records import TraderState
from manager.state.store import Store
from manager.views.holdings import PositionStatus
from manager.views.trader import LimitUse, OpenOrder, TraderPage, TraderQuery, read_trader
from traders.spec import TraderId

_LIMIT_COLUMNS: Final = ("limit", "is>", "used>", "of it>", "note")
_POSITION_COLUMNS: Final = (
    "symbol", "side", "quantity>", "notional>", "unrealized>", "entry>", "mark>", "stop>", "take profit>", "leverage>",
    "note",
)  # fmt: skip
_ORDER_COLUMNS: Final = ("symbol", "purpose", "side", "quantity>", "trigger>", "state", "sent (UTC)", "order")
_DECISION_COLUMNS: Final = ("decided (UTC)", "what", "decision")
_VERDICT_COLUMNS: Final = ("at (UTC)", "code", "symbol", "kind", "detail")
_LABEL: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowOptions(DeskOptions):
    """Hold which trader to show."""

    trader: Annotated[str, typer.Argument(metavar="TRADER", help="The trader's id.")]


@taking(ShowOptions)
def show(options: ShowOptions) -> None:
    """Show one trader: definition, state and why, limits and how near it is to them, what it did, and how it does."""

    async def read(store: Store) -> TraderPage:
        query = TraderQuery(now=SystemClock().now(), trader_id=TraderId(options.trader))
        return await read_trader(store, options.owner, query)

    page = options.on_store(read)
    if options.as_json:
        print_json({"tenant": options.tenant, "trader": page})
    else:
        show_page(page)


def show_page(page: TraderPage) -> None:
    """Print a trader."""
    show_trader(page.performance, page.ranked)
    _show_definition(page)
    show_table("Limits", _LIMIT_COLUMNS, [_limit_cells(one) for one in page.limits])
    show_table("Positions", _POSITION_COLUMNS, [_position_cells(one) for one in page.positions])
    show_table("Open orders", _ORDER_COLUMNS, [_order_cells(one) for one in page.orders])
    decided = [[instant(one.at), decided_text(one), one.decision_id] for one in page.decisions]
    show_table("Last decisions", _DECISION_COLUMNS, decided)
    verdicts = [[instant(one.at), one.code, one.symbol, one.kind, one.detail] for one in page.verdicts]
    show_table("Last verdicts", _VERDICT_COLUMNS, verdicts)


def _show_definition(page: TraderPage) -> None:
    why = f"{page.code}: {page.reason}" if page.code and page.state == TraderState.ISOLATED else page.reason
    _tell("state", f"{page.state}, {why}" if why and page.state != TraderState.RUNNING else page.state)
    for one in page.limited_by:
        _tell("", f"no entries: {one}, {one.why}")
    _tell("decides", f"{page.executor}, every {duration(page.decision_interval_s)}")
    deciding = f"deciding since {instant(page.deciding_since)} UTC" if page.deciding_since else ""
    _tell("next decision", deciding or f"{instant(page.next_decision_at)}{' UTC' if page.next_decision_at else ''}")
    _tell("symbols", ", ".join(page.symbols))
    share = f", allocation_pct {page.allocation_pct:f}" if page.allocation_pct else ""
    _tell("allocated", f"{usd(page.allocated)} USD{share}")
    by = f", by {page.author}" if page.author else ""
    _tell("defined", f"{page.managed_by}{by}, {instant(page.created_at)}, changed {instant(page.updated_at)} UTC")
    if page.description:
        _tell("description", page.description)


def _tell(label: str, text: str) -> None:
    say(f"  {label:<{_LABEL}}{text}")


def _plain(value: Decimal | None) -> str:
    return "-" if value is None else f"{round(value, 2).normalize():f}"


def _limit_cells(one: LimitUse) -> list[str]:
    note = "" if one.until is None else f"no entries until {instant(one.until)} UTC"
    return [one.name, one.limit, _plain(one.used), percent(one.used_pct), note]


def _position_cells(one: PositionStatus) -> list[str]:
    bare = one.unprotected_since
    return [
        *(one.symbol, "long" if one.quantity > 0 else "short", price(abs(one.quantity))),
        *(usd(one.margin * one.leverage), signed(one.unrealized_pnl), price(one.entry_price), price(one.mark)),
        *(price(one.stop_loss), price(one.take_profit), str(one.leverage)),
        f"no stop since {instant(bare)} UTC" if bare else "",
    ]


def _order_cells(one: OpenOrder) -> list[str]:
    return [
        *(one.symbol, one.purpose, one.side, price(one.quantity), price(one.trigger_price), one.state),
        *(instant(one.created_at), one.order_id),
    ]
