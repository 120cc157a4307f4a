"""`propdesk prompts`: templates are listed, rendered for any context, and compared through a model."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from typer.testing import CliRunner, Result

from config_files import SOUND, changed, write_config
from executor.contract import Context
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context
from manager.cli import connect
from manager.cli.app import app
from manager.resources import resource
from manager.state.memory.store import MemoryStore
from manager.state.recorded import context_json, prompt_row
from manager.state.records import DEFAULT_TENANT, DecisionRow
from manager.state.store import Store
from openai_endpoint import Answer, says
from served_endpoint import served
from state_rows import AT, make_row, parents_of

T = TypeVar("T")
SECRET = "sk-hidden"
GENERAL, GRID = "prompts/general.md", "prompts/grid.md"


def propdesk(*arguments: str | Path, env: dict[str, str] | None = None) -> Result:
    result = CliRunner(env={"MODEL_KEY": SECRET, **(env or {})}).invoke(app, ["prompts", *map(str, arguments)])
    assert result.exit_code in (0, 1, 2), result.exception
    assert SECRET not in result.output
    return result


def read(*arguments: str | Path) -> Any:
    result = propdesk(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """A desk whose trader `one` has decided three times, the last time without a context."""
    memory = MemoryStore()
    prompt = PromptLibrary(resource("prompts")).render(GENERAL, _context(1))

    async def fill() -> None:
        rows = [
            make_row(
                DecisionRow,
                decision_id=f"one@{minute}",
                trader_id="one",
                decided_at=AT.replace(minute=minute),
                prompt_hash="" if minute == 3 else "f" * 64,
                attempts=minute,
                context=None if minute > 2 else _context(minute),
            )
            for minute in (1, 2, 3, 4)
        ]
        prompts = [prompt_row(rows[0], prompt), prompt_row(rows[3], replace(prompt, user="a:warning:\tb [red]"))]
        async with memory.service() as service:
            await service.ensure_tenant(DEFAULT_TENANT)
        async with memory.transaction(DEFAULT_TENANT) as tx:
            await tx.insert([*parents_of(rows[0]), *rows, *prompts])

    asyncio.run(fill())

    def with_memory(data_dir: Path, work: Callable[[Store], Awaitable[T]]) -> T:
        async def run() -> T:
            return await work(memory)

        return asyncio.run(run())

    monkeypatch.setattr(connect, "with_store", with_memory)
    return memory


def test_templates_are_listed_with_who_uses_them(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    text = (resource("prompts") / "grid.md").read_text(encoding="utf-8").replace("version: 3", "version: 41")
    (tmp_path / "prompts" / "mine.md").write_text(text, encoding="utf-8")
    for part in ("_rules.md", "_data.md"):
        (tmp_path / "prompts" / part).write_bytes((resource("prompts") / part).read_bytes())
    (tmp_path / "prompts" / "notes.md").write_text("# No template\n", encoding="utf-8")
    own = changed(
        "{type: baseline, style: trend}", "{type: baseline, style: trend}\n    prompt_template: prompts/mine.md"
    )
    found = {one["template"]: one for one in read("list", "-c", write_config(tmp_path, own))["templates"]}
    assert set(found) >= {"prompts/mine.md", GENERAL, GRID}
    assert "prompts/notes.md" not in found
    assert (found["prompts/mine.md"]["version"], found["prompts/mine.md"]["traders"]) == (41, ["one"])
    assert found[GENERAL]["tokens"] > 1_000


def test_a_made_up_context_is_rendered_without_a_desk() -> None:
    found = read("render", GENERAL)
    assert found["tokens"] == pytest.approx(
        sum(s["tokens"] for part in found["sections"].values() for s in part), abs=9
    )
    assert found["cuts"] == []
    text = propdesk("render", GENERAL, "--token-budget", "2600").stdout
    assert "tokens of 2,600; cut: long candles" in text


@pytest.mark.usefixtures("store")
def test_the_last_stored_context_of_a_trader_is_rendered_and_saved(tmp_path: Path) -> None:
    saved = tmp_path / "contexts.jsonl"
    found = read("render", GRID, "--trader", "one", "--save", saved)
    assert "2025-01-15 12:02:00 UTC" in found["user"]
    again = read("render", GRID, "--contexts", saved)
    assert again["sha256"] == found["sha256"]


@pytest.mark.usefixtures("store")
def test_the_prompt_of_a_decision_is_shown_as_it_was_sent() -> None:
    found = read("sent", "one@1")
    assert "2025-01-15 12:01:00 UTC" in found["user"]
    assert "The reply was not valid" not in propdesk("sent", "one@1").stdout


@pytest.mark.usefixtures("store")
def test_a_prompt_is_printed_to_the_letter_and_a_second_question_is_told() -> None:
    shown = propdesk("sent", "one@4").stdout
    assert "\na:warning:\tb [red]\n" in shown
    assert "this prompt was sent again, with that reply" in shown
    assert read("sent", "one@4")["attempts"] == 4


@pytest.mark.usefixtures("store")
def test_a_prompt_that_is_not_kept_is_told_from_a_decision_that_is_not_known(tmp_path: Path) -> None:
    path = write_config(tmp_path, changed("manager:", "data: {prompt_retention: 2h}\nmanager:"))
    for decision, told in (
        ("one@2", "older than data.prompt_retention (2h)"),
        ("one@3", "because no model was asked"),
        ("nope", "there is no decision 'nope'"),
    ):
        gone = propdesk("sent", decision, "-c", path)
        assert (gone.exit_code, told in gone.stderr) == (2, True), gone.stderr


def test_a_broken_template_is_listed_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "broken.md").write_text("---\nversion: 1\n", encoding="utf-8")
    (tmp_path / "prompts" / "binary.md").write_bytes(b"---\xff")
    path = write_config(tmp_path)
    found = {one["template"]: one for one in read("list", "-c", path)["templates"]}
    assert "line 2: the header is not closed" in found["prompts/broken.md"]["error"]
    assert "UTF-8" in found["prompts/binary.md"]["error"]
    assert found[GENERAL]["error"] is None
    assert "cannot be used" in propdesk("list", "-c", path).stdout


def test_no_other_file_is_rendered_or_quoted(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    path.write_text(f"---\nkey {SECRET}\n", encoding="utf-8")
    for name in (path.name, f"prompts/../{path.name}", str(path)):
        result = propdesk("render", name)
        assert (result.exit_code, "no such prompt template" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"now": datetime(2025, 1, 15, 12)}, "context.now"),  # noqa: DTZ001 - a naive time is the point
        ({"symbols": ()}, "a context without symbols"),
    ],
)
def test_a_recorded_context_that_cannot_be_is_told(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    saved = tmp_path / "contexts.jsonl"
    saved.write_text(context_json(replace(sample_context(), **change)) + "\n", encoding="utf-8")
    result = propdesk("render", GENERAL, "--contexts", saved)
    assert (result.exit_code, told in result.stderr) == (2, True), result.stderr


@pytest.mark.usefixtures("store")
def test_a_comparison_in_which_nothing_was_decided_says_why_and_fails(tmp_path: Path) -> None:
    models = "models:\n  m: {base_url: 'http://127.0.0.1:9/v1', model: tiny, api_key: '${MODEL_KEY}'}\n"
    path = write_config(tmp_path, models + SOUND)
    result = propdesk("diff", GENERAL, GRID, "--trader", "one", "--model", "m", "-c", path)
    assert result.exit_code == 1
    assert f"{GENERAL}: unavailable: " in result.stdout
    assert "no context on which both templates decided" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["render", "prompts/gone.md"], "no such prompt template"),
        (["render", GENERAL, "--token-budget", "50"], "over its 50"),
        (["render", GENERAL, "--contexts", "gone.jsonl"], "gone.jsonl cannot be read"),
        (["render", GENERAL, "--trader", "nobody"], "there is no trader 'nobody'"),
        (["render", GENERAL, "--trader", "one", "--contexts", "x"], "give one of them"),
        (["diff", GENERAL, GRID, "-c", "CONFIG"], "nobody is named to decide"),
        (["diff", GENERAL, GRID, "-c", "CONFIG", "--style", "moon"], "'moon'"),
        (["diff", GENERAL, GRID, "-c", "CONFIG", "--model", "moon"], "model 'moon' is not under models"),
        (["diff", GENERAL, GRID, "-c", "CONFIG", "--model", "m", "--style", "trend"], "give one of them"),
    ],
)
@pytest.mark.usefixtures("store")
def test_bad_input_is_told(tmp_path: Path, arguments: list[str], told: str) -> None:
    path = write_config(tmp_path)
    result = propdesk(*(str(path) if argument == "CONFIG" else argument for argument in arguments))
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_broken_line_of_recorded_contexts_is_named(tmp_path: Path) -> None:
    saved = tmp_path / "contexts.jsonl"
    saved.write_text(context_json(_context(1)) + "\n\n{}\n", encoding="utf-8")
    result = propdesk("render", GENERAL, "--contexts", saved)
    assert (result.exit_code, "line 3: no recorded context" in result.stderr) == (2, True)


@pytest.mark.usefixtures("store")
def test_two_templates_are_compared_through_a_model(tmp_path: Path) -> None:
    models = (
        "models:\n  m: {base_url: %r, model: tiny, api_key: '${MODEL_KEY}', price_per_mtok: {input: 2, output: 10}}\n"
    )
    with served(_by_template) as fake:
        path = write_config(tmp_path, models % fake.base_url + SOUND)
        found = read("diff", GENERAL, GRID, "--trader", "one", "--model", "m", "-c", path)
        asked = len(fake.requests)
    assert (found["contexts"], asked) == (2, 4)
    assert [(row["symbol"], row["first"], row["second"], row["verdict"]) for row in found["rows"]] == [
        ("BTC/USDT:USDT", "close_short", "-", "differs"),
        ("SOL/USDT:USDT", "-", "-", "same"),
    ] * 2
    assert found["agreement_pct"] == 50.0
    assert found["first"]["outcomes"] == found["second"]["outcomes"] == {"decided": 2}
    assert float(found["first"]["cost_usd"]) > 0
    assert found["first"]["input_tokens"] > 0


@pytest.mark.usefixtures("store")
def test_a_baseline_is_a_free_trial_run(tmp_path: Path) -> None:
    found = read("diff", GENERAL, GRID, "--trader", "one", "--style", "trend", "-c", write_config(tmp_path))
    assert (found["contexts"], found["agreement_pct"], found["first"]["cost_usd"]) == (2, 100.0, "0")
    text = propdesk("diff", GENERAL, GRID, "--style", "trend", "-c", write_config(tmp_path)).stdout
    assert "A baseline reads no prompt" in text
    assert "  verdict" in text
    assert "Agreement: 100.0 % of 2 symbols in 1 context(s)" in text


def _context(minute: int) -> Context:
    plain = sample_context()
    return replace(plain, trader_id="one", now=plain.now.replace(minute=minute))


def _by_template(request: dict[str, Any]) -> Answer:
    grid = "range (grid) trader" in request["messages"][0]["content"]
    items = [] if grid else [{"symbol": "BTC/USDT:USDT", "action": "close_short", "fraction": 1, "reasoning": "x"}]
    return says(json.dumps({"reasoning": "x", "decisions": items}))
