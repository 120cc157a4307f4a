"""A reply becomes decisions or errors with a path; nothing is guessed."""

import json
from decimal import Decimal

import pytest

from executor.contract import Action, Decision, ItemError
from executor.reply.item import MAX_ERRORS_OF_ITEM, decision_from_mapping
from executor.reply.parser import MAX_ERRORS, MAX_ITEMS, MAX_REPLY, json_schema, parse_reply
from executor_contexts import BTC, SOL, open_item, reply_text

SYMBOLS = frozenset({BTC, SOL})


def errors_of(item: object) -> dict[str, str]:
    reply = parse_reply(reply_text(item), SYMBOLS)
    assert reply.decisions == ()
    assert not reply.usable
    return {error.path: error.message for error in reply.errors}


def only(item: object) -> Decision:
    reply = parse_reply(reply_text(item), SYMBOLS)
    assert reply.errors == ()
    (decision,) = reply.decisions
    return decision


def test_an_open_keeps_every_digit() -> None:
    text = (
        '{"reasoning": "up", "decisions": [{"symbol": "BTC/USDT:USDT", "action": "open_long", "leverage": 3,'
        ' "position_size_usd": 500.10, "stop_loss": 0.1234567890123456789, "take_profit": "107.5",'
        ' "confidence": 80.5, "max_entry_price": null, "invalidation": "below EMA50"}]}'
    )
    reply = parse_reply(text, SYMBOLS)
    assert reply.reasoning == "up"
    assert reply.decisions == (
        Decision(
            symbol=BTC,
            action=Action.OPEN_LONG,
            leverage=3,
            position_size_usd=Decimal("500.10"),
            stop_loss=Decimal("0.1234567890123456789"),
            take_profit=Decimal("107.5"),
            confidence=Decimal("80.5"),
            invalidation="below EMA50",
        ),
    )
    assert str(reply.decisions[0].position_size_usd) == "500.10"


def test_a_stated_risk_of_nothing_voids_no_order() -> None:
    assert only(open_item(risk_usd=0)).risk_usd == 0
    assert "decisions[0].risk_usd" in errors_of(open_item(risk_usd=-1))


def test_one_bad_item_is_left_out_alone() -> None:
    reply = parse_reply(reply_text(open_item(), {"symbol": SOL, "action": "hold"}, open_item(stop_loss="~98")), SYMBOLS)
    assert [decision.action for decision in reply.decisions] == [Action.OPEN_LONG, Action.HOLD]
    assert [error.path for error in reply.errors] == ["decisions[2].stop_loss"]
    assert '"~98"' in reply.errors[0].message
    assert reply.usable


@pytest.mark.parametrize(
    "value", ["~100", "1,000", "1_000", " 100", "\uff11\uff10\uff10", "100 USD", "", "0x10", "+5", "1e", True, [], {}]
)
def test_a_number_as_prose_is_an_error(value: object) -> None:
    assert list(errors_of(open_item(position_size_usd=value))) == ["decisions[0].position_size_usd"]


@pytest.mark.parametrize(
    "literal", ["NaN", "Infinity", "-Infinity", "1e400", "1e99999999999999999999", "9" * 5000, "1e16"]
)
def test_what_is_no_finite_size_costs_only_its_item(literal: str) -> None:
    good = json.dumps({"symbol": SOL, "action": "wait"})
    bad = json.dumps(open_item(stop_loss="@")).replace('"@"', literal)
    reply = parse_reply(f'{{"decisions": [{bad}, {good}]}}', SYMBOLS)
    assert [decision.symbol for decision in reply.decisions] == [SOL]
    assert [error.path for error in reply.errors] == ["decisions[0].stop_loss"]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"leverage": 0}, "leverage"),
        ({"leverage": 2.5}, "leverage"),
        ({"leverage": "3x"}, "leverage"),
        ({"leverage": "2.5"}, "leverage"),
        ({"leverage": ...}, "leverage"),
        ({"position_size_usd": 0}, "position_size_usd"),
        ({"position_size_usd": -5}, "position_size_usd"),
        ({"position_size_usd": ...}, "position_size_usd"),
        ({"confidence": 100.1}, "confidence"),
        ({"confidence": -1}, "confidence"),
        ({"confidence": ...}, "confidence"),
        ({"stop_loss": 0}, "stop_loss"),
        ({"take_profit": -1}, "take_profit"),
        ({"fraction": 0.5}, "fraction"),
        ({"target_quantity": 1}, "target_quantity"),
        ({"action": "buy"}, "action"),
        ({"action": "OPEN_LONG"}, "action"),
        ({"action": ...}, "action"),
        ({"symbol": "BTC"}, "symbol"),
        ({"symbol": BTC + "\x00"}, "symbol"),
        ({"symbol": BTC.lower()}, "symbol"),
        ({"symbol": 7}, "symbol"),
        ({"stoploss": 98}, "stoploss"),
        ({"reasoning": 5}, "reasoning"),
        ({"symbol": BTC, "action": "close_long", "position_size_usd": 100}, "position_size_usd"),
        ({"action": "close_long", "position_size_usd": ..., "fraction": 0}, "fraction"),
        ({"action": "close_long", "position_size_usd": ..., "fraction": 1.01}, "fraction"),
        ({"action": "adjust_stop", "stop_loss": ..., "take_profit": ...}, "stop_loss"),
        ({"action": "target", "leverage": "x"}, "leverage"),
    ],
)
def test_a_field_against_the_contract_is_named(changes: dict[str, object], path: str) -> None:
    assert f"decisions[0].{path}" in errors_of(open_item(**changes))


