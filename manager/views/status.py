"""How a desk is: its accounts with their light, equity, traders, positions and incidents."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from executor.contract import ItemError
from executor.spec import ExecutorType
from manager.desk.plan.operator_closes import operator_of
from manager.errors import UnknownAccount, UnknownTrader
from manager.state import records
from manager.state.acts import FlattenRow
from manager.state.kinds import EventKind, TradingState
from manager.state.records import AccountId, AccountRow, BookRow, TenantId, TraderRow, TraderState
from manager.state.spending import TRADER, BudgetRow, SpendingRow, day_of
from manager.state.store import Search, Store
from manager.state.switches import Switched, Switches, limiting, of_trader
from manager.views.costs import ModelCost
from manager.views.flattens import open_flattens, told_flatten
from manager.views.holdings import Holdings, PositionStatus, Totals, start_of
from manager.views.incidents import Incident, current, current_searches
from manager.views.lights import DESK, Condition, Light, LightCase, condition_of, light_of
from manager.views.pages import cursor_of, parts_of
from traders import performance
from traders.spec import TraderId

_VERDICTS_EACH: Final = 3
_ASKING: Final = (ExecutorType.LLM, ExecutorType.REMOTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastDecision:
    """Hold a trader's newest decision: actions as `open_long BTC/USDT:USDT`; `invalid` items could not be read.

    `operator` is who asked for it in the trader's place, empty for the trader's own.
    """

    decision_id: records.DecisionId
    at: datetime
    outcome: str
    actions: tuple[str, ...]
    errors: tuple[str, ...]
    invalid: int
    operator: str = ""

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
            operator=operator_of(row.model),
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
    """Hold one trader; money in USD: `equity` = `start_usd` + `moved_usd` + `pnl_usd`, None without a mark.

    `moved_usd` is the capital that came in less what went out since the start; `pnl_pct` is of its equity curve up to
    that equity, without flows, None before the first sample. `condition` is its state, but for one that runs and may
    open nothing. `models_today` is None for a trader that asks no model. One that is not `watched` has no worker:
    whatever its state, nobody decides for it or looks after its stops. Both times are None for one that nobody lets
    decide; while it is deciding, `next_decision_at` is the one after.
    """

    id: str
    name: str
    state: str
    condition: Condition
    reason: str
    watched: bool
    allocated: Decimal
    equity: Decimal | None
    start_usd: Decimal
    moved_usd: Decimal
    pnl_usd: Decimal | None
    pnl_pct: float | None
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
    limited_by: tuple[Switched, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStatus:
    """Hold one account with its traders and positions; money in USD, `incidents` open or of the last hour.

    `totals` are of all its books, whatever is on this page. `limited_by` are the service, the tenant and the account
    where they stop entries, the strictest first; `trading_state` is that of the first, `switched_by` who did it: an
    operator, or "desk" for the desk itself, empty while entries are on. `utilization` is None until the account's
    equity was sampled first.
    """

    id: str
    venue: str
    light: Light
    reasons: tuple[str, ...]
    trading_state: str
    switched_by: str
    equity: Decimal
    totals: Totals
    unallocated: Decimal
    utilization: records.UtilizationReport | None
    sampled_at: datetime | None
    traders: tuple[TraderStatus, ...]
    positions: tuple[PositionStatus, ...]
    incidents: tuple[Incident, ...]
    limited_by: tuple[Switched, ...] = ()


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
    first page. `incidents` are open ones of the desk as a whole, such as that it is overloaded, `totals` those of the
    accounts that are shown.
    """

    accounts: tuple[AccountStatus, ...]
    next: str
    totals: Totals
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
    spending: Sequence[SpendingRow] = ()
    switches: Sequence[records.EventRow] = ()


class _Entry(NamedTuple):
    account: AccountRow
    trader: TraderRow | None


class _Member(NamedTuple):
    row: TraderRow
    book: BookRow
    schedule: records.ScheduleRow | None
    equity: Decimal | None
    limited_by: tuple[Switched, ...]


async def read_status(store: Store, tenant: TenantId, query: StatusQuery) -> StatusPage:
    """Return the accounts of a tenant, read in three statements, however many there are.

    Raises UnknownAccount, UnknownTrader or UnknownCursor.
    """
    async with store.transaction(tenant) as tx:
        desk = _Desk(query, _Rows(*await tx.search(*_of_accounts(query))), await tx.switches())
        entries, following = desk.page()
        newest = _Newest(*await tx.search(*_newest(entries, query.now))) if entries else _Newest()
    accounts = desk.accounts(entries, newest)
    totals = Totals.of(account.totals for account in accounts)
    return StatusPage(accounts=accounts, next=following, totals=totals, incidents=desk.incidents)


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


