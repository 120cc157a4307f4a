"""A small desk with a past, as rows: one account, two traders, one conflict, one filled order with its stop."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from exchanges.types import FillKind, Liquidity, OrderType, Side, Symbol
from executor.contract import Action, Decision, Indicators, Outcome, Usage
from executor.prompts.sample import SampleView, sample_context
from executor.registry import ExecutorSpec
from manager.state.journal import ConflictRow, EquityRow
from manager.state.keys import Row
from manager.state.memory.store import MemoryStore
from manager.state.records import (
    DEFAULT_TENANT,
    UNALLOCATED,
    AccountId,
    AccountRow,
    BookRow,
    DecisionId,
    DecisionRow,
    EventRow,
    FillPartRow,
    FillRow,
    IncidentRow,
    IntentId,
    IntentRow,
    IntentStatus,
    LedgerKind,
    LedgerRow,
    OrderId,
    OrderPurpose,
    OrderRow,
    OrderState,
    PositionRow,
    RoundId,
    RoundRow,
    SampledMark,
    ScheduleRow,
    Share,
    TraderRow,
    TraderState,
    UtilizationReport,
    VerdictKind,
    VerdictRow,
)
from manager.state.store import Store
from traders.spec import TraderId, TraderSpec

BTC = Symbol("BTC/USDT:USDT")
AT = datetime(2025, 6, 1, 12, tzinfo=UTC)
ENTRY = "e7c1f0a95d0b4f2c8a36b1d2f4e6a801"
STOP = "50b2d4f6a8c04e6e9b1d3f5a7c9e0b02"
ROUND = "0000000007"
DECISION = "bull@1748779200000"
INTENT = f"{DECISION}#0"
QUANTITY = Decimal("0.01")


def spec(trader_id: str) -> TraderSpec:
    """Return the definition of a trader of this desk."""
    return TraderSpec(
        id=TraderId(trader_id),
        name=f"The {trader_id}",
        account="paper",
        executor=ExecutorSpec(),
        symbols=(BTC,),
        decision_interval_s=60,
    )


USE = UtilizationReport(
    total=Decimal("10004.55"),
    allocated=Decimal(4500),
    utilized=Decimal(201),
    reserve=Decimal("1000.455"),
    utilization_pct=Decimal("4.4667"),
    over_allocated=(TraderId("bear"),),
)


def traders() -> list[Row]:
    """Return the account, both traders and their books."""
    tenant = DEFAULT_TENANT
    account = AccountRow(
        tenant_id=tenant,
        account_id=AccountId("paper"),
        venue="paper",
        equity=Decimal("10004.55"),
        utilization=USE,
        marks={BTC: SampledMark(price=Decimal(100_500), at=AT - timedelta(seconds=1))},
        updated_at=AT,
    )
    rows: list[Row] = [account]
    for seq, (name, state) in enumerate((("bull", TraderState.RUNNING), ("bear", TraderState.PAUSED))):
        rows += [
            TraderRow(
                tenant_id=tenant,
                trader_id=TraderId(name),
                account_id=AccountId("paper"),
                seq=seq,
                spec=spec(name),
                state=state,
            ),
            ScheduleRow(
                tenant_id=tenant,
                trader_id=TraderId(name),
                account_id=AccountId("paper"),
                interval_s=60,
                next_due_at=AT + timedelta(minutes=1),
            ),
        ]
    rows += books()
    rows.append(
        PositionRow(
            tenant_id=tenant,
            account_id=AccountId("paper"),
            trader_id=TraderId("bull"),
            symbol=BTC,
            quantity=Decimal("0.01"),
            cost=Decimal(1000),
            leverage=5,
            opened_at=AT,
            stop_loss=Decimal(98_000),
            take_profit=Decimal(106_000),
        )
    )
    for name, equity in {"bull": "4504.55", "": "10004.55"}.items():
        rows.append(
            EquityRow(
                tenant_id=tenant, account_id=AccountId("paper"), trader_id=TraderId(name), at=AT, equity=Decimal(equity)
            )
        )
    return rows


def books() -> list[Row]:
    """Return the money of both traders and what is unallocated."""
    key: dict[str, Any] = {"tenant_id": DEFAULT_TENANT, "account_id": AccountId("paper"), "started_at": AT}
    given = Decimal(4500)
    bull = BookRow(
        **key, trader_id=TraderId("bull"), capital=given, started_usd=given, allocated=given, fees=Decimal("0.45")
    )
    return [
        replace(bull, open_positions=1),
        BookRow(**key, trader_id=TraderId("bear"), capital=given, started_usd=given),
        BookRow(**key, trader_id=UNALLOCATED, capital=Decimal(1000), started_usd=Decimal(10_000)),
    ]


_KEY: Any = {"tenant_id": DEFAULT_TENANT, "account_id": "paper"}


def decisions() -> list[Row]:
    """Return the decision that opened the position, and its intent."""
    asked = Decision(
        symbol=BTC,
        action=Action.OPEN_LONG,
        leverage=5,
        position_size_usd=Decimal(1000),
        stop_loss=Decimal(98_000),
        take_profit=Decimal(106_000),
        confidence=Decimal(82),
        reasoning="momentum agrees",
    )
    view = SampleView(symbol=BTC, mark=Decimal(100_500), indicators=Indicators(ema_20=100_100.5), age_s=2.0)
    context = replace(sample_context(), symbols=(BTC,), market={BTC: view}, positions=())
    return [
        DecisionRow(
            **_KEY,
            decision_id=DecisionId(DECISION),
            trader_id=TraderId("bull"),
            due_at=AT,
            decided_at=AT,
            outcome=Outcome.DECIDED,
            decisions=(asked,),
            model="gpt-test",
            prompt_hash="ab12",
            reasoning="the trend is up",
            reply='{"decisions": []}',
            usage=Usage(cost_usd=Decimal("0.0021")),
            latency_s=1.25,
            context=context,
        ),
        IntentRow(
            **_KEY,
            intent_id=IntentId(INTENT),
            decision_id=DecisionId(DECISION),
            trader_id=TraderId("bull"),
            decided_at=AT,
            decision=asked,
            status=IntentStatus.CONSUMED,
            round_id=RoundId(ROUND),
        ),
    ]


def happenings() -> list[Row]:
    """Return the decision's round with a conflict and a refusal, and an operator's act."""
    return [
        RoundRow(**_KEY, round_id=RoundId(ROUND), at=AT, equity=Decimal(10_000), counts={"entries": 1, "conflicts": 1}),
        ConflictRow(
            **_KEY,
            round_id=RoundId(ROUND),
            n=1,
            type="direction",
            symbol=BTC,
            traders=("bull", "bear"),
            confidences=("82", "76"),
            severity="high",
            outcome="bull stands, bear is denied",
            at=AT,
        ),
        VerdictRow(
            **_KEY,
            round_id=RoundId(ROUND),
            n=2,
            kind=VerdictKind.DENIAL,
            code="DIRECTION",
            trader_id=TraderId("bear"),
            symbol=BTC,
            intent_id=IntentId("bear@1748779200000#0"),
            detail="opposite to bull",
            at=AT,
            numbers={"confidence": "76"},
        ),
        EventRow(
            tenant_id=DEFAULT_TENANT,
            event_id="e1",
            at=AT + timedelta(minutes=5),
            actor="cli:eve",
            kind="trader_state",
            account_id=AccountId("paper"),
            trader_id=TraderId("bear"),
            before="running",
            after="paused",
            reason="lunch",
        ),
    ]


def orders() -> list[Row]:
    """Return the entry and the stop that protects the position."""
    quantity = QUANTITY
    entry = OrderRow(
        **_KEY,
        order_id=OrderId(ENTRY),
        round_id=RoundId(ROUND),
        symbol=BTC,
        side=Side.BUY,
        type=OrderType.MARKET,
        purpose=OrderPurpose.ENTRY,
        quantity=quantity,
        created_at=AT,
        shares=(
            Share(
                trader_id=TraderId("bull"),
                quantity=quantity,
                intent_id=IntentId(INTENT),
                leverage=5,
                stop_loss=Decimal(98_000),
                take_profit=Decimal(106_000),
            ),
        ),
        state=OrderState.FILLED,
        filled=quantity,
        venue_order_id="v-1",
    )
    stop = replace(
        entry,
        order_id=OrderId(STOP),
        side=Side.SELL,
        type=OrderType.STOP,
        purpose=OrderPurpose.STOP,
        shares=(Share(trader_id=TraderId("bull"), quantity=quantity),),
        trigger_price=Decimal(98_000),
        reduce_only=True,
        state=OrderState.ACCEPTED,
        filled=Decimal(0),
        venue_order_id="v-2",
        created_at=AT + timedelta(seconds=1),
    )
    return [entry, stop]


def fills() -> list[Row]:
    """Return the entry's fill and its part."""
    quantity = QUANTITY
    fill = FillRow(
        **_KEY,
        trade_id="t-1",
        order_id=OrderId(ENTRY),
        symbol=BTC,
        side=Side.BUY,
        quantity=quantity,
        price=Decimal(100_000),
        fee=Decimal("0.45"),
        liquidity=Liquidity.TAKER,
        kind=FillKind.TRADE,
        at=AT,
    )
    part = FillPartRow(
        **_KEY,
        trade_id="t-1",
        trader_id=TraderId("bull"),
        leg="1",
        order_id=OrderId(ENTRY),
        intent_id=IntentId(INTENT),
        symbol=BTC,
        quantity=quantity,
        price=Decimal(100_000),
        fee=Decimal("0.45"),
        realized=Decimal(0),
        purpose="entry",
        at=AT,
        opened_at=AT,
    )
    return [fill, part]


