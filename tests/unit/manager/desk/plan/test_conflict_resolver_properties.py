"""What holds for every set of entries, whatever the strategy."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from desk_factory import BTC, ETH, make_candidate, make_position, make_trader, make_view
from manager.desk.plan.conflict_resolver import resolve, strategy_of
from manager.desk.plan.outcomes import Candidate
from manager.desk.plan.values import AccountView, ConflictStrategy

NAMES = ("a", "b", "c", "d", "e")
SIZES = st.decimals(min_value=1, max_value=5000, places=2)


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    found = []
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=5)):
        for symbol in draw(st.lists(st.sampled_from([BTC, ETH]), unique=True, min_size=1)):
            confidence = draw(st.none() | st.integers(75, 79))
            candidate = make_candidate(
                name,
                draw(st.sampled_from([1, -1])),
                draw(SIZES),
                confidence=confidence,
                after_s=draw(st.integers(0, 2)),
                symbol=symbol,
            )
            found.append(candidate)
    return found


@st.composite
def desks(draw: st.DrawFn) -> AccountView:
    traders = []
    for name in NAMES:
        held = draw(st.sampled_from([0, 0, 0, 1, -1]))
        traders.append(make_trader(name, *([make_position(BTC, held)] if held else [])))
    return make_view(*traders, strategy=draw(st.sampled_from(ConflictStrategy)))


@given(view=desks(), entries=candidates(), data=st.data())
def test_the_order_of_the_input_is_irrelevant(view: AccountView, entries: list[Candidate], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(entries))
    assert resolve(view, entries, ()) == resolve(view, shuffled, ())


@given(view=desks(), entries=candidates())
def test_every_entry_is_kept_or_denied_and_none_grows(view: AccountView, entries: list[Candidate]) -> None:
    result = resolve(view, entries, ())
    out = [kept.intent.intent_id for kept in result.kept] + [denial.intent_id for denial in result.denials]
    assert sorted(out) == sorted(entry.intent.intent_id for entry in entries)
    asked = {entry.intent.intent_id: entry.size_usd for entry in entries}
    assert all(kept.size_usd <= asked[kept.intent.intent_id] for kept in result.kept)


@given(view=desks(), entries=candidates())
def test_only_net_leaves_two_directions_on_a_symbol(view: AccountView, entries: list[Candidate]) -> None:
    result = resolve(view, entries, ())
    if view.rules.conflict_strategy is ConflictStrategy.NET:
        assert len(result.kept) == len(entries)
        return
    for symbol in (BTC, ETH):
        assert len({kept.direction for kept in result.kept if kept.symbol == symbol}) <= 1


@given(view=desks(), entries=candidates())
def test_kept_entries_come_in_the_resolvers_order(view: AccountView, entries: list[Candidate]) -> None:
    rank = strategy_of(view.rules.conflict_strategy).rank
    ranks = [rank(kept) for kept in resolve(view, entries, ()).kept]
    assert ranks == sorted(ranks)


@given(entries=candidates())
def test_aggregate_keeps_the_imbalance_and_nothing_more(entries: list[Candidate]) -> None:
    result = resolve(make_view(strategy=ConflictStrategy.AGGREGATE), entries, ())
    for symbol in (BTC, ETH):
        asked = sum((e.direction * e.size_usd for e in entries if e.symbol == symbol), Decimal(0))
        left = sum((k.direction * k.size_usd for k in result.kept if k.symbol == symbol), Decimal(0))
        assert abs(left) <= abs(asked)
        assert abs(asked - left) < Decimal("1E-8") * 5
        assert left * asked >= 0
