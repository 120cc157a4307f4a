"""`models:` in a config: what it defines, who may use it, and each mistake with its line and mend."""

from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from config_files import SOUND, changed, write_config
from executor.models.chat import Structured
from executor.prompts.library import PromptLibrary
from executor.registry import ExecutorParts, ModelClients, build_executor
from manager.bootstrap.executors import ConfiguredExecutors, Unusable
from manager.config import Config, ConfigError, Problem, load_config, load_traders
from manager.config.models import differing_limits
from manager.errors import RegistrationError
from manager.resources import resource
from manager.roster.registration import registration_check
from manager.state.records import DEFAULT_TENANT, TenantId


class Mistake(NamedTuple):
    old: str
    new: str
    line: int
    field: str
    value: str
    mend: str


ENV = {"MODEL_KEY": "sk-hidden", "ACME_KEY": "sk-acme"}
MODELS = """\
models:
  fast:
    base_url: "https://api.example.com/v1"
    api_key: ${MODEL_KEY}
    model: small-1
    structured: json_object
    timeout: 20s
    max_concurrency: 8
    requests_per_minute: 60
    price_per_mtok: {input: 0.27, cached_input: 0.07, output: 1.1}
    extra_body: {temperature: 0.2, seed: 7, options: [1.5]}
  local: {base_url: "http://127.0.0.1:11434/v1", model: qwen3, price_per_mtok: {input: 0.1, output: 0.2}}
"""
ASKS = "{type: llm, model: fast, fallback: [local], timeout: 45s}\n    prompt_template: prompts/general.md"
ACME = """\
tenants:
  acme:
    models: {fast: {model: big-1, api_key: ${ACME_KEY}}}
    exchanges: {paper: {type: paper, market: {type: synthetic, seed: 7}}}
"""


def text_of(models: str = MODELS, asks: str = ASKS) -> str:
    return models + changed("{type: baseline, style: trend}", asks)


def load(folder: Path, text: str) -> Config:
    return load_config(write_config(folder, text), ENV)


