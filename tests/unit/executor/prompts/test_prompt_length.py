"""A prompt keeps its token budget, says what it left out, and shares its beginning with the next one."""

import os
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import takewhile
from pathlib import Path

import pytest

from executor.contract import Context, Details, Limits, RenderedPrompt
from executor.errors import PromptError
from executor.prompts.files import TOKEN_BUDGET
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import SampleView, sample_context
from executor.prompts.tokens import estimate_tokens, sections
from executor.prompts.values import CUTS, cut_steps

FOLDER = Path(__file__).parents[4] / "prompts"
TEMPLATES = sorted(path.name for path in FOLDER.glob("[a-z]*.md"))


def render(budget: int | None = None, context: Context | None = None) -> RenderedPrompt:
    return PromptLibrary(FOLDER).render("general.md", context or sample_context(), token_budget=budget)


def test_a_prompt_within_its_budget_is_whole() -> None:
    prompt = render()
    assert prompt.cuts == ()
    assert prompt.tokens == estimate_tokens(prompt.system) + estimate_tokens(prompt.user) <= TOKEN_BUDGET


def test_cuts_are_made_in_their_order_and_only_as_far_as_needed() -> None:
    names = tuple(name for name, _ in CUTS)
    whole = render()
    seen = set()
    for budget in range(whole.tokens, 0, -10):
        try:
            prompt = render(budget)
        except PromptError:
            break
        assert prompt.tokens <= budget
        assert prompt.cuts == names[: len(prompt.cuts)]
        seen.add(len(prompt.cuts))
        assert prompt.system == whole.system
        for kept in ("958.33", "short 1.25 at 101.5", "COOLDOWN", "EMA20 99.8", "mark 100", "entries this hour 2"):
            assert kept in prompt.user
    assert {0, 1, 2, 3, 4, len(names)} <= seen


def test_every_cut_takes_something_away() -> None:
    shown = [step for _, step in cut_steps()]
    assert len({*shown}) == len(CUTS) + 1


def test_a_prompt_that_cannot_be_cut_enough_is_an_error_that_says_how_long_it_is() -> None:
    with pytest.raises(PromptError, match=r"about \d+ tokens .* over its 100; raise `token_budget`"):
        render(100)


def test_the_header_may_set_the_budget(tmp_path: Path) -> None:
    text = (FOLDER / "general.md").read_text(encoding="utf-8").replace("version: 3", "version: 3\ntoken_budget: 2500")
    (tmp_path / "general.md").write_text(text, encoding="utf-8")
    for part in ("_rules.md", "_data.md"):
        (tmp_path / part).write_text((FOLDER / part).read_text(encoding="utf-8"), encoding="utf-8")
    prompts = PromptLibrary(tmp_path)
    assert prompts.header("general.md").token_budget == 2500
    assert prompts.render("general.md", sample_context()).cuts[0] == "long candles"
    (tmp_path / "general.md").write_text(text.replace("2500", "many"), encoding="utf-8")
    with pytest.raises(PromptError, match="line 5: token_budget of the header is not a whole number"):
        PromptLibrary(tmp_path).header("general.md")


