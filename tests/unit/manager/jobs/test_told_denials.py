"""What a model is told in its next prompt: denials with action, code and numbers, until a model has heard them."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exchanges.errors import ExchangeError
from executor.contract import Outcome
from executor.errors import ModelUnreachable
from manager.jobs.runner import JobKind
from manager.state.records import DEFAULT_TENANT, AccountId, IntentRow, PositionRow, ScheduleRow, VerdictRow
from model_desk import BTC, ETH, ModelDesk, reply

NOTHING = reply()
HOLD = {"symbol": BTC, "action": "hold"}


@pytest.fixture
async def desk(tmp_path: Path) -> ModelDesk:
    return await ModelDesk(tmp_path).start()


async def test_another_traders_symbol_is_answered_by_the_risk_manager_and_told(desk: ModelDesk) -> None:
    wanted = [await desk.open_item(symbol=ETH), {"symbol": ETH, "action": "close_long"}]
    for _ in range(3):
        decision = await desk.decide(reply(*wanted))
        assert (decision.outcome, decision.errors, decision.attempts) == (Outcome.DECIDED, (), 1)
    verdicts = await desk.rows(VerdictRow, trader_id="one")
    assert {verdict.code for verdict in verdicts} == {"SYMBOL_NOT_ALLOWED", "NO_POSITION"}
    (schedule,) = await desk.rows(ScheduleRow, trader_id="one")
    assert schedule.failed_decisions == 0
    await desk.decide(NOTHING)
    assert f"- {ETH} open_long: SYMBOL_NOT_ALLOWED" in desk.told()
    assert f"- {ETH} close_long: NO_POSITION" in desk.told()


async def test_a_symbol_that_the_market_does_not_quote_breaks_no_round(desk: ModelDesk) -> None:
    items = [
        {**await desk.open_item(symbol="NOSUCH/USDT:USDT"), "stop_loss": 98, "take_profit": 130},
        {"symbol": "NOSUCH/USDT:USDT", "action": "adjust_stop", "stop_loss": 90},
        await desk.open_item(),
    ]
    await desk.decide(reply(*items))
    codes = {verdict.code for verdict in await desk.rows(VerdictRow, symbol="NOSUCH/USDT:USDT")}
    assert codes == {"SYMBOL_NOT_ALLOWED", "NO_POSITION"}
    assert [position.symbol for position in await desk.rows(PositionRow, trader_id="one")] == [BTC]


async def test_an_invalid_item_is_told_once_and_names_its_place(desk: ModelDesk) -> None:
    decision = await desk.decide(reply(HOLD, {**await desk.open_item(), "leverage": 0}))
    assert [error.path for error in decision.errors] == ["decisions[1].leverage"]
    await desk.decide(NOTHING)
    assert "- your answer invalid: INVALID_ITEM (decisions[1].leverage:" in desk.told()
    await desk.decide(NOTHING)
    assert "INVALID_ITEM" not in desk.told()


async def test_a_reply_that_could_not_be_read_is_told(desk: ModelDesk) -> None:
    decision = await desk.decide("I buy.", "I sell.")
    assert decision.outcome is Outcome.INVALID_REPLY
    await desk.decide(NOTHING)
    assert desk.told().count("INVALID_REPLY") == 1


async def test_a_first_reply_that_was_corrected_is_not_told(desk: ModelDesk) -> None:
    await desk.decide("I buy.", reply(HOLD))
    await desk.decide(NOTHING)
    assert "Nothing." in desk.told()


async def test_a_denial_carries_the_action_and_the_numbers(desk: ModelDesk) -> None:
    await desk.decide(reply(await desk.open_item(confidence=10)))
    await desk.decide(NOTHING)
    (verdict,) = await desk.rows(VerdictRow, code="CONFIDENCE_TOO_LOW")
    assert verdict.numbers
    assert f"- {BTC} open_long: CONFIDENCE_TOO_LOW" in desk.told()
    for name, value in verdict.numbers.items():
        assert f"{name} {value}" in desk.told()


@pytest.mark.parametrize(
    ("answers", "again"),
    [
        ([ModelUnreachable("down")], True),
        ([NOTHING], False),
        (["prose", "prose"], False),
        ([""] * 2, False),
    ],
)
async def test_a_denial_is_told_until_a_model_has_heard_it(desk: ModelDesk, answers: list[Any], again: bool) -> None:
    await desk.decide(reply(await desk.open_item(confidence=10)))
    await desk.decide(*answers)
    await desk.decide(NOTHING)
    assert ("CONFIDENCE_TOO_LOW" in desk.told()) is again


async def test_a_verdict_while_the_model_thinks_is_told_next(desk: ModelDesk) -> None:
    await desk.decide(reply(await desk.open_item(confidence=10)))
    (verdict,) = await desk.rows(VerdictRow, code="CONFIDENCE_TOO_LOW")

    async def refuse() -> None:
        desk.clock.set(desk.clock.now() + timedelta(seconds=1))
        late = replace(verdict, round_id="late", code="MARKET_STALE", at=desk.clock.now())
        async with desk.store.transaction(DEFAULT_TENANT) as tx:
            await tx.insert([late])
        desk.clock.set(desk.clock.now() + timedelta(seconds=1))

    desk.model.meanwhile = refuse
    await desk.decide(NOTHING)
    desk.model.meanwhile = None
    await desk.decide(NOTHING)
    assert "MARKET_STALE" in desk.told()
    assert "CONFIDENCE_TOO_LOW" not in desk.told()


async def test_a_verdict_from_before_the_reading_that_is_stored_after_it_is_told_next(desk: ModelDesk) -> None:
    await desk.decide(reply(await desk.open_item(confidence=10)))
    (verdict,) = await desk.rows(VerdictRow, code="CONFIDENCE_TOO_LOW")

    async def store() -> None:
        late = replace(verdict, round_id="late", code="MARKET_STALE", at=desk.clock.now() - timedelta(seconds=2))
        async with desk.store.transaction(DEFAULT_TENANT) as tx:
            await tx.insert([late])

    desk.model.meanwhile = store
    await desk.decide(NOTHING)
    desk.model.meanwhile = None
    await desk.decide(NOTHING)
    assert "MARKET_STALE" in desk.told()
    await desk.decide(NOTHING)
    assert "MARKET_STALE" not in desk.told()


async def test_a_failed_decision_is_one_line_of_the_log_without_the_reply(desk: ModelDesk) -> None:
    with capture_logs() as lines:
        await desk.decide("SECRET-PLAN", '{"decisions": [{"symbol": "SECRET-PLAN", "action": "hold"}]}')
        await desk.decide(ModelUnreachable("nobody listens"))
        await desk.decide("SECRET-PLAN", "")
        await desk.decide(reply(HOLD))
    told = [line for line in lines if line["event"] == "decision_without_result"]
    assert [(line["outcome"], line["log_level"]) for line in told] == [
        ("invalid_reply", "warning"),
        ("unavailable", "warning"),
        ("empty", "warning"),
    ]
    assert "answered nothing when it was asked again" in told[2]["why"]
    assert "nobody listens" in told[1]["why"]
    assert "SECRET-PLAN" not in str(lines)


async def test_a_desk_without_market_data_says_so_in_the_decision(
    desk: ModelDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = desk.accounts[(DEFAULT_TENANT, AccountId("paper"))]
    clock = desk.clock.now()

    async def fails(symbols: object) -> None:
        if desk.clock.now() > clock:
            raise ExchangeError("no candles")

    monkeypatch.setattr(runtime.market, "snapshot", fails)
    decision = await desk.decide(NOTHING)
    assert (decision.outcome, decision.errors[0].path) == (Outcome.UNAVAILABLE, "market")
    assert "no candles" in decision.errors[0].message
    assert await desk.rows(IntentRow) == []
    await desk.run(JobKind.MAINTAIN)
