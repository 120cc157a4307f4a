"""Six LLM traders with real money, often opposite on one coin, booked as if they had shared one account.

What the file holds and how it is treated: 230 closed trades, each one entry and one exit of the same size, never a
liquidation. Sizes carry the noise of floats (15.479999999999999) and are booked as written. Four venue trade ids occur
twice: one venue fill that opened or closed two trades; each trade's part is a fill of its own here. `realized_net_pnl`
is not gross less `total_commission_dollars` in every trade: it is the venue's closedPnl, whose entry price is another
average. The books are held against prices, sizes and commissions.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from exchanges.types import ClientOrderId, Fill, Liquidity, Symbol, VenueOrderId, VenueTradeId
from manager.state.records import UNALLOCATED, FillPartRow, OrderPurpose
from manager.state.store import AccountRows
from recorded_account import ACCOUNT, TENANT, ZERO, RecordedAccount, side_of
from shared_data import shared_file
from traders.spec import TraderId

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CASH = Decimal(60_000)


@dataclass(frozen=True, slots=True)
class Step:
    """Hold one recorded fill of one model."""

    model: str
    purpose: OrderPurpose
    fill: Fill


def trades() -> list[dict[str, Any]]:
    text = shared_file("llm_traders", "nof1_2025-10-26", "trades.json").read_text(encoding="utf-8")
    found: list[dict[str, Any]] = json.loads(text, parse_float=Decimal, parse_int=Decimal)["trades"]
    return found


def signed(trade: dict[str, Any]) -> Decimal:
    size: Decimal = abs(trade["quantity"])
    return size if trade["side"] == "long" else -size


def steps_of(found: list[dict[str, Any]]) -> list[Step]:
    """Return entries and exits in time order; of one instant exits come first."""
    steps = []
    for trade in found:
        for leg, sign, purpose in (("exit", -1, OrderPurpose.REDUCE), ("entry", 1, OrderPurpose.ENTRY)):
            name = f"{trade['id']}/{leg}"
            quantity = signed(trade) * sign
            fill = Fill(
                trade_id=VenueTradeId(name),
                client_order_id=ClientOrderId(name),
                venue_order_id=VenueOrderId(str(trade[f"{leg}_oid"])),
                symbol=Symbol(f"{trade['symbol']}/USDC:USDC"),
                side=side_of(quantity),
                quantity=abs(quantity),
                price=trade[f"{leg}_price"],
                fee=trade[f"{leg}_commission_dollars"],
                liquidity=Liquidity.TAKER if trade[f"{leg}_crossed"] else Liquidity.MAKER,
                at=EPOCH + timedelta(microseconds=int(trade[f"{leg}_time"] * 1_000_000)),
            )
            steps.append(Step(str(trade["model_id"]), purpose, fill))
    return sorted(steps, key=lambda step: (step.fill.at, step.purpose is OrderPurpose.ENTRY))


def gross(trade: dict[str, Any]) -> Decimal:
    pnl: Decimal = signed(trade) * (trade["exit_price"] - trade["entry_price"])
    return pnl


def held(rows: AccountRows) -> dict[tuple[str, Symbol], Decimal]:
    return {(row.trader_id, row.symbol): row.quantity for row in rows.positions}


async def test_each_model_earns_what_its_own_prices_and_sizes_say() -> None:
    found = trades()
    steps = steps_of(found)
    models = sorted({step.model for step in steps})
    assert (len(found), len(models)) == (230, 6)
    account = RecordedAccount(sorted({step.fill.symbol for step in steps}), steps[0].fill.at, CASH)
    await account.open(models)
    net: dict[Symbol, Decimal] = defaultdict(Decimal)
    own: dict[tuple[str, Symbol], Decimal] = defaultdict(Decimal)
    opposite = 0
    for step in steps:
        rows, violations = await account.book(step.model, step.purpose, step.fill)
        quantity = step.fill.quantity * step.fill.side.sign
        net[step.fill.symbol] += quantity
        own[step.model, step.fill.symbol] += quantity
        assert violations == []
        assert held(rows) == {key: amount for key, amount in own.items() if amount}
        for symbol, total in net.items():
            assert total == sum((amount for (_, at), amount in held(rows).items() if at == symbol), ZERO)
        books = [amount for (_, at), amount in held(rows).items() if at == step.fill.symbol]
        opposite += any(amount > 0 for amount in books) and any(amount < 0 for amount in books)
    assert opposite > 100
    assert rows.positions == ()
    heads = {row.trader_id: row for row in rows.books}
    assert heads.keys() - {UNALLOCATED} == set(models)
    for model in models:
        mine = [trade for trade in found if trade["model_id"] == model]
        commissions = sum((t["entry_commission_dollars"] + t["exit_commission_dollars"] for t in mine), ZERO)
        assert heads[TraderId(model)].realized == sum((gross(trade) for trade in mine), ZERO)
        assert heads[TraderId(model)].fees == commissions
        assert heads[TraderId(model)].performance.trades <= len(mine)
    earned = sum((heads[TraderId(model)].realized - heads[TraderId(model)].fees for model in models), ZERO)
    assert (await account.venue.fetch_balance()).cash == CASH + earned


async def test_every_part_of_every_fill_is_booked_once_to_its_own_model() -> None:
    steps = steps_of(trades())
    account = RecordedAccount(sorted({step.fill.symbol for step in steps}), steps[0].fill.at, CASH)
    await account.open(sorted({step.model for step in steps}))
    for step in steps:
        await account.book(step.model, step.purpose, step.fill)
    async with account.store.transaction(TENANT) as tx:
        parts = await tx.find(FillPartRow, {"account_id": ACCOUNT}, limit=10_000)
    booked = {part.trade_id: (part.trader_id, part.quantity, part.price, part.fee) for part in parts}
    assert len(parts) == len(booked) == len(steps)
    for step in steps:
        fill = step.fill
        assert booked[fill.trade_id] == (step.model, fill.quantity * fill.side.sign, fill.price, fill.fee)


def test_the_files_own_gross_is_price_times_size_and_its_net_is_the_venues() -> None:
    tiny = Decimal("1E-9")
    found = trades()
    for trade in found:
        assert abs(trade["realized_gross_pnl"] - gross(trade)) < tiny
        assert abs(trade["realized_net_pnl"] - trade["entry_closed_pnl"] - trade["exit_closed_pnl"]) < tiny
        paid = trade["entry_commission_dollars"] + trade["exit_commission_dollars"]
        assert abs(trade["total_commission_dollars"] - paid) < tiny
        assert trade["entry_sz"] == trade["exit_sz"] == abs(trade["quantity"])
    off = [t["realized_net_pnl"] - gross(t) + t["total_commission_dollars"] for t in found]
    assert sum(abs(amount) > tiny for amount in off) == 101
    assert sum(off, ZERO).quantize(Decimal("0.01")) == Decimal("69.54")