def test_the_stop_and_take_profit_of_an_open_are_left_to_the_risk_checks() -> None:
    decision = only(open_item(stop_loss=..., take_profit=None))
    assert (decision.stop_loss, decision.take_profit) == (None, None)


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert only(open_item(leverage=5.0)).leverage == 5
    assert only(open_item(leverage="5")).leverage == 5


def test_a_close_takes_a_fraction_and_nothing_of_an_open() -> None:
    item = {"symbol": BTC, "action": "close_short", "fraction": "0.25", "stop_loss": 90, "leverage": 4}
    assert only(item) == Decision(symbol=BTC, action=Action.CLOSE_SHORT, fraction=Decimal("0.25"))
    assert only({"symbol": BTC, "action": "close_long"}).fraction == 1


@pytest.mark.parametrize("quantity", ["-0.5", "0", "2"])
def test_a_target_position_is_for_strategies_and_no_model_states_one(quantity: str) -> None:
    item = {"symbol": BTC, "action": "target", "target_quantity": quantity}
    judged = decision_from_mapping(item, "decisions[0]", SYMBOLS)
    assert isinstance(judged, Decision)
    assert judged.target_quantity == Decimal(quantity)
    assert list(errors_of(item)) == ["decisions[0].action"]


def test_an_adjustment_needs_one_price() -> None:
    assert only({"symbol": BTC, "action": "adjust_stop", "take_profit": 120}).take_profit == 120


def test_a_field_given_twice_voids_its_item() -> None:
    twice = '{"symbol": "BTC/USDT:USDT", "action": "close_long", "fraction": 0.1, "fraction": 1}'
    reply = parse_reply(f'{{"decisions": [{twice}]}}', SYMBOLS)
    assert [(error.path, "fraction" in error.message) for error in reply.errors] == [("decisions[0]", True)]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", "reply"),
        ("I would buy BTC.", "reply"),
        ("```json\n{}\n```", "reply"),
        ('{"decisions": [}', "reply"),
        ("[]", "reply"),
        ("null", "reply"),
        ("[" * 100_000, "reply"),
        ('{"decisions": [], "decisions": []}', "reply"),
        ("{}", "decisions"),
        ('{"decisions": null}', "decisions"),
        ('{"decisions": {"symbol": "BTC/USDT:USDT"}}', "decisions"),
        (reply_text(*[{"symbol": BTC, "action": "hold"}] * (MAX_ITEMS + 1)), "decisions"),
    ],
)
def test_a_reply_that_is_no_batch_is_invalid_as_a_whole(text: str, path: str) -> None:
    reply = parse_reply(text, SYMBOLS)
    assert (reply.usable, reply.decisions) == (False, ())
    assert [error.path for error in reply.errors] == [path]


def test_wanting_nothing_is_a_valid_reply() -> None:
    reply = parse_reply('{"reasoning": "flat", "decisions": []}', SYMBOLS)
    assert (reply.usable, reply.decisions, reply.errors) == (True, (), ())


def test_orders_outside_the_list_are_not_taken() -> None:
    reply = parse_reply(json.dumps({"decisions": [], "decision": open_item()}), SYMBOLS)
    assert reply.decisions == ()
    assert not reply.usable
    assert [error.path for error in reply.errors] == ["decision"]