def problems(folder: Path, text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as refused:
        load(folder, text)
    return list(refused.value.problems)


def test_a_model_is_read_as_it_is_written(tmp_path: Path) -> None:
    fast = load(tmp_path, text_of()).tenants[DEFAULT_TENANT].models["fast"]
    assert (fast.name, fast.max_concurrency, fast.requests_per_minute) == ("fast", 8, 60)
    assert fast.prices is not None
    assert (fast.prices.input, fast.prices.cached_input) == (Decimal("0.27"), Decimal("0.07"))
    at = fast.endpoint
    assert (at.base_url, at.model, at.structured) == ("https://api.example.com/v1", "small-1", Structured.JSON_OBJECT)
    assert (at.timeout_s, at.allow_private) == (20.0, False)
    assert at.extra_body == {"temperature": 0.2, "seed": 7, "options": [1.5]}
    assert [type(value) for value in at.extra_body.values()] == [float, int, list]


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    local = load(tmp_path, text_of()).tenants[DEFAULT_TENANT].models["local"]
    assert (local.endpoint.api_key, local.endpoint.timeout_s, local.requests_per_minute) == ("", 30.0, None)
    assert local.prices is not None
    assert local.prices.cached_input == Decimal("0.1")


def test_a_trader_names_its_models_in_order(tmp_path: Path) -> None:
    spec = load(tmp_path, text_of()).tenants[DEFAULT_TENANT].traders[0].executor
    assert (spec.model, spec.fallback, spec.base_url, spec.api_key) == ("fast", ("local",), "", "")
    assert spec.timeout_s == 45.0


def test_a_key_is_only_where_the_connection_is_opened(tmp_path: Path) -> None:
    config = load(tmp_path, text_of())
    assert config.tenants[DEFAULT_TENANT].models["fast"].endpoint.api_key == "${MODEL_KEY}"
    opened = config.models(DEFAULT_TENANT)
    assert (opened["fast"].endpoint.api_key, opened["local"].endpoint.api_key) == ("sk-hidden", "")
    for shown in (config, opened, config.tenants):
        assert "sk-hidden" not in repr(shown)


def test_a_tenant_has_its_own_models_and_no_others(tmp_path: Path) -> None:
    config = load(tmp_path, text_of() + ACME)
    acme = config.models(TenantId("acme"))
    assert [(name, profile.endpoint.model, profile.endpoint.api_key) for name, profile in acme.items()] == [
        ("fast", "big-1", "sk-acme")
    ]
    assert config.models(TenantId("nobody")) == {}
    trader = (
        "    traders:\n      - {id: a1, exchange: paper, executor: {type: llm, model: local}, decision_interval: 3m,"
    )
    rest = ' prompt_template: prompts/general.md, symbols: ["BTC/USDT:USDT"]}'
    told = problems(tmp_path, f"{text_of()}{ACME}{trader}{rest}\n")
    assert [problem.field for problem in told] == ["tenants.acme.traders[0].executor.model"]


def test_an_executor_is_built_from_names(tmp_path: Path) -> None:
    config = load(tmp_path, text_of())
    clients, prompts = ModelClients(), PromptLibrary(resource("prompts"))
    parts = ExecutorParts(prompts=prompts, clients=clients, monotonic=lambda: 0.0)
    spec = config.tenants[DEFAULT_TENANT].traders[0]
    executors = ConfiguredExecutors(config, parts)
    assert not isinstance(executors.of(DEFAULT_TENANT, spec), Unusable)
    assert isinstance(executors.of(TenantId("acme"), spec), Unusable)
    with pytest.raises(Exception, match="not under models"):
        build_executor(spec.executor, parts)


def test_a_trader_from_elsewhere_may_name_models_of_the_config(tmp_path: Path) -> None:
    config = load(tmp_path, text_of())
    more = tmp_path / "more.yaml"
    lines = 'id: three\nexchange: paper\nprompt_template: prompts/general.md\nsymbols: ["ETH/USDT:USDT"]\n'
    more.write_text(f"{lines}decision_interval: 1m\nexecutor: {{type: llm, model: local}}\n")
    [spec] = load_traders(more, config, DEFAULT_TENANT, {})
    assert (spec.executor.model, spec.executor.timeout_s) == ("local", 30.0)
    registration_check(config).beside(DEFAULT_TENANT, ()).check(spec)
    more.write_text(f"{lines}decision_interval: 1m\nexecutor: {{type: llm, model: lokal}}\n")
    with pytest.raises(ConfigError, match="did you mean local"):
        load_traders(more, config, DEFAULT_TENANT, {})


def test_registration_refuses_a_model_that_the_tenant_lacks(tmp_path: Path) -> None:
    spec = load(tmp_path, text_of()).tenants[DEFAULT_TENANT].traders[0]
    bare = load(tmp_path, SOUND)
    with pytest.raises(
        RegistrationError, match=r"executor\.model is 'fast': no such model under models \(there is none\)"
    ):
        registration_check(bare).beside(DEFAULT_TENANT, ()).check(spec)


MISTAKES: list[tuple[str, str, int, str, str, str]] = [
    ("json_object", "jsonobject", 6, "models.fast.structured", "'jsonobject'", "did you mean json_object?"),
    ("requests_per", "request_per", 9, "models.fast.request_per_minute", "60", "did you mean requests_per_minute?"),
    ("api_key: ${MODEL_KEY}", "api_key: sk-1", 4, "models.fast.api_key", "(hidden)", "${NAME}"),
    ("timeout: 20s", "timeout: 20", 7, "models.fast.timeout", "20", "write 20s"),
    ("max_concurrency: 8", "max_concurrency: 0", 8, "models.fast.max_concurrency", "0", "from 1 to 10000"),
    ("minute: 60", "minute: 1.5", 9, "models.fast.requests_per_minute", "1.5", "a whole number"),
    ("output: 1.1", "output: -1", 10, "models.fast.price_per_mtok.output", "-1", "0 or more"),
    ("output: 1.1", "output: $1.1", 10, "models.fast.price_per_mtok.output", "'$1.1'", "expected a number"),
    ("seed: 7", "tools: []", 11, "models.fast.extra_body.tools", "an empty list", "by their reply only"),
    ("seed: 7", "tool_choice: auto", 11, "models.fast.extra_body.tool_choice", "'auto'", "by their reply only"),
    ("seed: 7", "stream: true", 11, "models.fast.extra_body.stream", "true", "set for each call already"),
    (
        "https://api.example.com/v1",
        "http://api.example.com/v1",
        3,
        "models.fast.base_url",
        "'http://api.example.com/v1'",
        "write https://",
    ),
    (
        "https://api.example.com/v1",
        "http://10.0.0.5/v1",
        3,
        "models.fast.base_url",
        "'http://10.0.0.5/v1'",
        "set allow_private: true",
    ),
    (
        "https://api.example.com/v1",
        "https://me:sk-1@api.example.com/v1",
        3,
        "models.fast.base_url",
        "'https://api.example.com/v1'",
        "must not carry a user or password",
    ),
    ('base_url: "http://127.0.0.1:11434/v1", ', "", 12, "models.local.api_key", "missing", "add `api_key: ${NAME}`"),
    ("  local:", "  a b:", 12, "models.a b", "'a b'", "1 to 64 letters"),
    ("example.com/v1", "example.com /v1", 3, "models.fast.base_url", "'https://api.example.com /v1'", "holds blanks"),
    (
        "example.com/v1",
        "example.com/v1/chat/completions",
        3,
        "models.fast.base_url",
        "'https://api.example.com/v1/chat/completions'",
        "must end before /chat/completions",
    ),
    ("seed: 7", "best_of: 5", 11, "models.fast.extra_body.best_of", "5", "cost more"),
    ("seed: 7", "models: [a, b]", 11, "models.fast.extra_body.models", "a list", "cost more"),
    ("seed: 7", "plugins: [{id: web}]", 11, "models.fast.extra_body.plugins", "a list", "cost more"),
    (
        "temperature: 0.2",
        "temperature: .nan",
        11,
        "models.fast.extra_body.temperature",
        "NaN",
        "cannot be sent as JSON",
    ),
    ("[1.5]", "[{a: -.inf}]", 11, "models.fast.extra_body.options", "a list", "cannot be sent as JSON"),
    ("seed: 7", "max_tokens: -5", 11, "models.fast.extra_body.max_tokens", "-5", "a whole number of tokens"),
    ("seed: 7", "max_tokens: 4000.5", 11, "models.fast.extra_body.max_tokens", "4000.5", "a whole number of tokens"),
]


@pytest.mark.parametrize("mistake", [Mistake(*row) for row in MISTAKES], ids=[f"{row[3]} {row[1]}" for row in MISTAKES])
def test_a_mistake_in_a_model_is_told_in_full(tmp_path: Path, mistake: Mistake) -> None:
    assert mistake.old in MODELS
    first = problems(tmp_path, text_of(MODELS.replace(mistake.old, mistake.new, 1)))[0]
    assert (first.line, first.field, first.value) == (mistake.line, mistake.field, mistake.value)
    assert mistake.mend in first.mend
    assert "sk-1" not in str(first)


ASKED_WRONGLY = [
    ("model: fast", "model: fats", "executor.model", "did you mean fast?"),
    ("[local]", "[lokal]", "executor.fallback[0]", "did you mean local?"),
    ("[local]", "[local, local]", "executor.fallback[1]", "is asked before already"),
    ("[local]", "[fast]", "executor.fallback[0]", "is asked before already"),
    ("[local]", "local", "executor.fallback", "a list of up to 10 models"),
    ("timeout: 45s", "structured: none", "executor.structured", "write it under models.fast"),
    ("timeout: 45s", "extra_body: {seed: 1}", "executor.extra_body", "write it under models.fast"),
    ("timeout: 45s", 'base_url: "https://a.example/v1"', "executor.api_key", "add `api_key: ${NAME}`"),
    (
        "timeout: 45s",
        'api_key: "${MODEL_KEY}", base_url: "http://192.168.0.9/v1"',
        "executor.base_url",
        "in a private network",
    ),
    ("timeout: 45s", 'api_key: "${MODEL_KEY}", extra_body: {n: 2}', "executor.extra_body.n", "set for each call"),
]


@pytest.mark.parametrize(("old", "new", "field", "mend"), ASKED_WRONGLY, ids=[row[1] for row in ASKED_WRONGLY])
def test_a_mistake_in_naming_models_is_told_in_full(tmp_path: Path, old: str, new: str, field: str, mend: str) -> None:
    told = problems(tmp_path, text_of(asks=ASKS.replace(old, new)))
    assert [problem.field for problem in told] == [f"traders[0].{field}"]
    assert mend in told[0].mend


def test_a_model_with_a_mistake_is_told_once_and_not_at_each_trader(tmp_path: Path) -> None:
    told = problems(tmp_path, text_of(MODELS.replace("model: small-1", "model: 5")))
    assert [problem.field for problem in told] == ["models.fast.model"]


@pytest.mark.parametrize("key", ["sk-hid\nden", "sk-hid den", "sk-hidden\u2026", "sk-hid\x00den"])
def test_a_key_that_no_header_can_carry_is_told_by_its_variable(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(write_config(tmp_path, text_of()), {"MODEL_KEY": key})
    [problem] = refused.value.problems
    assert problem.field == "models.fast.api_key"
    assert "the environment variable MODEL_KEY holds a blank" in problem.mend
    assert "hid" not in str(problem).replace("(hidden)", "")


def test_blanks_around_a_key_are_no_part_of_it(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, text_of()), {"MODEL_KEY": " sk-hidden\n"})
    assert config.models(DEFAULT_TENANT)["fast"].endpoint.api_key == "sk-hidden"
    with pytest.raises(ConfigError, match="MODEL_KEY is not set"):
        load_config(write_config(tmp_path, text_of()), {"MODEL_KEY": " \n"})


def test_names_of_one_endpoint_with_several_limits_are_noted(tmp_path: Path) -> None:
    named = '  %s: {base_url: "%s", api_key: ${MODEL_KEY}, model: small-1%s}\n'
    models = MODELS + named % ("slash", "https://API.example.com:443/v1/", ", max_concurrency: 3")
    read = load(tmp_path, text_of(models + named % ("big", "https://api.example.com/v2", "")))
    [note] = differing_limits(read.tenants[DEFAULT_TENANT].models)
    assert note.startswith("models fast, slash are one endpoint")
    assert note.endswith("the lowest of their limits: max_concurrency 3 and requests_per_minute 60")
    bare = load(tmp_path, text_of(MODELS + named % ("bare", "https://api.example.com/v1", "")))
    [note] = differing_limits(bare.tenants[DEFAULT_TENANT].models)
    assert note.endswith("the lowest of their limits: max_concurrency 8 and requests_per_minute 60")
    assert list(differing_limits(load(tmp_path, text_of()).tenants[DEFAULT_TENANT].models)) == []


def test_a_private_address_may_be_meant(tmp_path: Path) -> None:
    text = MODELS.replace("model: qwen3", "model: qwen3, allow_private: true").replace("127.0.0.1", "10.0.0.5")
    assert load(tmp_path, text_of(text)).tenants[DEFAULT_TENANT].models["local"].endpoint.allow_private
