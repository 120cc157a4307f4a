"""Malformed replies in the style of known products, each with what must come of it."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from executor.contract import Decision
from executor.reply.parser import parse_reply
from executor_contexts import BTC, SOL

FOLDER = Path(__file__).parent / "replies"
SYMBOLS = frozenset({BTC, SOL})
LEAST = 60
BEFORE_WORDS = """```json
{"decisions": [{"symbol": "BTC/USDT:USDT", "action": "close_long"}, {"symbol": "SOL/USDT:USDT", "action": "wait"}]}
```

"""


def corpus() -> list[Any]:
    entries = [(path.stem, entry) for path in sorted(FOLDER.glob("*.yaml")) for entry in YAML(typ="safe").load(path)]
    return [pytest.param(entry, id=f"{family}: {entry['name']}") for family, entry in entries]


def test_the_corpus_is_large_and_each_entry_has_its_own_name() -> None:
    names = [param.id for param in corpus()]
    assert len(set(names)) == len(names) >= LEAST


@pytest.mark.parametrize("entry", corpus())
def test_a_known_malformation_comes_out_as_written_down(entry: dict[str, Any]) -> None:
    reply = parse_reply(entry["text"] if "text" in entry else BEFORE_WORDS + entry["after"], SYMBOLS)
    wanted, errors = entry.get("decides"), entry.get("errors", [])
    assert [_said(decision, item) for decision, item in zip(reply.decisions, wanted or [], strict=True)] == [
        {**item} for item in wanted or []
    ]
    paths = [error.path for error in reply.errors]
    assert sorted({path for path in errors if any(found.startswith(path) for found in paths)}) == sorted(errors)
    assert bool(paths) is bool(errors), reply.errors
    assert reply.usable is (wanted is not None)
    if "says" in entry:
        assert entry["says"] in " ".join(error.message for error in reply.errors)


def _said(decision: Decision, wanted: dict[str, Any]) -> dict[str, Any]:
    """What the decision says in the fields of `wanted` and in any other field of size or price."""
    fields = ("leverage", "position_size_usd", "stop_loss", "take_profit", "confidence", "risk_usd")
    said: dict[str, Any] = {"symbol": decision.symbol, "action": str(decision.action)}
    for name in fields:
        value = getattr(decision, name)
        if value is not None:
            said[name] = str(value)
    if "fraction" in wanted or decision.fraction != Decimal(1):
        said["fraction"] = str(decision.fraction)
    return said