@pytest.mark.parametrize("symbol", ["DOGE/USDT:USDT", "ETH/USDC", "1000PEPE/USDT:USDT", "BTC/USDC:USDC"])
def test_a_well_formed_symbol_of_others_is_left_to_the_risk_checks(symbol: str) -> None:
    assert only(open_item(symbol=symbol)).symbol == symbol


@pytest.mark.parametrize(
    "symbol",
    ["BTCUSDT", "BTC/USDT", "btc/usdt:usdt", "BTC/USDT:USDC", "DOGE", "doge/usdt", "DOGE/USDT:USDT:X", "A" * 21 + "/B"],
)
def test_another_spelling_or_no_symbol_at_all_is_an_error(symbol: str) -> None:
    assert list(errors_of(open_item(symbol=symbol))) == ["decisions[0].symbol"]


@pytest.mark.parametrize(
    ("item", "lost"),
    [
        ({"symbol": BTC, "action": "close_long", "fraction": "half"}, True),
        ({"symbol": BTC, "action": "CLOSE"}, True),
        ({"symbol": BTC, "action": "adjust_stop"}, True),
        ({"symbol": BTC, "action": "update_stop_loss", "stop_loss": 98}, True),
        (open_item(leverage=0), False),
        ({"symbol": BTC, "action": "hold", "why": 1}, False),
        (7, False),
    ],
)
def test_a_lost_close_or_stop_is_marked(item: object, lost: bool) -> None:
    assert parse_reply(reply_text(item, {"symbol": SOL, "action": "hold"}), SYMBOLS).lost_exit is lost


def test_a_flood_of_unknown_keys_is_counted_and_not_listed() -> None:
    keys = {f"k{number}": 1 for number in range(3_000)}
    reply = parse_reply(json.dumps({**keys, "decisions": []}), SYMBOLS)
    assert len(reply.errors) == MAX_ERRORS + 1
    assert reply.errors[-1].message == f"and {3_000 - MAX_ERRORS} more errors"
    (*_, last) = parse_reply(reply_text({**open_item(), **keys}), SYMBOLS).errors
    assert last == ItemError(path="decisions[0]", message=f"and {3_000 - MAX_ERRORS_OF_ITEM} more errors")


def test_a_reply_beyond_the_limit_is_not_read() -> None:
    sound = reply_text({"symbol": SOL, "action": "hold"})
    assert parse_reply(sound + " " * (MAX_REPLY - len(sound)), SYMBOLS).usable
    reply = parse_reply(sound + " " * (MAX_REPLY - len(sound) + 1), SYMBOLS)
    assert (reply.usable, reply.decisions) == (False, ())
    assert str(MAX_REPLY) in reply.errors[0].message


def test_text_that_a_database_refuses_is_cleaned() -> None:
    decision = only(open_item(reasoning="a\x00b\ud800c"))
    assert decision.reasoning == "ab?c"


def test_the_schema_is_strict_and_names_what_the_parser_knows() -> None:
    schema = json_schema(SYMBOLS)
    known = set(Decision.__dataclass_fields__)
    variants = schema["properties"]["decisions"]["items"]["anyOf"]
    actions = [action for variant in variants for action in variant["properties"]["action"]["enum"]]
    assert sorted(actions) == sorted(set(Action) - {Action.TARGET})
    for variant in [schema, *variants]:
        assert variant["additionalProperties"] is False
        assert variant["required"] == list(variant["properties"])
    for variant in variants:
        assert set(variant["properties"]) <= known
        assert variant["properties"]["symbol"]["enum"] == sorted(SYMBOLS)
    json.dumps(schema)


def test_what_follows_the_schema_with_nulls_is_accepted() -> None:
    for variant in json_schema(SYMBOLS)["properties"]["decisions"]["items"]["anyOf"]:
        for action in variant["properties"]["action"]["enum"]:
            item = {name: _least(field) for name, field in variant["properties"].items()} | {"action": action}
            if action == Action.ADJUST_STOP:
                item["stop_loss"] = 95
            assert only(item).action == action


def _least(field: dict[str, object]) -> object:
    kinds = {"string": "text", "number": 1, "integer": 1}
    enum = field.get("enum")
    if isinstance(enum, list):
        return enum[0]
    return kinds[field["type"]] if isinstance(field["type"], str) else None