def _newest(entries: Sequence[_Entry], now: datetime) -> tuple[Search, ...]:
    names = tuple(one.trader.trader_id for one in entries if one.trader is not None)
    switched = {one.account.account_id for one in entries if one.account.trading_state is not TradingState.ACTIVE}
    mine: dict[str, Any] = {"where": {"trader_id": names}, "each": ("trader_id",)}
    bulky = ("context", "reply", "reasoning", "prompt_cuts")
    acts = {"account_id": tuple(sorted(switched)), "trader_id": TraderId(""), "kind": EventKind.TRADING_STATE}
    return (
        Search(kind=records.DecisionRow, newest_first="decided_at", limit=1, omit=bulky, **mine),
        Search(kind=records.VerdictRow, newest_first="at", limit=_VERDICTS_EACH, **mine),
        Search(kind=SpendingRow, where={"day": day_of(now), "scope": TRADER, "name": names}),
        Search(kind=records.EventRow, where=acts, newest_first="at", limit=1, each=("account_id",)),
    )


class _Desk:
    """Put together what was read of accounts and traders."""

    def __init__(self, query: StatusQuery, rows: _Rows, switches: Switches) -> None:
        self._query = query
        self._switches = switches
        self._accounts = rows.accounts
        self._of_desk = rows.of_desk
        self._traders = _grouped(sorted(rows.traders, key=lambda row: (row.seq, row.trader_id)), "account_id")
        self._positions = _grouped(rows.positions, "account_id")
        self._standing = _grouped(rows.standing, "account_id")
        self._ended = _grouped(rows.ended, "account_id")
        self._books = _grouped(rows.books, "account_id")
        self._flattens = _grouped(rows.flattens, "account_id")
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
        books = {book.trader_id: book for book in self._books.get(account_id, [])}
        incidents = current(self._standing.get(account_id, []), self._ended.get(account_id, []), self._query.now)
        members = self._traders.get(account_id, [])
        case = LightCase(
            account=row,
            traders=members,
            incidents=incidents,
            switched_by=traders.switched_by(row),
            under_way=[*map(told_flatten, self._flattens.get(account_id, ()))],
            worker_alive=self._query.worker_alive,
            now=self._query.now,
            switches=self._switches,
        )
        limited_by = case.limited_by
        light, reasons = light_of(case)
        holdings = Holdings([*books.values()], self._positions.get(account_id, []), row.marks)
        running = sum(one.state is TraderState.RUNNING for one in members)
        totals = holdings.totals(traders=len(members), running=running)
        empty = BookRow(tenant_id=row.tenant_id, account_id=account_id, trader_id=records.UNALLOCATED)
        return AccountStatus(
            id=account_id,
            venue=row.venue,
            light=light,
            reasons=reasons,
            trading_state=limited_by[0].state if limited_by else TradingState.ACTIVE,
            switched_by=case.actor_of(limited_by[0].scope) if limited_by else "",
            limited_by=limited_by,
            equity=totals.equity,
            totals=totals,
            unallocated=books.get(records.UNALLOCATED, empty).cash,
            utilization=row.utilization,
            sampled_at=row.updated_at,
            traders=tuple(
                traders.status(
                    _Member(
                        row=one,
                        book=books.get(one.trader_id, empty),
                        schedule=self._schedules.get(one.trader_id),
                        equity=holdings.equity(books.get(one.trader_id, empty)),
                        limited_by=limiting((*limited_by, of_trader(one))),
                    )
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


class _Traders:
    """Show traders with the newest of what they did."""

    def __init__(self, query: StatusQuery, newest: _Newest, default_usd: Decimal | None) -> None:
        self._query = query
        self._default_usd = default_usd
        self._decisions = {row.trader_id: row for row in newest.decisions}
        self._verdicts = _grouped(newest.verdicts, "trader_id")
        self._spending = {row.name: row for row in newest.spending}
        self._switches = {row.account_id: row for row in newest.switches}

    def switched_by(self, account: AccountRow) -> str:
        """Return who turned an account's entries off; only an operator's act is always an event."""
        if account.trading_state is TradingState.ACTIVE:
            return ""
        act = self._switches.get(account.account_id)
        told = act is not None and (act.after, act.reason) == (account.trading_state, account.state_reason)
        return act.actor if act is not None and told else DESK

    def status(self, member: "_Member") -> TraderStatus:
        """Return the view of a trader."""
        row, book, schedule, equity = member.row, member.book, member.schedule, member.equity
        last, watched, start = self._decisions.get(row.trader_id), self._query.worker_alive, start_of(book)
        sampled = book.performance.sampled_at is not None
        acting = schedule if watched and row.is_asked(holds=book.open_positions > 0) else None
        return TraderStatus(
            id=row.trader_id,
            name=row.spec.name,
            state=row.state,
            condition=condition_of(row, member.limited_by, schedule),
            limited_by=limiting([of_trader(row)]),
            reason=row.state_reason,
            code=row.state_code,
            watched=watched,
            allocated=book.allocated,
            equity=equity,
            start_usd=start,
            moved_usd=book.capital - start,
            pnl_usd=None if equity is None else equity - book.capital,
            pnl_pct=(performance.shown(book.performance, equity).nav - 1.0) * 100 if sampled else None,
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


def _grouped(rows: Iterable[Any], by: str) -> Mapping[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for row in rows:
        groups.setdefault(getattr(row, by), []).append(row)
    return groups


def _place(entry: _Entry) -> tuple[str, int, str]:
    account, trader = entry
    return (account.account_id, trader.seq, trader.trader_id) if trader is not None else (account.account_id, 0, "")
