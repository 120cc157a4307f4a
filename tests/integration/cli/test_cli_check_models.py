"""`propdesk check models` against endpoints on loopback."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from typer.testing import CliRunner, Result

from beside_command import beside
from config_files import SOUND, changed, write_config
from manager.cli.app import app
from openai_endpoint import Answer, endpoint, fails, says

GOOD = says('{"condition_of_service": "ready"}')


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Run an endpoint that gives one answer to everything."""
    with beside(endpoint(answer)) as fake:
        yield fake.base_url


def check(folder: Path, text: str, *arguments: str) -> Result:
    path = write_config(folder, text)
    runner = CliRunner(env={"MODEL_KEY": "sk-hidden"})
    return runner.invoke(app, ["check", "models", "-c", str(path), *arguments])


def models(url: str, other: str) -> str:
    return f"""\
models:
  good: {{base_url: "{url}", model: m1, price_per_mtok: {{input: 2, output: 10}}}}
  bad: {{base_url: "{other}", model: m2, api_key: "${{MODEL_KEY}}"}}
"""


def test_each_model_is_told_and_one_failure_is_exit_code_one(tmp_path: Path) -> None:
    with serving(GOOD) as good, serving(fails(401, "bad key sk-hidden")) as bad:
        result = check(tmp_path, models(good, bad) + SOUND)
    assert result.exit_code == 1
    assert "sk-hidden" not in result.output
    lines = result.stdout.splitlines()
    assert any(line.startswith("good") and " ok " in line and "schema followed" in line for line in lines)
    assert any(line.startswith("bad: failed: ") and "check the key" in line for line in lines)
    assert any(line.startswith("bad: note: no price_per_mtok") for line in lines)


def test_as_json(tmp_path: Path) -> None:
    own = "{type: llm, model: m3, api_key: '${MODEL_KEY}', base_url: '%s'}\n    prompt_template: prompts/general.md"
    with serving(GOOD) as good:
        text = models(good, good) + changed("{type: baseline, style: trend}", own % good)
        result = check(tmp_path, text, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["ok"] is True
    assert [model["name"] for model in found["models"]] == ["good", "bad", "trader one"]
    first = found["models"][0]
    assert first["structured"] == {"asked": "json_schema", "seen": "schema followed"}
    assert first["price_per_mtok"] == {"input": "2", "cached_input": "2", "output": "10"}
    assert (first["cost_usd"], first["tokens"]) == ("0.0003", {"input": 100, "output": 10})
    assert "sk-hidden" not in result.stdout


def test_a_config_without_models_has_nothing_to_check(tmp_path: Path) -> None:
    result = check(tmp_path, SOUND)
    assert (result.exit_code, "names no model" in result.stdout) == (0, True)


def test_a_config_with_a_mistake_is_bad_input(tmp_path: Path) -> None:
    result = check(tmp_path, "models: {a: {model: m, base_url: 'http://10.0.0.1/v1'}}\n" + SOUND)
    assert result.exit_code == 2
    assert "allow_private" in result.stderr
