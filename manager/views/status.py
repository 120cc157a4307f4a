"""How a desk is: its accounts with their light, equity, traders, positions and incidents."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, NamedTuple

from executor.contract import ItemError
from executor.registry import ExecutorType
from manager.errors import UnknownAccount, UnknownTrader
from manager.state import records
from manager.state.acts import FlattenRow
from manager.state.journal import EquityRow
from manager.state.records import AccountId, AccountRow, BookRow, TenantId, TraderRow, TraderState
from manager.state.spending import TRADER, BudgetRow, SpendingRow, day_of
from manager.state.store import Search, Store
from manager.views.costs import ModelCost
from manager.views.flattens import open_flattens, told_flatten
from manager.views.incidents import Incident, current, current_searches, red_reasons
from manager.views.pages import cursor_of, parts_of
from traders.spec import TraderId

SILENT: Final = timedelta(seconds=60)
_VERDICTS_EACH: Final = 3
_ASKING: Final = (ExecutorType.LLM, ExecutorType.REMOTE)


class Light(StrEnum):
    """Say in one word how an account is: STOPPED means that no worker runs or that none has sampled it for a minute."""

    RUNNING = "running"
    PAUSED = "paused"
    ERROR = "error"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class LastDecision:
    """Hold a trader's newest decision: actions as `open_long BTC/USDT:USDT`; `invalid` items could not be read."""

    decision_id: records.DecisionId
    at: datetime
    outcome: str
    actions: tuple[str, ...]
    errors: tuple[str, ...]
    invalid: int

    @classmethod
    def of(cls, row: records.DecisionRow) -> "LastDecision":
        """Return the view of a decision."""
        return cls(
            decision_id=row.decision_id,
            at=row.decided_at,
            outcome=row.outcome,
            actions=tuple(f"{one.action} {one.symbol}" for one in row.decisions),
            errors=tuple(f"{error.path}: {error.message}" for error in row.errors),
            invalid=invalid_items(row.errors),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Hold one verdict on what a trader wanted: a denial, a clamp, or a part of a reply that could not be read."""

    at: datetime
    kind: str
    code: str
    symbol: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TraderStatus:
    """Hold one trader; money in USD, `pnl_usd` is equity less capital, so flows do not count.

    `models_today` is None for a trader that asks no model. One that is not `watched` has no worker: whatever its
    state, nobody decides for it or looks after its stops. Both times are None for one that nobody lets decide;
    while it is deciding, `next_decision_at` is the one after.
    """

    id: str
    name: str
    state: str
    reason: str
    watched: bool
    allocated: Decimal
    equity: Decimal | None
    pnl_usd: Decimal | None
    realized_pnl: Decimal
    fees: Decimal
    funding: Decimal
    open_positions: int
    models_today: ModelCost | None
    next_decision_at: datetime | None
    deciding_since: datetime | None
    last_decision: LastDecision | None
    verdicts: tuple[Verdict, ...]
    description: str
    author: str
    created_at: datetime | None
    updated_at: datetime | None
    code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionStatus:
    """Hold one position; `mark` is that of the account's last sample of equity, its candle or tick of `marked_at`.

    `margin` is at the mark, or at the entry price where no mark is known.
    """

    trader_id: TraderId
    symbol: str
    quantity: Decimal
    entry_price: Decimal
    leverage: int
    margin: Decimal
    mark: Decimal | None
    marked_at: datetime | None
    unrealized_pnl: Decimal | None
    stop_loss: Decimal | None
    take_profit: Decimal | None
    unprotected_since: datetime | None

    @classmethod
    def of(cls, row: records.PositionRow, mark: records.SampledMark | None) -> "PositionStatus":
        """Return the view of a position at the mark of its symbol."""
        units = row.quantity * row.contract_size
        return cls(
            trader_id=row.trader_id,
            symbol=row.symbol,
            quantity=row.quantity,
            entry_price=row.cost / units,
            leverage=row.leverage,
            margin=abs(row.cost if mark is None else units * mark.price) / row.leverage,
            mark=None if mark is None else mark.price,
            marked_at=None if mark is None else mark.at,
            unrealized_pnl=None if mark is None else units * mark.price - row.cost,
            stop_loss=row.stop_loss,
            take_profit=row.take_profit,
            unprotected_since=row.unprotected_since,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStatus:
    """Hold one account with its traders and positions; money in USD, `incidents` open or of the last hour.

    `utilization` is None until the account's equity was sampled first.
    """

    id: str
    venue: str
    light: Light
    reasons: tuple[str, ...]
    trading_state: str
    equity: Decimal
    unallocated: Decimal
    utilization: records.UtilizationReport | None
    sampled_at: datetime | None
    traders: tuple[TraderStatus, ...]
    positions: tuple[PositionStatus, ...]
    incidents: tuple[Incident, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusQuery:
    """Say what is asked at which time; empty fields do not narrow, and `limit` counts traders.

    `worker_alive` tells whether a worker has given a sign of life.
    """

    now: datetime
    worker_alive: bool = True
    account_id: AccountId = AccountId("")
    trader_id: TraderId = TraderId("")
    limit: int | None = None
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPage:
    """Hold accounts, each whole but for the traders, with their positions, that follow on the next page.

    `next` is the cursor of that page, empty at the end. Positions of books without a trader are on their account's
    first page. `incidents` are open ones of the desk as a whole, such as that it is overloaded.
    """

    accounts: tuple[AccountStatus, ...]
    next: str
    incidents: tuple[Incident, ...] = ()


class _Rows(NamedTuple):
    accounts: Sequence[AccountRow]
    traders: Sequence[TraderRow]
    schedules: Sequence[records.ScheduleRow]
    books: Sequence[BookRow]
    positions: Sequence[records.PositionRow]
    standing: Sequence[records.IncidentRow]
    ended: Sequence[records.IncidentRow]
    of_desk: Sequence[records.IncidentRow]
    budgets: Sequence[BudgetRow]
    flattens: Sequence[FlattenRow]


class _Newest(NamedTuple):
    decisions: Sequence[records.DecisionRow] = ()
    verdicts: Sequence[records.VerdictRow] = ()
    samples: Sequence[EquityRow] = ()
    spending: Sequence[SpendingRow] = ()


class _Entry(NamedTuple):
    account: AccountRow
    trader: TraderRow | None


async def read_status(store: Store, tenant: TenantId, query: StatusQuery) -> StatusPage:
    """Return the accounts of a tenant, read in two statements, however many there are.

    Raises UnknownAccount, UnknownTrader or UnknownCursor.
    """
    async with store.transaction(tenant) as tx:
        desk = _Desk(query, _Rows(*await tx.search(*_of_accounts(query))))
        entries, following = desk.page()
        traders = [one.trader for one in entries if one.trader is not None]
        newest = _Newest(*await tx.search(*_of_traders(traders, query.now))) if traders else _Newest()
    return StatusPage(accounts=desk.accounts(entries, newest), next=following, incidents=desk.incidents)


def invalid_items(errors: Iterable[ItemError]) -> int:
    """Count the items of the reply that counts which are invalid, each once however much is wrong with it."""
    return len({error.path.partition(".")[0] for error in errors if error.path.startswith("decisions[")})


def _of_accounts(query: StatusQuery) -> tuple[Search, ...]:
    where = {"account_id": query.account_id} if query.account_id else {}
    kinds = (AccountRow, TraderRow, records.ScheduleRow, BookRow, records.PositionRow)
    of_desk = Search(kind=records.IncidentRow, where={"account_id": AccountId(""), "resolved_at": None})
    budgets = Search(kind=BudgetRow, where={"scope": TRADER})
    return (
        *(Search(kind=kind, where=where) for kind in kinds),
        *current_searches(where),
        of_desk,
        budgets,
        open_flattens(where),
    )


def _of_traders(traders: Sequence[TraderRow], now: datetime) -> tuple[Search, ...]:
    names = tuple(row.trader_id for row in traders)
    mine: dict[str, Any] = {"where": {"trader_id": names}, "each": ("trader_id",)}
    bulky = ("context", "reply", "reasoning", "prompt_cuts")
    return (
        Search(kind=records.DecisionRow, newest_first="decided_at", limit=1, omit=bulky, **mine),
        Search(kind=records.VerdictRow, newest_first="at", limit=_VERDICTS_EACH, **mine),
        Search(kind=EquityRow, newest_first="at", limit=1, **mine | {"each": ("account_id", "trader_id")}),
        Search(kind=SpendingRow, where={"day": day_of(now), "scope": TRADER, "name": names}),
    )


class _Desk:
    """Put together what was read of accounts and traders."""

    def __init__(self, query: StatusQuery, rows: _Rows) -> None:
        self._query = query
        self._accounts = rows.accounts
        self._of_desk = rows.of_desk
        self._traders = _grouped(sorted(rows.traders, key=lambda row: (row.seq, row.trader_id)), "account_id")
        self._positions = _grouped(rows.positions, "account_id")
        self._standing = _grouped(rows.standing, "account_id")
        self._ended = _grouped(rows.ended, "account_id")
        self._flattens = _grouped(rows.flattens, "account_id")
        self._books = {(row.account_id, row.trader_id): row for row in rows.books}
        self._schedules = {row.trader_id: row for row in rows.schedules}
        self._default_usd = next((row.usd for row in rows.budgets if not row.name), None)

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """Return what is open of the desk as a whole."""
        return tuple(map(Incident.of, self._of_desk))

    def page(self) -> tuple[list[_Entry], str]:
        """Return the traders of this page with their accounts, or accounts without any, and the next cursor."""
        query = self._query
        if query.account_id and not self._accounts:
            raise UnknownAccount(f"there is no account {query.account_id!r}; `propdesk status` names them")
        entries = [
            _Entry(account, trader)
            for account in self._accounts
            for trader in (self._traders.get(account.account_id) or [None])
            if not query.trader_id or (trader is not None and trader.trader_id == query.trader_id)
        ]
        if query.trader_id and not entries:
            raise UnknownTrader(f"there is no trader {query.trader_id!r}; `propdesk traders list` names them")
        past = parts_of(query.after, str, int, str) if query.after else ()
        rest = [one for one in entries if _place(one) > past]
        page = rest[: query.limit]
        return page, cursor_of(*_place(page[-1])) if len(rest) > len(page) else ""

    def accounts(self, entries: Sequence[_Entry], newest: _Newest) -> tuple[AccountStatus, ...]:
        """Return the accounts of a page."""
        traders = _Traders(self._query, newest, self._default_usd)
        shown: dict[AccountId, list[TraderRow]] = {}
        for one in entries:
            shown.setdefault(one.account.account_id, []).extend([one.trader] if one.trader else [])
        return tuple(
            self._account(row, shown[row.account_id], traders) for row in self._accounts if row.account_id in shown
        )

    def _account(self, row: AccountRow, shown: Sequence[TraderRow], traders: "_Traders") -> AccountStatus:
        account_id = row.account_id
        standing, ended = self._standing.get(account_id, []), self._ended.get(account_id, [])
        incidents = current(standing, ended, self._query.now)
        light, reasons = self._light(row, incidents)
        empty = BookRow(tenant_id=row.tenant_id, account_id=account_id, trader_id=records.UNALLOCATED)
        return AccountStatus(
            id=account_id,
            venue=row.venue,
            light=light,
            reasons=reasons,
            trading_state=row.trading_state,
            equity=row.equity,
            unallocated=self._books.get((account_id, records.UNALLOCATED), empty).cash,
            utilization=row.utilization,
            sampled_at=row.updated_at,
            traders=tuple(
                traders.status(
                    one,
                    row,
                    self._books.get((account_id, one.trader_id), empty),
                    self._schedules.get(one.trader_id),
                )
                for one in shown
            ),
            positions=self._held(row, shown),
            incidents=incidents,
        )

    def _held(self, account: AccountRow, shown: Sequence[TraderRow]) -> tuple[PositionStatus, ...]:
        known = self._traders.get(account.account_id, [])
        absent = {row.trader_id for row in known} - {row.trader_id for row in shown}
        whole = known[:1] == shown[:1] and not self._query.trader_id
        rows = sorted(self._positions.get(account.account_id, []), key=lambda row: (row.trader_id, row.symbol))
        mine = {row.trader_id for row in shown}
        return tuple(
            PositionStatus.of(row, account.marks.get(row.symbol))
            for row in rows
            if row.trader_id in mine or (whole and row.trader_id not in absent)
        )

    def _light(self, account: AccountRow, incidents: Sequence[Incident]) -> tuple[Light, tuple[str, ...]]:
        traders, now = self._traders.get(account.account_id, []), self._query.now
        wrong = red_reasons(incidents)
        in_error = (row.trader_id for row in traders if row.state is TraderState.ERROR)
        wrong += [f"{trader_id} is in error" for trader_id in sorted(in_error)]
        switched = account.trading_state is not records.TradingState.ACTIVE
        told = [*wrong, f"{account.trading_state}: {account.state_reason or 'no reason given'}"] if switched else wrong
        told = [*told, *map(told_flatten, self._flattens.get(account.account_id, ()))]
        if not self._query.worker_alive:
            return Light.STOPPED, ("no worker runs; stops are not watched", *told)
        if account.updated_at is None or now - account.updated_at > SILENT:
            since = "never" if account.updated_at is None else f"{account.updated_at:%Y-%m-%d %H:%M:%S} UTC"
            return Light.STOPPED, (f"no worker has sampled the account; last time: {since}", *told)
        if wrong:
            return Light.ERROR, tuple(told)
        if switched:
            return Light.PAUSED, tuple(told)
        if not any(row.state is TraderState.RUNNING for row in traders):
            return Light.PAUSED, ("no trader is running", *told)
        return Light.RUNNING, tuple(told)


class _Traders:
    """Show traders with the newest of what they did."""

    def __init__(self, query: StatusQuery, newest: _Newest, default_usd: Decimal | None) -> None:
        self._query = query
        self._default_usd = default_usd
        self._decisions = {row.trader_id: row for row in newest.decisions}
        self._verdicts = _grouped(newest.verdicts, "trader_id")
        self._samples = {row.trader_id: row for row in newest.samples}
        self._spending = {row.name: row for row in newest.spending}

    def status(
        self, row: TraderRow, account: AccountRow, book: BookRow, schedule: records.ScheduleRow | None
    ) -> TraderStatus:
        """Return the view of a trader."""
        last, equity = self._decisions.get(row.trader_id), self._equity(row.trader_id, book, account)
        watched = self._query.worker_alive
        acting = schedule if watched and row.is_asked(holds=book.open_positions > 0) else None
        return TraderStatus(
            id=row.trader_id,
            name=row.spec.name,
            state=row.state,
            reason=row.state_reason,
            code=row.state_code,
            watched=watched,
            allocated=book.allocated,
            equity=equity,
            pnl_usd=None if equity is None else equity - book.capital,
            realized_pnl=book.realized,
            fees=book.fees,
            funding=book.funding,
            open_positions=book.open_positions,
            models_today=self._cost(row) if row.spec.executor.type in _ASKING else None,
            next_decision_at=acting.next_due_at if acting else None,
            deciding_since=acting.claimed_at if acting and acting.in_flight_due_at else None,
            last_decision=None if last is None else LastDecision.of(last),
            verdicts=tuple(
                Verdict(at=one.at, kind=one.kind, code=one.code, symbol=one.symbol, detail=one.detail)
                for one in self._verdicts.get(row.trader_id, [])
            ),
            description=row.spec.description,
            author=row.spec.author,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )

    def _cost(self, row: TraderRow) -> ModelCost:
        nothing = SpendingRow(tenant_id=row.tenant_id, day=day_of(self._query.now), scope=TRADER, name=row.trader_id)
        own = row.spec.executor.budget_usd_per_day
        return ModelCost.of(self._spending.get(row.trader_id, nothing), self._default_usd if own is None else own)

    def _equity(self, trader_id: TraderId, book: BookRow, account: AccountRow) -> Decimal | None:
        """Return a flat book's cash, else its last sample, unless capital has moved since."""
        if not book.open_positions:
            return book.cash
        sample = self._samples.get(trader_id)
        if sample is None or (account.rebalanced_at is not None and sample.at < account.rebalanced_at):
            return None
        return sample.equity


def _grouped(rows: Iterable[Any], by: str) -> Mapping[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for row in rows:
        groups.setdefault(getattr(row, by), []).append(row)
    return groups


def _place(entry: _Entry) -> tuple[str, int, str]:
    account, trader = entry
    return (account.account_id, trader.seq, trader.trader_id) if trader is not None else (account.account_id, 0, "")
