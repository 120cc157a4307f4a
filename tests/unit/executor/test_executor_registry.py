"""A spec becomes its executor, or one message that says what to change."""

from pathlib import Path

import pytest

from executor.baseline.executor import BaselineExecutor
from executor.errors import ExecutorConfigError, PromptError
from executor.executor import LLMExecutor
from executor.models.chat import ModelEndpoint
from executor.prompts.library import PromptLibrary
from executor.recordings.decisions import RecordedExecutor
from executor.registry import ExecutorParts, ExecutorSpec, ExecutorType, ModelClients, build_executor

PARTS = ExecutorParts(
    prompts=PromptLibrary(Path(__file__).parents[3] / "prompts"),
    clients=ModelClients(),
    monotonic=lambda: 0.0,
    recorded={},
)


def spec(**changes: object) -> ExecutorSpec:
    values = {
        "type": ExecutorType.LLM,
        "base_url": "http://127.0.0.1:9/v1",
        "api_key": "secret-key",
        "model": "tiny",
        "prompt_template": "general.md",
        **changes,
    }
    return ExecutorSpec(**values)  # type: ignore[arg-type]  # wrong values are the point


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (ExecutorType.BASELINE, BaselineExecutor),
        (ExecutorType.RECORDED, RecordedExecutor),
        (ExecutorType.LLM, LLMExecutor),
    ],
)
def test_each_type_is_built(kind: ExecutorType, expected: type) -> None:
    assert isinstance(build_executor(spec(type=kind), PARTS), expected)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"type": "oracle"}, "'oracle'; expected one of baseline, llm, recorded"),
        ({"type": ExecutorType.BASELINE, "style": "yolo"}, "'yolo'; expected one of trend"),
        ({"base_url": ""}, "model 'tiny' is not under models of the config; expected one of: none"),
        ({"fallback": ("slow",)}, "model 'slow' is not under models"),
        ({"base_url": "http://10.0.0.1/v1"}, "allow_private: true"),
        ({"base_url": "https://me:pw@example.com/v1"}, "https://example.com/v1': must not carry a user"),
        ({"base_url": "api.example.com"}, "expected a URL such as"),
        ({"model": ""}, "model is empty"),
        ({"api_key": ""}, "name an environment variable"),
        ({"structured": "xml"}, "'xml'; expected one of json_schema"),
        ({"timeout_s": 0}, "expected a duration above 0"),
        ({"timeout_s": float("nan")}, "expected a duration above 0"),
        ({"prompt_template": ""}, "prompt_template is empty"),
    ],
)
def test_a_wrong_value_is_named_with_its_mend(changes: dict[str, object], told: str) -> None:
    with pytest.raises(ExecutorConfigError) as caught:
        build_executor(spec(**changes), PARTS)
    assert told in str(caught.value)
    assert "secret-key" not in str(caught.value)


def test_a_missing_template_is_found_before_anything_runs() -> None:
    with pytest.raises(PromptError, match="no such prompt template"):
        build_executor(spec(prompt_template="gone.md"), PARTS)


def test_a_recording_must_be_given() -> None:
    bare = ExecutorParts(prompts=PARTS.prompts, clients=PARTS.clients, monotonic=PARTS.monotonic)
    with pytest.raises(ExecutorConfigError, match="--decisions"):
        build_executor(spec(type=ExecutorType.RECORDED), bare)


def test_no_printed_form_shows_a_key() -> None:
    endpoint = ModelEndpoint(base_url="http://127.0.0.1:9", model="tiny", api_key="secret-key")
    assert "secret-key" not in f"{spec()!r}{endpoint!r}"
