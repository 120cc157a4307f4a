"""Build views, books and entries for tests of a round's stages: short calls, plain numbers, everything overridable."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from exchanges.types import Instrument, Side, Symbol
from executor.contract import Action, Decision
from executor.registry import ExecutorSpec
from manager.desk.plan.outcomes import Candidate, Reduce, SizedEntry
from manager.desk.plan.values import AccountRules, AccountView, ConflictStrategy, Mark, TraderView
from manager.state.records import DEFAULT_TENANT, AccountId, DecisionId, IntentId, IntentRow, TraderState, TradingState
from traders.book import EXTERNAL, Book, Position
from traders.spec import TraderId, TraderSpec

BTC = Symbol("BTC/USDT:USDT")
ETH = Symbol("ETH/USDT:USDT")
SOL = Symbol("SOL/USDT:USDT")
PRICES = {BTC: "100", ETH: "50", SOL: "10"}
AT = datetime(2025, 1, 1, 12, tzinfo=UTC)

Number = Decimal | int | str


def make_position(symbol: Symbol, quantity: Number, *, price: Number | None = None, leverage: int = 5) -> Position:
    """Build a position entered at `price` (the factory's mark by default); quantity is signed."""
    held = Decimal(quantity)
    entry = Decimal(PRICES[symbol] if price is None else price)
    return Position(symbol=symbol, quantity=held, cost=held * entry, leverage=leverage, opened_at=AT)


def make_book(trader_id: str, *positions: Position, capital: Number = 1000, **changes: Any) -> Book:
    """Build a book with 1,000 USD of capital."""
    held = {position.symbol: position for position in positions}
    return replace(Book(trader_id=TraderId(trader_id), capital=Decimal(capital), positions=held), **changes)


def make_spec(trader_id: str, **changes: Any) -> TraderSpec:
    """Build a spec of a trader that may trade all three symbols."""
    spec = TraderSpec(
        id=TraderId(trader_id),
        name=trader_id,
        account="paper",
        executor=ExecutorSpec(),
        symbols=(BTC, ETH, SOL),
        decision_interval_s=180,
    )
    return replace(spec, **changes)


def make_trader(trader_id: str, *positions: Position, capital: Number = 1000, **changes: Any) -> TraderView:
    """Build a running trader that is allocated its capital."""
    trader = TraderView(
        spec=make_spec(trader_id),
        state=TraderState.RUNNING,
        trading_state=TradingState.ACTIVE,
        book=make_book(trader_id, *positions, capital=capital),
        seq=0,
        allocated=Decimal(capital),
    )
    return replace(trader, **changes)


def make_view(*traders: TraderView, strategy: ConflictStrategy | None = None, **changes: Any) -> AccountView:
    """Build an account of 10,000 USD with marks 100, 50 and 10 for BTC, ETH and SOL."""
    rules = AccountRules() if strategy is None else AccountRules(conflict_strategy=strategy)
    view = AccountView(
        at=AT,
        account_id=AccountId("paper"),
        trading_state=TradingState.ACTIVE,
        equity=Decimal(10000),
        traders={trader.spec.id: trader for trader in traders},
        external=make_book(EXTERNAL, capital=0),
        marks=make_marks(PRICES),
        instruments={symbol: Instrument(symbol=symbol) for symbol in PRICES},
        rules=rules,
        truth_at=AT,
    )
    return replace(view, **changes)


def make_marks(prices: Mapping[Symbol, Number]) -> dict[Symbol, Mark]:
    """Build fresh marks of one-minute candles."""
    return {symbol: Mark(price=Decimal(price), interval_s=60) for symbol, price in prices.items()}


def make_intent(trader_id: str, decision: Decision, **changes: Any) -> IntentRow:
    """Build a pending intent that was decided now."""
    intent = IntentRow(
        tenant_id=DEFAULT_TENANT,
        intent_id=IntentId(f"{trader_id}@0#0"),
        decision_id=DecisionId(f"{trader_id}@0"),
        account_id=AccountId("paper"),
        trader_id=TraderId(trader_id),
        decided_at=AT,
        decision=decision,
    )
    return replace(intent, **changes)


def make_candidate(
    trader_id: str,
    direction: int = 1,
    size: Number = 100,
    *,
    confidence: Number | None = 80,
    after_s: int = 0,
    **changes: Any,
) -> Candidate:
    """Build an entry on BTC at leverage 5, decided `after_s` seconds after AT."""
    symbol = changes.get("symbol", BTC)
    decision = Decision(
        symbol=symbol,
        action=Action.OPEN_LONG if direction > 0 else Action.OPEN_SHORT,
        leverage=5,
        position_size_usd=Decimal(size),
        confidence=None if confidence is None else Decimal(confidence),
    )
    decided_at = AT + timedelta(seconds=after_s)
    candidate = Candidate(
        intent=make_intent(trader_id, decision, decided_at=decided_at, intent_id=f"{trader_id}@{after_s}#{symbol}"),
        trader_id=TraderId(trader_id),
        symbol=symbol,
        direction=direction,
        size_usd=Decimal(size),
        leverage=5,
        confidence=decision.confidence,
        decided_at=decided_at,
    )
    return replace(candidate, **changes)


def make_sized(candidate: Candidate, quantity: Number, price: Number | None = None) -> SizedEntry:
    """Build a sized entry of `quantity` at the factory's mark."""
    amount = Decimal(quantity)
    notional = amount * Decimal(PRICES[candidate.symbol] if price is None else price)
    return SizedEntry(candidate=candidate, quantity=amount, notional=notional, margin=notional / candidate.leverage)


def make_reduce(trader_id: str, quantity: Number, side: Side = Side.SELL, symbol: Symbol = BTC) -> Reduce:
    """Build a reduce; `side` is the order's side, so SELL closes a long."""
    return Reduce(
        trader_id=TraderId(trader_id),
        symbol=symbol,
        side=side,
        quantity=Decimal(quantity),
        intent_id=IntentId(f"{trader_id}@close#0"),
    )
