"""The columns of a replay give the curve that the running sums give, released capital included."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from exchanges.clock import to_ms
from exchanges.types import Symbol
from manager.bootstrap.curve import Closes, ReplaySampler
from manager.state.records import DEFAULT_TENANT, AccountId, AccountRow, BookRow, PositionRow
from manager.state.store import AccountRows
from traders.performance import Performance, flow, sample
from traders.spec import TraderId

BEGIN = datetime(2025, 5, 4, tzinfo=UTC)
BTC = Symbol("BTC/USDT:USDT")
STEP = timedelta(minutes=20)
PRICES = tuple(100 + (index * 7) % 13 - index % 5 for index in range(120))


def book(capital: Decimal, curve: Performance) -> BookRow:
    return BookRow(
        tenant_id=DEFAULT_TENANT,
        account_id=AccountId("desk"),
        trader_id=TraderId("one"),
        capital=capital,
        allocated=capital,
        performance=curve,
    )


def rows(head: BookRow) -> AccountRows:
    position = PositionRow(
        tenant_id=DEFAULT_TENANT,
        account_id=AccountId("desk"),
        trader_id=TraderId("one"),
        symbol=BTC,
        quantity=Decimal("0.5"),
        cost=Decimal(50),
        leverage=2,
        opened_at=BEGIN,
    )
    account = AccountRow(tenant_id=DEFAULT_TENANT, account_id=AccountId("desk"), venue="replay")
    return AccountRows(
        account=account,
        traders=(),
        schedules=(),
        books=(head,),
        positions=(position,),
        intents=(),
        orders=(),
        incidents=(),
    )


def equity(head: BookRow, index: int) -> Decimal:
    return head.capital + Decimal("0.5") * PRICES[index] - 50


INSTANTS = [BEGIN + STEP * index for index in range(len(PRICES))]


def replay_sampler() -> ReplaySampler:
    closes = Closes(
        instants=np.array([to_ms(at) for at in INSTANTS]),
        symbols={BTC: 0},
        prices=np.array([PRICES], dtype=np.float64),
        contract_sizes={BTC: 1.0},
        maintenance={BTC: 0.005},
    )
    return ReplaySampler(closes, [TraderId("one")])


def test_both_samplers_measure_a_wind_down_alike() -> None:
    sampler = replay_sampler()
    head = book(Decimal(1000), flow(Performance(), Decimal(0), Decimal(1000)))
    moves = {30: Decimal(-970), 60: Decimal(-3), 90: Decimal(800)}
    curve = head.performance
    for index, at in enumerate(INSTANTS):
        sampler.pass_to(at, rows(head))
        curve = sample(curve, equity(head, index), at)
        if index in moves:
            before, leaving = equity(head, index), moves[index] < 0
            curve = flow(curve, before, moves[index], winding_down=leaving)
            head = replace(head, capital=head.capital + moves[index], performance=curve)
    columns = sampler.current(head)
    assert curve.returns == columns.returns > 24
    assert columns.released_usd == curve.released_usd == 0
    assert columns.nav == pytest.approx(curve.nav)
    assert columns.max_drawdown == pytest.approx(curve.max_drawdown)
    assert columns.sharpe == pytest.approx(curve.sharpe)
    assert 0 < columns.max_drawdown < 0.05


def test_both_samplers_keep_what_is_lost_between_a_close_and_the_end_of_all_capital() -> None:
    sampler = replay_sampler()
    head = book(Decimal(1000), flow(Performance(), Decimal(0), Decimal(1000)))
    curve = head.performance
    for index, at in enumerate(INSTANTS):
        sampler.pass_to(at, rows(head))
        curve = sample(curve, equity(head, index), at)
        if index == 30:  # between two closes half is lost, and the rest is taken out
            left = equity(head, index) / 2
            curve = flow(curve, left, -left)
            head = replace(head, capital=Decimal(0), performance=flow(head.performance, left, -left))
        if index == 60:
            curve = flow(curve, Decimal(0), Decimal(500))
            capital = 500 - equity(replace(head, capital=Decimal(0)), index)
            head = replace(head, capital=capital, performance=flow(head.performance, Decimal(0), Decimal(500)))
        if index == 59:
            assert sampler.current(head).nav == curve.nav < 0.6
    columns = sampler.current(head)
    assert columns.nav == pytest.approx(curve.nav)
    assert columns.max_drawdown == pytest.approx(curve.max_drawdown)
    assert columns.max_drawdown > 0.5
    assert columns.sharpe == pytest.approx(curve.sharpe)
