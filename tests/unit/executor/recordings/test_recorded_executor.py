"""Recorded decisions are delivered once, when due; a wrong file is named with its line."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from executor.contract import FullDecision
from executor.errors import RecordedError
from executor.prompts.sample import sample_context
from executor.recordings.decisions import RecordedExecutor, load_recorded
from executor_contexts import BTC, SOL, open_item

START = datetime(2025, 5, 4, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)


def recording(folder: Path, *lines: object) -> Path:
    path = folder / "decisions.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


def line(after_ms: int, *items: object, trader: str = "one") -> dict[str, object]:
    return {"ts_ms": START_MS + after_ms, "trader_id": trader, "decisions": list(items)}


def decide(executor: RecordedExecutor, after_ms: int, trader: str = "one") -> FullDecision:
    context = replace(sample_context(), trader_id=trader, now=START + timedelta(milliseconds=after_ms))
    return asyncio.run(executor.decide(context))


def symbols(decision: FullDecision) -> list[str]:
    return [one.symbol for one in decision.decisions]


def test_a_batch_is_delivered_once_at_or_after_its_time(tmp_path: Path) -> None:
    executor = RecordedExecutor(load_recorded(recording(tmp_path, line(60_000, open_item()))))
    assert symbols(decide(executor, 59_999)) == []
    assert symbols(decide(executor, 60_000)) == [BTC]
    assert symbols(decide(executor, 60_000)) == []


def test_missed_batches_are_merged_in_order_of_time(tmp_path: Path) -> None:
    late, early = {"symbol": SOL, "action": "hold"}, {"symbol": BTC, "action": "wait"}
    path = recording(tmp_path, line(9, late), "", line(5, early), line(9, early), line(50, late))
    executor = RecordedExecutor(load_recorded(path))
    assert symbols(decide(executor, 20)) == [BTC, SOL, BTC]
    assert symbols(decide(executor, 60)) == [SOL]


def test_each_trader_gets_its_own(tmp_path: Path) -> None:
    path = recording(tmp_path, line(0, open_item()), line(0, {"symbol": SOL, "action": "wait"}, trader="two"))
    executor = RecordedExecutor(load_recorded(path))
    assert symbols(decide(executor, 1, "two")) == [SOL]
    assert symbols(decide(executor, 1, "one")) == [BTC]
    assert symbols(decide(executor, 1, "three")) == []


def test_a_bad_item_is_left_out_alone_and_located(tmp_path: Path) -> None:
    path = recording(tmp_path, line(0), line(1, open_item(), open_item(symbol="DOGE"), open_item(stop_loss="~5")))
    decision = decide(RecordedExecutor(load_recorded(path)), 1)
    assert symbols(decision) == [BTC]
    assert [error.path for error in decision.errors] == ["decisions[1].symbol", "decisions[2].stop_loss"]
    assert all(error.message.endswith(f"(recorded at {START_MS + 1}, line 2)") for error in decision.errors)


def test_what_is_held_can_be_closed_though_no_longer_traded(tmp_path: Path) -> None:
    path = recording(tmp_path, line(0, {"symbol": BTC, "action": "close_short"}))
    context = replace(sample_context(), trader_id="one", now=START, symbols=(SOL,))
    decision = asyncio.run(RecordedExecutor(load_recorded(path)).decide(context))
    assert symbols(decision) == [BTC]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object"),
        ({"trader_id": "one", "decisions": []}, "ts_ms is missing"),
        ({"ts_ms": "1746814680000", "trader_id": "one", "decisions": []}, "such as 1746814680000; remove the quotes"),
        ({"ts_ms": 1.5, "trader_id": "one", "decisions": []}, "ts_ms is 1.5;"),
        ({"ts_ms": 1746814680000.0, "trader_id": "one", "decisions": []}, "; write 1746814680000"),
        ({"ts_ms": "2025-05-09T18:18Z", "trader_id": "one", "decisions": []}, "; write 1746814680000 for this time"),
        ({"ts_ms": True, "trader_id": "one", "decisions": []}, "ts_ms is True"),
        ({"ts_ms": -1, "trader_id": "one", "decisions": []}, "ts_ms is -1"),
        ('{"ts_ms": NaN, "trader_id": "one", "decisions": []}', "ts_ms is NaN;"),
        ({"ts_ms": 1, "trader_id": "", "decisions": []}, "trader_id is ''"),
        ({"ts_ms": 1, "trader_id": 4, "decisions": []}, "trader_id is 4"),
        ({"ts_ms": 1, "trader_id": "one", "decisions": {}}, "decisions is a dict"),
        ({"ts_ms": 1, "trader_id": "one"}, "decisions is missing"),
        ({"ts_ms": 1, "trader_id": "one", "decisions": [], "note": 1}, "unknown field 'note'"),
        ('{"ts_ms": 1, "ts_ms": 2, "trader_id": "one", "decisions": []}', "ts_ms given twice"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, wrong: object, told: str) -> None:
    path = recording(tmp_path, line(0), wrong)
    with pytest.raises(RecordedError) as caught:
        load_recorded(path)
    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert told in str(caught.value)
    assert "expected" in str(caught.value) or "name each" in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordedError, match="cannot be read"):
        load_recorded(tmp_path / "gone.jsonl")
    binary = tmp_path / "binary.jsonl"
    binary.write_bytes(b"\xff\xfe\n")
    with pytest.raises(RecordedError, match="UTF-8"):
        load_recorded(binary)