@pytest.mark.parametrize("template", TEMPLATES)
def test_consecutive_prompts_share_all_that_is_static(template: str) -> None:
    context = sample_context()
    one, other = (PromptLibrary(FOLDER).render(template, at) for at in (context, _three_minutes_later(context)))
    pairs = zip(one.system + one.user, other.system + other.user, strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    assert one.system == other.system
    assert len(one.system) > 3_900
    assert shared >= len(one.system) + 300
    assert "2025-01-15 12:00" not in one.system


@pytest.mark.parametrize("template", TEMPLATES)
def test_traders_with_other_limits_share_the_form_of_the_answer(template: str) -> None:
    library = PromptLibrary(FOLDER)
    one, other = (library.render(template, sample_context(limits=Limits(max_positions=most))).system for most in (3, 4))
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    assert shared > one.index("## Limits") > 2_500


def test_what_was_cut_is_not_said_to_be_none() -> None:
    whole, cut = render(), render(2_260)
    assert "closed trades" in cut.cuts
    assert "closes" in cut.cuts
    for prompt, told in ((whole, 0), (cut, 1)):
        start = prompt.user.index("## Your closed trades")
        assert prompt.user[start : prompt.user.index("##", start + 3)].count("(left out)") == told
        assert prompt.user.count("closes: (left out)") == 2 * told
    bare = replace(sample_context(), details=replace(_details(), trades=()))
    assert "funding)\n\nNone.\n" in render(context=bare).user


def test_candles_shorter_than_a_minute_are_told_apart() -> None:
    views = sample_context().market
    short = {
        symbol: SampleView(symbol=symbol, mark=view.mark, indicators=view.indicators, base_s=15.0)
        for symbol, view in views.items()
    }
    user = render(context=replace(sample_context(), market=short)).user
    lines = [line for line in user.splitlines() if line.startswith("01-15 ")]
    assert len({line.split()[1] for line in lines}) > 20
    assert "01-15 11:59:45 " in user


def test_a_check_for_a_trader_renders_as_many_symbols_as_it_has() -> None:
    library = PromptLibrary(FOLDER)
    library.check("general.md", [f"C{number}/USDT:USDT" for number in range(6)])
    with pytest.raises(PromptError, match=r"tokens long for 80 symbols with everything cut, over its 12000"):
        library.check("general.md", [f"C{number}/USDT:USDT" for number in range(80)])


def test_a_check_is_made_anew_when_the_template_has_changed(tmp_path: Path) -> None:
    for path in FOLDER.glob("*.md"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    library, symbols = PromptLibrary(tmp_path), [f"C{number}/USDT:USDT" for number in range(30)]
    library.check("general.md", symbols)
    text = (tmp_path / "general.md").read_text(encoding="utf-8")
    (tmp_path / "general.md").write_text(text.replace("version: 3", "version: 3\ntoken_budget: 3000"), encoding="utf-8")
    with pytest.raises(PromptError, match="over its 3000"):
        library.check("general.md", symbols)


def test_tokens_of_the_sections_add_up() -> None:
    user = render().user
    parts = sections(user)
    assert sum(part.characters for part in parts) == len(user)
    assert abs(sum(part.tokens for part in parts) - estimate_tokens(user)) <= len(parts)
    assert [part.name for part in parts][-1] == "Now"
    assert sections("no heading")[0].name == "(before the first heading)"
    assert sections("") == ()


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("", 0, 0),
        ("hello world", 2, 3),
        ("rose to 42", 4, 5),
        ("101250.5", 8, 8),
        ("国家队", 3, 3),
        ("\n\n\n", 1, 1),
        ("a" * 700, 90, 120),
    ],
)
def test_an_estimate_is_in_range(text: str, least: int, most: int) -> None:
    assert least <= estimate_tokens(text) <= most


def test_a_template_replaced_by_one_of_the_same_age_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "own.md"
    head = "---\nversion: 1\ndescription: d\n---\n{% block user %}u{% endblock %}"
    path.write_text(head + "{% block system %}old{% endblock %}", encoding="utf-8")
    os.utime(path, ns=(10**18, 10**18))
    prompts = PromptLibrary(tmp_path)
    assert prompts.render("own.md", sample_context()).system == "old"
    path.write_text(head + "{% block system %}newer{% endblock %}", encoding="utf-8")
    os.utime(path, ns=(10**18, 10**18))
    assert prompts.render("own.md", sample_context()).system == "newer"


def _details() -> Details:
    details = sample_context().details
    assert details is not None
    return details


def _three_minutes_later(context: Context) -> Context:
    return replace(
        context,
        now=context.now + timedelta(minutes=3),
        account=replace(context.account, equity=context.account.equity + 1),
        positions=(replace(context.positions[0], mark=Decimal("99.5")),),
        market={
            symbol: SampleView(symbol=symbol, mark=view.mark + 1, indicators=view.indicators)
            for symbol, view in context.market.items()
        },
    )
