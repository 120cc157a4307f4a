"""What a configured executor is given: a deadline before its claim goes stale, and a key for its own endpoint only."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from config_files import changed, write_config
from executor.executor import LLMExecutor
from executor.registry import ExecutorParts, ModelClients
from manager.bootstrap.executors import ConfiguredExecutors, Unusable, longest_decision_s
from manager.config import Config, load_config
from manager.state.records import DEFAULT_TENANT
from traders.spec import TraderSpec

OWN = "{type: llm, model: m, base_url: 'https://llm.example.com/v1', api_key: '${MODEL_KEY}'%s}"
PROMPT = "\n    prompt_template: prompts/general.md"
Load = Callable[[str], Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def read(more: str) -> Config:
        text = changed("{type: baseline, style: trend}", OWN % more + PROMPT)
        return load_config(write_config(tmp_path, text), {"MODEL_KEY": "sk-hidden"})

    return read


def executors(config: Config) -> ConfiguredExecutors:
    parts = ExecutorParts(prompts=config.prompt_library(), clients=ModelClients(), monotonic=lambda: 0.0)
    return ConfiguredExecutors(config, parts)


def first(config: Config) -> TraderSpec:
    return config.tenants[DEFAULT_TENANT].traders[0]


def test_a_claim_lasts_as_long_as_the_longest_executor_needs(load: Load) -> None:
    assert longest_decision_s(load("")) == 30.0
    assert longest_decision_s(load(", timeout: 5s")) == 30.0
    assert longest_decision_s(load(", timeout: 300s")) == 300.0


def test_no_executor_from_elsewhere_takes_longer(load: Load) -> None:
    config = load(", timeout: 45s")
    spec = first(config)
    for given_s, expected_s in ((45.0, 45.0), (20.0, 20.0), (3600.0, 45.0)):
        executor = executors(config).of(
            DEFAULT_TENANT, replace(spec, executor=replace(spec.executor, timeout_s=given_s))
        )
        assert isinstance(executor, LLMExecutor)
        assert executor._timeout_s == expected_s


def test_a_key_goes_to_the_endpoint_for_which_the_config_gives_it_and_no_other(load: Load) -> None:
    config = load("")
    spec = first(config)
    kept = replace(spec.executor, api_key="")
    assert isinstance(executors(config).of(DEFAULT_TENANT, replace(spec, executor=kept)), LLMExecutor)
    moved = replace(spec, executor=replace(kept, base_url="https://other.example.com/v1"))
    assert isinstance(executors(config).of(DEFAULT_TENANT, moved), Unusable)
