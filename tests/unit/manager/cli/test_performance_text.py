"""What `propdesk performance` and `ranking` print of money adds up to the cent, and says nothing that is not so."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from desk_history import AT, desk_with_history
from manager.cli.performance import capital_cells, pnl_cells, ranking_cells, show_trader
from manager.state.records import DEFAULT_TENANT
from manager.views.performance import BookPerformance, PerformanceQuery, read_performance
from traders.spec import TraderId

ZERO, CENT = Decimal(0), Decimal("0.01")
FINE = st.integers(-(10**7), 10**7).map(lambda n: Decimal(n) / 10_000)


def book(realized: Decimal, fees: Decimal, funding: Decimal, unrealized: Decimal) -> BookPerformance:
    pnl = realized - fees + funding + unrealized
    return BookPerformance(
        id=TraderId("t"), start_usd=ZERO, started_at=None, moved_usd=ZERO, equity=pnl, pnl_usd=pnl,
        realized=realized, fees=fees, funding=funding, unrealized=unrealized,
    )  # fmt: skip


@given(FINE, FINE.map(abs), st.just(ZERO) | FINE, st.just(ZERO) | FINE)
@example(ZERO, Decimal("1.3551"), ZERO, Decimal("-0.0195"))
@example(Decimal("1.005"), Decimal("0.006"), ZERO, ZERO)
def test_the_parts_of_a_pnl_add_up_and_what_is_not_there_is_not_told(
    realized: Decimal, fees: Decimal, funding: Decimal, unrealized: Decimal
) -> None:
    told = book(realized, fees, funding, unrealized)
    cells = [Decimal(cell.replace(",", "")) for cell in pnl_cells(told)]
    assert cells[0] - cells[1] + cells[2] + cells[3] == Decimal(capital_cells(told)[2].replace(",", ""))
    assert cells[0] == round(realized, 2)
    for cell, amount in zip(cells[1:], (fees, funding, unrealized), strict=True):
        assert abs(cell - amount) <= 2 * CENT + CENT / 2
        assert amount or not cell, "what is not there is not told"


async def test_a_score_that_rounds_to_zero_has_no_sign(capsys: pytest.CaptureFixture[str]) -> None:
    page = await read_performance(await desk_with_history(), DEFAULT_TENANT, PerformanceQuery(now=AT))
    one = replace(page.traders[0], score=-0.0001)
    assert ranking_cells(one)[2] == "0.000"
    show_trader(one, 2)
    assert ", score 0.000\n" in capsys.readouterr().out
