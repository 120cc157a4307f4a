"""What a trader is shown when it decides: its book and denials, and, where a model decides, the desk's record of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from exchanges.types import ZERO, Instrument, Symbol
from executor.contract import ClosedTrade, Context, Denial, RestingOrder
from executor.prompts.values import TRADES_SHOWN
from executor.spec import ExecutorType
from manager.config.models import asked_models
from manager.state import records
from manager.state.spending import MODEL, TENANT, TRADER, BudgetRow, SpendingRow, day_of
from manager.state.store import Store, TraderRows, Transaction
from manager.state.switches import limiting
from traders.book import EXTERNAL
from traders.context import MarketSymbol, OwnState, build_context, told_denial
from traders.details import EarlierPositions, Holding, LiveEntry, OwnRecord, with_details
from traders.performance import Performance

_WITHOUT_RECORD = (ExecutorType.BASELINE, ExecutorType.RECORDED)
_LIVE = tuple(state for state in records.OrderState if state.live)
_RESTING = (records.OrderPurpose.STOP, records.OrderPurpose.TAKE_PROFIT)
_PARTS_READ = 10 * TRADES_SHOWN
_DECISIONS_READ = 3


class ContextReader:
    """Read what one trader is shown, beside its rows, in short transactions of its own."""

    def __init__(self, store: Store, rows: TraderRows, instruments: Mapping[Symbol, Instrument]) -> None:
        self._store = store
        self._rows = rows
        self._trader = rows.trader
        self._instruments = instruments

    async def read(self, views: Mapping[str, MarketSymbol], performance: Performance, now: datetime) -> Context:
        """Return the context of a decision at `now`; only where a model decides it has the desk's record."""
        rows, spec = self._rows, self._trader.spec
        with_record = spec.executor.type not in _WITHOUT_RECORD
        wanted = {*spec.symbols, *(position.symbol for position in rows.positions)}
        maintenance = {s: self._instruments[s].maintenance_rate for s in wanted if s in self._instruments}
        own = OwnState(
            book=rows.book.book(rows.positions),
            allocated=rows.book.allocated,
            performance=performance,
            denials=(*self._isolation(), *self._switched(), *await self._denials(with_record)),
        )
        context = build_context(spec, own, views, maintenance, now)
        if not with_record:
            return context
        async with self._store.transaction(self._trader.tenant_id) as tx:
            return with_details(context, await self.record(tx, now))

    async def record(self, tx: Transaction, now: datetime) -> OwnRecord:
        """Return the record of the trader; others' holdings only where its definition shows them."""
        rows, trader = self._rows, self._trader
        of_account = {"account_id": trader.account_id}
        orders = await tx.find(records.OrderRow, {**of_account, "state": _LIVE})
        mine = {**of_account, "trader_id": trader.trader_id}
        parts = await tx.find(records.FillPartRow, mine, newest_first="at", limit=_PARTS_READ)
        closing = [part for part in parts if part.purpose != records.OrderPurpose.ENTRY]
        held: Sequence[records.PositionRow] | None = None
        if trader.spec.show_desk_exposure:
            held = await tx.find(records.PositionRow, {**of_account, "symbol": trader.spec.symbols})
        return OwnRecord(
            orders=tuple(found for row in orders for found in self._resting(row)),
            trades=tuple(self._trade(part) for part in closing[:TRADES_SHOWN]),
            recent_entries=self._entries(orders, now),
            live_entries=tuple(found for row in orders for found in self._live_entries(row)),
            dust=frozenset(row.symbol for row in rows.positions if row.dust),
            others=None if held is None else self._held_by_others(held),
            model_usd=await self._left_for_models(tx, now),
            before=await self._shown_before(tx) if rows.positions else None,
        )

    def _isolation(self) -> tuple[Denial, ...]:
        """Tell an isolated trader why its opens are denied, and what it is asked for all the same."""
        trader = self._trader
        if trader.state is not records.TraderState.ISOLATED:
            return ()
        why = f"{trader.state_code}: {trader.state_reason}"
        detail = f"you are isolated ({why}): opens are denied; close, reduce or move stops"
        return (told_denial("all symbols", "open", "TRADER_ISOLATED", detail),)

    def _switched(self) -> tuple[Denial, ...]:
        """Tell a trader whose opens are denied by a halt, its own or a wider one, which and why."""
        found = limiting(self._rows.switched)
        if not found:
            return ()
        why = f" ({found[0].reason})" if found[0].reason else ""
        detail = f"{found[0]}{why}: opens and wider stops are denied; close, reduce or tighten stops"
        return (told_denial("all symbols", "open", found[0].state.upper(), detail),)

    async def _denials(self, with_actions: bool) -> tuple[Denial, ...]:
        """Return the verdicts as their trader reads them: with the action it asked for and its numbers of the check."""
        verdicts = self._rows.verdicts
        about = {row.intent_id for row in verdicts if row.kind != records.VerdictKind.INVALID and row.intent_id}
        actions: dict[str, str] = {}
        if with_actions and verdicts:
            async with self._store.transaction(self._trader.tenant_id) as tx:
                found = await tx.find(records.IntentRow, {"intent_id": tuple(about)}) if about else ()
            actions = {row.intent_id: row.decision.action for row in found}
        return tuple(
            told_denial(
                row.symbol or "your answer", actions.get(row.intent_id, row.kind), row.code, row.detail, row.numbers
            )
            for row in verdicts
        )

    async def _shown_before(self, tx: Transaction) -> EarlierPositions | None:
        """Return the positions of the last decision that kept its context; one without market data has none."""
        mine = {"trader_id": self._trader.trader_id}
        made = await tx.find(records.DecisionRow, mine, newest_first="decided_at", limit=_DECISIONS_READ)
        context = next((row.context for row in made if row.context is not None), None)
        if context is None:
            return None
        return EarlierPositions(at=context.now, positions={one.symbol: one for one in context.positions})

    async def _left_for_models(self, tx: Transaction, now: datetime) -> Decimal | None:
        """Return what the tightest of the day's budgets leaves: the tenant's, the trader's, its roomiest model's."""
        trader_id, executor = self._trader.trader_id, self._trader.spec.executor
        budgets = {(row.scope, row.name): row.usd for row in await tx.find(BudgetRow, {})}
        if executor.budget_usd_per_day is not None:
            budgets[TRADER, ""] = executor.budget_usd_per_day
        if not budgets:
            return None
        models = asked_models(executor)
        found = await tx.find(SpendingRow, {"day": day_of(now), "name": ("", trader_id, *models)})
        used = {(row.scope, row.name): row.used_usd for row in found}

        def left(scope: str, name: str, budget: str) -> Decimal | None:
            usd = budgets.get((scope, budget))
            return None if usd is None else max(ZERO, usd - used.get((scope, name), ZERO))

        of_models = [left(MODEL, name, name) for name in models]
        bounds = [left(TENANT, "", ""), left(TRADER, trader_id, "")]
        if of_models and None not in of_models:
            bounds.append(max(one for one in of_models if one is not None))
        return min((one for one in bounds if one is not None), default=None)

    def _resting(self, row: records.OrderRow) -> list[RestingOrder]:
        if row.purpose not in _RESTING:
            return []
        return [
            RestingOrder(
                symbol=row.symbol,
                purpose=row.purpose,
                quantity=abs(share.quantity) * row.side.sign,
                trigger_price=row.trigger_price,
                state=row.state,
            )
            for share in row.shares
            if share.trader_id == self._trader.trader_id
        ]

    def _entries(self, orders: Sequence[records.OrderRow], now: datetime) -> tuple[datetime, ...]:
        """Return when entries filled, and `now` for each that may still."""
        made = self._rows.book.recent_entries
        may_fill = {
            share.intent_id
            for row in orders
            if row.purpose is records.OrderPurpose.ENTRY
            for share in row.shares
            if share.trader_id == self._trader.trader_id
        }
        left = may_fill - {entry.intent_id for entry in made}
        return (*(entry.at for entry in made), *(now for _ in left))

    def _live_entries(self, row: records.OrderRow) -> list[LiveEntry]:
        if row.purpose is not records.OrderPurpose.ENTRY:
            return []
        instrument, left = self._instruments.get(row.symbol), row.quantity - row.filled
        return [
            LiveEntry(
                symbol=row.symbol,
                quantity=min(share.quantity, left) * row.side.sign,
                price=share.price,
                leverage=share.leverage,
                contract_size=instrument.contract_size if instrument is not None else Decimal(1),
            )
            for share in row.shares
            if share.trader_id == self._trader.trader_id
        ]

    def _held_by_others(self, held: Sequence[records.PositionRow]) -> dict[str, Holding]:
        net: dict[str, Holding] = {}
        for row in held:
            if row.trader_id not in (self._trader.trader_id, EXTERNAL):
                before = net[row.symbol].quantity if row.symbol in net else ZERO
                net[row.symbol] = Holding(quantity=before + row.quantity, contract_size=row.contract_size)
        return net

    @staticmethod
    def _trade(part: records.FillPartRow) -> ClosedTrade:
        return ClosedTrade(
            symbol=part.symbol,
            at=part.at,
            how=part.purpose,
            quantity=-part.quantity,
            price=part.price,
            pnl_usd=part.realized,
            fee_usd=part.fee,
        )
