"""However a reply is built, the effort of reading it is bounded, and the library that mends it is watched."""

from typing import Any

import pytest

from executor.errors import ReplySyntaxError
from executor.reply.lexer import TOO_LONG, Ending, Lexed, Source, lex
from executor.reply.loose import After, find_batch
from executor.reply.parser import MAX_REPLY
from executor.reply.text import RepeatedKeys

_LONG = MAX_REPLY - 10_000


class Counted(str):
    """A key that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        return str.__hash__(self)


def test_repeated_keys_are_counted_and_not_compared_each_with_each() -> None:
    pairs: list[tuple[str, object]] = [(Counted(f"k{number}"), 1) for number in range(1_500)]
    pairs.append((Counted("k7"), 2))
    Counted.compared = 0
    assert RepeatedKeys(pairs).names == ["k7"]
    assert Counted.compared < 20_000


def test_many_short_values_of_many_tokens_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[int] = []

    def counted(source: Source, start: int) -> Lexed:
        starts.append(start)
        return lex(source, start)

    monkeypatch.setattr("executor.reply.loose.lex", counted)
    with pytest.raises(ReplySyntaxError, match=TOO_LONG):
        find_batch('{"' * 45_000)
    assert len(starts) < 1_000


@pytest.mark.parametrize("start", ["[“", "[//"])
def test_a_value_that_is_scanned_to_the_end_again_and_again_is_given_up(start: str) -> None:
    with pytest.raises(ReplySyntaxError, match=TOO_LONG):
        find_batch(start * 600 + "a" * _LONG)


def test_a_comment_that_never_ends_is_looked_for_once() -> None:
    class Watched(str):
        """A text that counts how often its end of comment is looked for."""

        __slots__ = ()
        looked = 0

        def index(self, *arguments: Any) -> int:
            Watched.looked += 1
            return str.index(self, *arguments)

    source = Source(Watched("[/*" * 600 + "a" * 100))
    for number in range(600):
        assert lex(source, 3 * number).ending is not Ending.COMPLETE
    assert Watched.looked == 0


def test_a_flood_of_brackets_and_of_tokens_is_given_up() -> None:
    for text in ("[ x ] " * 3_500, "[1" + ",1" * 15_000 + ",]"):
        with pytest.raises(ReplySyntaxError, match=TOO_LONG):
            find_batch(text)


def test_depth_is_bounded() -> None:
    assert lex(Source("[" * 33), 0).ending is Ending.BROKEN
    assert lex(Source("[" * 32), 0).ending is Ending.CUT


def test_a_value_that_the_library_leaves_out_at_the_end_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '{"decisions": [{"symbol": "SOL/USDT:USDT", "action": "close_long", "fraction": 0.5}],}'
    assert find_batch(text).value["decisions"]
    short = {"s0": [{"s1": "s2", "s3": "s4"}]}
    monkeypatch.setattr("executor.reply.loose.json_repair.loads", lambda skeleton: short)
    with pytest.raises(ReplySyntaxError, match="unclear which value"):
        find_batch(text)


def test_a_long_text_after_the_batch_is_not_judged() -> None:
    batch = '{"decisions": [{"symbol": "SOL/USDT:USDT", "action": "close_long"}]}'
    assert find_batch(batch + "\n" * _LONG).after is After.NOTHING
    assert find_batch(batch + "\nThe trend is up." * 10).after is After.WORDS
    assert find_batch(batch + "\nThe trend is up." * 5_000).after is After.RETRACTION