def round_trip(name: str, trader_id: str, at: datetime, *, made: str = "10", funding: str = "-0.25") -> list[Row]:
    """Return a short of a minute that a decision closed at `at`, with a payment in between."""
    began, quantity, trader = at - timedelta(minutes=1), QUANTITY, TraderId(trader_id)
    [_, entry] = fills()
    assert isinstance(entry, FillPartRow)
    entry = replace(
        entry,
        trader_id=trader,
        trade_id=f"{name}/in",
        order_id=OrderId(f"{name}/in"),
        intent_id=IntentId(""),
        quantity=-quantity,
        at=began,
        opened_at=began,
    )
    closed = replace(
        entry,
        trade_id=f"{name}/out",
        order_id=OrderId(f"{name}/out"),
        intent_id=IntentId(INTENT),
        quantity=quantity,
        at=at,
        closed_at=at,
        purpose="reduce",
        realized=Decimal(made),
        price=entry.price - Decimal(made) / quantity,
    )
    posting = LedgerRow(
        **_KEY,
        ref=f"{name}/funding",
        trader_id=trader,
        kind=LedgerKind.FUNDING,
        amount=Decimal(funding),
        at=at - timedelta(seconds=30),
        symbol=BTC,
    )
    return [entry, closed, posting]


def incident(code: str = "POSITION_MISMATCH", **values: Any) -> IncidentRow:
    """Return an open incident of severity high, told a minute after `AT`."""
    row = IncidentRow(
        tenant_id=DEFAULT_TENANT,
        incident_id=f"i1/{code}",
        account_id=AccountId("paper"),
        code=code,
        severity="high",
        detail="a trade this desk did not make",
        at=AT + timedelta(minutes=1),
        symbol=BTC,
    )
    return replace(row, **values)


async def fill_history(store: Store, *more: Row) -> None:
    """Write this desk and `more` into a store."""
    async with store.service() as service:
        await service.ensure_tenant(DEFAULT_TENANT)
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([*traders(), *decisions(), *happenings(), *orders(), *fills(), *more])


async def desk_with_history(*more: Row) -> MemoryStore:
    """Return a store in memory that holds this desk and `more`."""
    store = MemoryStore()
    await fill_history(store, *more)
    return store
