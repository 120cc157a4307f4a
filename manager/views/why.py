"""Why an order exists, from the fill back to the words of the model (docs/architecture.md, invariant 12)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from executor.contract import Action, Decision, ItemError, Usage
from manager.errors import AmbiguousId
from manager.state import records
from manager.state.journal import ConflictRow
from manager.state.kinds import IntentStatus, OrderPurpose
from manager.state.records import IntentId
from manager.state.store import Search, Store, Transaction
from traders.spec import TraderId

_CANDIDATES: Final = 6
_ACTED: Final = (IntentStatus.CONSUMED, IntentStatus.DONE)
_OPENING: Final = (Action.OPEN_LONG, Action.OPEN_SHORT, Action.TARGET)
_OF_DECISION: Final = (
    "decided_at", "due_at", "outcome", "model", "prompt_hash", "reasoning", "reply", "errors", "attempts", "latency_s",
    "usage",
)  # fmt: skip
_SETTING: Final = (OrderPurpose.STOP, OrderPurpose.TAKE_PROFIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenMarket:
    """Hold what a decision saw of one symbol; indicators are floats, None until enough candles exist."""

    symbol: str
    mark: Decimal
    age_s: float
    funding_rate: Decimal | None
    indicators: Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Hold where a trader's part of an order comes from; what is no longer kept is empty."""

    trader_id: TraderId
    leverage: int | None = None
    opened_by: IntentId = IntentId("")
    set_by: IntentId = IntentId("")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedIntent:
    """Hold one intent with the decision it comes from; what is no longer kept is empty, as is the intent of none.

    `role` says what it did for an order of the desk itself; it is empty where the order carries the intent out.
    """

    intent_id: IntentId = IntentId("")
    role: str = ""
    trader_id: TraderId = TraderId("")
    status: str = ""
    code: str = ""
    asked: Decision | None = None
    decision_id: records.DecisionId = records.DecisionId("")
    round_id: records.RoundId = records.RoundId("")
    decided_at: datetime | None = None
    due_at: datetime | None = None
    outcome: str = ""
    model: str = ""
    prompt_hash: str = ""
    reasoning: str = ""
    reply: str = ""
    errors: tuple[ItemError, ...] = ()
    attempts: int = 0
    latency_s: float = 0.0
    usage: Usage | None = None
    market: tuple[SeenMarket, ...] = ()

    @classmethod
    def of(cls, row: records.IntentRow, role: str = "") -> "ExplainedIntent":
        """Return an intent as it is stored, still without its decision."""
        return cls(
            intent_id=row.intent_id,
            role=role,
            trader_id=row.trader_id,
            status=row.status,
            code=row.code,
            asked=row.decision,
            decision_id=row.decision_id,
            round_id=row.round_id,
        )

    def by(self, row: records.DecisionRow | None) -> "ExplainedIntent":
        """Return it with what its decision says of itself; None for one that is no longer kept."""
        if row is None:
            return self
        seen = row.context.market.items() if row.context is not None else ()
        return replace(
            self,
            **{name: getattr(row, name) for name in _OF_DECISION},
            market=tuple(
                SeenMarket(
                    symbol=symbol,
                    mark=view.mark,
                    age_s=view.age_s,
                    funding_rate=view.funding_rate,
                    indicators={name: getattr(view.indicators, name) for name in view.indicators.__dataclass_fields__},
                )
                for symbol, view in sorted(seen)
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Hold an order with all that led to it and came of it; `kind` names what was asked about.

    An order of the desk itself has the intents that set its stop or take profit and opened its position. Without an
    order it is the story of a trade of no order, of an intent that led to none, or of a decision.
    """

    kind: str
    order: records.OrderRow | None
    other_orders: tuple[str, ...]
    round: records.RoundRow | None
    intents: tuple[ExplainedIntent, ...]
    origins: tuple[Origin, ...]
    verdicts: tuple[records.VerdictRow, ...]
    conflicts: tuple[ConflictRow, ...]
    fills: tuple[records.FillRow, ...]
    parts: tuple[records.FillPartRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """Hold what an id stands for; without an order it is a trade of none, an intent that led to none, or a decision."""

    kind: str
    account_id: records.AccountId
    round_id: records.RoundId
    order: records.OrderRow | None = None
    decision: records.DecisionRow | None = None
    intents: tuple[IntentId, ...] = ()
    fills: tuple[records.FillRow, ...] = ()
    parts: tuple[records.FillPartRow, ...] = ()
    other_orders: tuple[str, ...] = ()

    @classmethod
    def of(cls, kind: str, order: records.OrderRow, others: tuple[str, ...] = ()) -> "_Subject":
        return cls(
            kind=kind,
            account_id=order.account_id,
            round_id=order.round_id,
            order=order,
            intents=_intents_of(order),
            other_orders=others,
        )


async def read_story(store: Store, tenant: records.TenantId, ref: str) -> Story | None:
    """Return the story of an order (by its own id or the venue's), a trade, an intent or a decision by its id.

    Of a trader it is that of the newest decision, and the beginning of an order's id stands for it. None if nothing has
    this id; raises AmbiguousId. However long a story is, it takes the same few statements.
    """
    async with store.transaction(tenant) as tx:
        subject = await _Finder(tx, ref).subject()
        return None if subject is None else await _Teller(tx, subject).story()


def _intents_of(order: records.OrderRow) -> tuple[IntentId, ...]:
    """Return the intents that an order carries out, each once; the desk's own orders have none."""
    return tuple(dict.fromkeys(share.intent_id for share in order.shares if share.intent_id))


class _Finder:
    """Find what `propdesk why` is asked about."""

    def __init__(self, tx: Transaction, ref: str) -> None:
        self._tx = tx
        self._ref = ref

    async def subject(self) -> _Subject | None:
        """Return what the id stands for: an order before a trade, an intent, a decision, a trader, an order's start."""
        each: dict[str, Any] = {"each": ("account_id",), "limit": 1}
        [orders] = await self._tx.search(Search(kind=records.OrderRow, where={"order_id": self._ref}, **each))
        if orders:
            return _Subject.of("order", orders[0])
        orders, fills, parts, intents, decisions, newest, begun = await self._tx.search(
            Search(kind=records.OrderRow, where={"venue_order_id": self._ref}, **each),
            Search(kind=records.FillRow, where={"trade_id": self._ref}, each=("account_id",)),
            Search(kind=records.FillPartRow, where={"trade_id": self._ref}, each=("account_id",)),
            Search(kind=records.IntentRow, where={"intent_id": self._ref}),
            Search(kind=records.DecisionRow, where={"decision_id": self._ref}),
            Search(kind=records.DecisionRow, where={"trader_id": self._ref}, newest_first="decided_at", limit=1),
            Search(kind=records.OrderRow, begins={"order_id": self._ref}, newest_first="created_at", limit=_CANDIDATES),
        )
        if orders:
            return _Subject.of("order", orders[0])
        if fills or parts:
            return await self._trade(fills, parts)
        if intents:
            return await self._intent(intents[0])
        if decisions or newest:
            return await self._decision((*decisions, *newest)[0])
        return self._begun(begun) if begun and self._ref else None

    def _begun(self, orders: Sequence[records.OrderRow]) -> _Subject:
        if len(orders) == 1:
            return _Subject.of("order", orders[0])
        named = "; ".join(
            f"{one.order_id} ({one.purpose} {one.side} {one.symbol})" for one in orders[: _CANDIDATES - 1]
        )
        more = "; and more" if len(orders) == _CANDIDATES else ""
        raise AmbiguousId(f"{self._ref!r} is how several orders begin; write more of one of {named}{more}")

    async def _trade(self, fills: Sequence[records.FillRow], parts: Sequence[records.FillPartRow]) -> _Subject:
        rows: list[records.FillRow | records.FillPartRow] = [*fills, *parts]
        account_id = min(row.account_id for row in rows)
        fills = tuple(fill for fill in fills if fill.account_id == account_id)
        parts = tuple(part for part in parts if part.account_id == account_id)
        named = [row.order_id for row in rows if row.account_id == account_id and row.order_id]
        intents = tuple(dict.fromkeys(part.intent_id for part in parts if part.intent_id))
        orders, known = await self._tx.search(
            Search(kind=records.OrderRow, where={"account_id": account_id, "order_id": tuple(named)}),
            Search(kind=records.IntentRow, where={"intent_id": intents}),
        )
        if orders:
            return _Subject.of("trade", min(orders, key=lambda order: named.index(order.order_id)))
        rounds = {row.intent_id: row.round_id for row in known}
        return _Subject(
            kind="trade",
            account_id=account_id,
            round_id=next((rounds[one] for one in intents if one in rounds), records.RoundId("")),
            intents=intents,
            fills=fills,
            parts=parts,
        )

    async def _intent(self, intent: records.IntentRow) -> _Subject:
        account_id, intent_id = intent.account_id, intent.intent_id
        of_account = {"account_id": account_id}
        parts, orders = await self._tx.search(
            Search(kind=records.FillPartRow, where={**of_account, "intent_id": intent_id}),
            Search(kind=records.OrderRow, where={**of_account, "round_id": intent.round_id}),
        )
        filled = tuple(part.order_id for part in parts if part.order_id)
        later = await self._tx.find(records.OrderRow, {**of_account, "order_id": filled}) if filled else ()
        known = {order.order_id: order for order in (*orders, *later)}.values()
        mine = sorted((one for one in known if intent_id in _intents_of(one)), key=lambda one: one.created_at)
        if mine:
            return _Subject.of("intent", mine[-1], tuple(order.order_id for order in mine[:-1]))
        return _Subject(
            kind="intent", account_id=account_id, round_id=intent.round_id, intents=(intent_id,), parts=tuple(parts)
        )

    async def _decision(self, decision: records.DecisionRow) -> _Subject:
        found = await self._tx.find(records.IntentRow, {"decision_id": decision.decision_id})
        return _Subject(
            kind="decision",
            account_id=decision.account_id,
            round_id=records.RoundId(""),
            intents=tuple(row.intent_id for row in found),
            decision=decision,
        )


class _Teller:
    """Tell the story of a subject."""

    def __init__(self, tx: Transaction, subject: _Subject) -> None:
        self._tx = tx
        self._subject = subject

    async def story(self) -> Story:
        """Return the story."""
        subject, order = self._subject, self._subject.order
        of_account = {"account_id": subject.account_id}
        of_round = {**of_account, "round_id": subject.round_id}
        of_order = {**of_account, "order_id": order.order_id if order is not None else ()}
        about = (*subject.intents, subject.decision.decision_id) if subject.decision is not None else ()
        rounds, verdicts, conflicts, fills, parts = await self._tx.search(
            Search(kind=records.RoundRow, where=of_round),
            Search(kind=records.VerdictRow, where={**of_account, "intent_id": about} if about else of_round),
            Search(kind=ConflictRow, where=of_round),
            Search(kind=records.FillRow, where=of_order),
            Search(kind=records.FillPartRow, where=of_order),
        )
        if order is None:
            fills, parts = subject.fills, subject.parts
        sent_by_desk = order is not None and order.purpose is not OrderPurpose.ENTRY
        origins = await self._origins(order) if order is not None and sent_by_desk else ()
        return Story(
            kind=subject.kind,
            order=order,
            other_orders=subject.other_orders,
            round=next(iter(rounds), None),
            intents=await self._intents(origins),
            origins=origins,
            verdicts=tuple(verdicts),
            conflicts=tuple(conflicts),
            fills=tuple(sorted(fills, key=lambda fill: (fill.at, fill.trade_id))),
            parts=tuple(sorted(parts, key=lambda part: (part.at, part.trade_id, part.trader_id))),
        )

    async def _intents(self, origins: Sequence[Origin]) -> tuple[ExplainedIntent, ...]:
        decision = self._subject.decision
        if decision is not None:
            bare = ExplainedIntent(trader_id=decision.trader_id, decision_id=decision.decision_id)
            rows = await self._tx.find(records.IntentRow, {"decision_id": decision.decision_id})
            return (bare.by(decision), *map(ExplainedIntent.of, rows))
        roles = self._roles(origins)
        if not roles:
            return ()
        rows = await self._tx.find(records.IntentRow, {"intent_id": tuple(roles)}, limit=len(roles))
        names = tuple({row.decision_id for row in rows})
        decisions = await self._tx.find(records.DecisionRow, {"decision_id": names}, limit=len(roles))
        known = {row.intent_id: ExplainedIntent.of(row, roles[row.intent_id]) for row in rows}
        by_id = {row.decision_id: row for row in decisions}
        told = (known.get(one, ExplainedIntent(intent_id=one, role=role)) for one, role in roles.items())
        return tuple(one.by(by_id.get(one.decision_id)) for one in told)

    def _roles(self, origins: Sequence[Origin]) -> dict[IntentId, str]:
        if self._subject.intents:
            return dict.fromkeys(self._subject.intents, "")
        purpose = self._subject.order.purpose if self._subject.order is not None else ""
        roles: dict[IntentId, str] = {}
        for origin in origins:
            roles.setdefault(origin.set_by, f"set the {purpose}")
            roles.setdefault(origin.opened_by, "opened the position")
        return {intent_id: role for intent_id, role in roles.items() if intent_id}

    async def _origins(self, order: records.OrderRow) -> tuple[Origin, ...]:
        """Return for each part of an order of the desk itself the newest intents up to it that are behind it.

        One gave the position its stop or take profit, one opened it, with its leverage. An intent counts that its round
        acted upon: an adjustment, or an entry of which something was filled.
        """
        mine = {"account_id": order.account_id, "trader_id": tuple({share.trader_id for share in order.shares})}
        filled = {**mine, "symbol": order.symbol, "purpose": str(OrderPurpose.ENTRY)}
        acted = {**mine, "status": _ACTED if order.purpose in _SETTING else ()}
        parts, intents = await self._tx.search(
            Search(kind=records.FillPartRow, where=filled, newest_first="at", until=order.created_at),
            Search(kind=records.IntentRow, where=acted, newest_first="decided_at"),
        )
        entries = {name: [part for part in parts if part.trader_id == name] for name in mine["trader_id"]}
        leverages = await self._leverages([found[0] for found in entries.values() if found])
        return tuple(
            Origin(
                trader_id=share.trader_id,
                leverage=leverages.get(share.trader_id),
                opened_by=next((part.intent_id for part in entries[share.trader_id] if part.intent_id), IntentId("")),
                set_by=self._setter(order, share.trader_id, intents, entries[share.trader_id]),
            )
            for share in order.shares
        )

    def _setter(
        self,
        order: records.OrderRow,
        trader_id: TraderId,
        intents: Iterable[records.IntentRow],
        entries: Sequence[records.FillPartRow],
    ) -> IntentId:
        filled = {part.intent_id for part in entries}
        for intent in intents:
            asked = intent.decision
            mine = intent.trader_id == trader_id and asked.symbol == order.symbol and intent.round_id <= order.round_id
            acted = asked.action is Action.ADJUST_STOP or intent.intent_id in filled
            level = asked.stop_loss if order.purpose is OrderPurpose.STOP else asked.take_profit
            if mine and acted and level is not None:
                return intent.intent_id
        return IntentId("")

    async def _leverages(self, entries: Sequence[records.FillPartRow]) -> Mapping[TraderId, int | None]:
        order_ids = tuple(entry.order_id for entry in entries if entry.order_id)
        intent_ids = tuple(entry.intent_id for entry in entries if entry.intent_id)
        found, intents = await self._tx.search(
            Search(kind=records.OrderRow, where={"account_id": self._subject.account_id, "order_id": order_ids}),
            Search(kind=records.IntentRow, where={"intent_id": intent_ids}),
        )
        shares = {(order.order_id, share.trader_id): share.leverage for order in found for share in order.shares[::-1]}
        asked = {one.intent_id: one.decision.leverage for one in intents if one.decision.action in _OPENING}
        return {
            entry.trader_id: shares.get((entry.order_id, entry.trader_id), asked.get(entry.intent_id))
            for entry in entries
        }
