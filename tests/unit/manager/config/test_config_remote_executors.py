"""`executor: {type: remote}` and `executor_server:` in a config: what they mean, and each mistake with its mend."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from config_files import SOUND, changed, write_config
from executor.errors import ExecutorConfigError
from executor.registry import ExecutorParts, ExecutorType, ModelClients
from executor.remote.executor import RemoteExecutor
from manager.bootstrap.executors import ConfiguredExecutors, Unusable
from manager.cli.probing import configured_models
from manager.config import Config, ConfigError, Problem, load_config
from manager.errors import RegistrationError
from manager.processes.executor_server import ServedExecutors, longest_decision_s
from manager.roster.registration import registration_check, stored
from manager.state.records import DEFAULT_TENANT
from traders.spec import ManagedBy

ENV = {"DESK_KEY": "a-key-for-the-server", "ACME_KEY": "a-key-for-acme-only"}
ASKS = '{type: remote, url: "http://127.0.0.1:8200", key: ${DESK_KEY}, timeout: 20s}'
LOCAL = "{type: baseline, style: trend}"
MODEL = """\
models:
  fast:
    model: small-1
    api_key: ${DESK_KEY}
    price_per_mtok: {input: 1, output: 1}
    extra_body: {max_tokens: 500}
    budget_usd_per_day: 3
"""
SERVES = "executor_server: {key: ${DESK_KEY}}\n"
ACME = """\
tenants:
  acme:
    executor_server: {key: ${ACME_KEY}}
    exchanges: {paper: {type: paper, market: {type: synthetic, seed: 7}}}
    traders:
      - id: a1
        exchange: paper
        executor: {type: baseline, style: trend}
        symbols: ["BTC/USDT:USDT"]
        decision_interval: 3m
"""


def load(folder: Path, text: str) -> Config:
    return load_config(write_config(folder, text), ENV)


def parts_of(config: Config) -> ExecutorParts:
    return ExecutorParts(prompts=config.prompt_library(), clients=ModelClients(), monotonic=lambda: 0.0)


def test_a_trader_names_where_its_executor_is(tmp_path: Path) -> None:
    config = load(tmp_path, changed(LOCAL, ASKS))
    spec = config.tenants[DEFAULT_TENANT].traders[0]
    executor = spec.executor
    assert (executor.type, executor.base_url) == (ExecutorType.REMOTE, "http://127.0.0.1:8200")
    assert (executor.api_key, executor.timeout_s) == ("${DESK_KEY}", 20.0)
    assert "a-key-for-the-server" not in repr(config)
    assert stored(spec).executor.api_key == ""
    registration_check(config).beside(DEFAULT_TENANT, ()).check(spec)


def test_an_executor_of_the_config_is_asked_where_the_config_says(tmp_path: Path) -> None:
    config = load(tmp_path, changed(LOCAL, ASKS))
    executors = ConfiguredExecutors(config, parts_of(config))
    spec = stored(config.tenants[DEFAULT_TENANT].traders[0])
    assert isinstance(executors.of(DEFAULT_TENANT, spec), RemoteExecutor)
    moved = replace(spec, executor=replace(spec.executor, base_url="https://elsewhere.example.com"))
    assert isinstance(executors.of(DEFAULT_TENANT, moved), Unusable)


def test_only_a_config_brings_a_remote_executor(tmp_path: Path) -> None:
    config = load(tmp_path, changed(LOCAL, ASKS))
    spec = replace(config.tenants[DEFAULT_TENANT].traders[0], managed_by=ManagedBy.API)
    with pytest.raises(RegistrationError, match="can be named by a config only"):
        registration_check(config).beside(DEFAULT_TENANT, ()).check(spec)


def test_a_remote_executor_is_no_model_to_check(tmp_path: Path) -> None:
    assert list(configured_models(load(tmp_path, changed(LOCAL, ASKS)))) == []


MISTAKES = [
    ("http://127.0.0.1:8200", "ftp://127.0.0.1", "url", "grpc://127.0.0.1:8201"),
    ("http://127.0.0.1:8200", "127.0.0.1:8200", "url", "expected a URL"),
    ("http://127.0.0.1:8200", "http://executor.example.com", "url", "write https://"),
    ("http://127.0.0.1:8200", "grpc://executor.example.com:8201", "url", "unencrypted"),
    ("http://127.0.0.1:8200", "grpc://127.0.0.1", "url", "a host and a port"),
    ("http://127.0.0.1:8200", "http://10.0.0.7:8200", "url", "set allow_private: true beside it"),
    ("http://127.0.0.1:8200", "http://me:pass@127.0.0.1:8200", "url", "must not carry a user or password"),
    ("${DESK_KEY}", "secret-itself", "key", "${NAME}"),
    ("${DESK_KEY}", "${NO_SUCH_KEY}", "key", "NO_SUCH_KEY is not set"),
    ("timeout: 20s", "timeout: 20", "timeout", "write 20s"),
    ("timeout: 20s", "deadline: 20s", "deadline", "unknown key"),
    (", key: ${DESK_KEY}", "", "key", "add `key: ...`"),
    ("timeout: 20s", "budget_usd_per_day: 2", "budget_usd_per_day", "belongs to the trader"),
    ("timeout: 20s", "max_usd_per_decision: -1", "max_usd_per_decision", "0 or more"),
    ("timeout: 20s", "ca_file: ca.pem", "ca_file", "nothing is encrypted here"),
    ('"http://127.0.0.1:8200"', '"https://127.0.0.1:8200", ca_file: no.pem', "ca_file", "cannot be read"),
    (
        '"http://127.0.0.1:8200"',
        '"http://10.0.0.7:8200", allow_private: true',
        "url",
        "set allow_unencrypted: true beside it",
    ),
    (
        '"http://127.0.0.1:8200"',
        '"grpc://10.0.0.7:8201", allow_private: true',
        "url",
        "unencrypted to 10.0.0.7; write grpcs://",
    ),
]


@pytest.mark.parametrize(("old", "new", "field", "mend"), MISTAKES, ids=[f"{row[2]} {row[1]}" for row in MISTAKES])
def test_a_mistake_is_told_in_full(tmp_path: Path, old: str, new: str, field: str, mend: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, changed(LOCAL, ASKS.replace(old, new)))
    problem: Problem = refused.value.problems[0]
    assert (problem.line, problem.field) == (9, f"traders[0].executor.{field}")
    assert mend in problem.mend
    assert "secret-itself" not in str(refused.value)
    assert "me:pass" not in str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        "https://10.0.0.7:8200, allow_private: true",
        "grpc://10.0.0.7:8201, allow_private: true, allow_unencrypted: true",
    ],
)
def test_a_private_address_may_be_meant(tmp_path: Path, words: str) -> None:
    url, _, more = words.partition(", ")
    private = ASKS.replace("http://127.0.0.1:8200", url).replace("timeout: 20s", more)
    spec = load(tmp_path, changed(LOCAL, private)).tenants[DEFAULT_TENANT].traders[0]
    assert spec.executor.allow_private
    registration_check(load(tmp_path, changed(LOCAL, private))).beside(DEFAULT_TENANT, ()).check(spec)


BUDGETED = [
    "budgets: {tenant_usd_per_day: 5}\n" + changed(LOCAL, ASKS),
    "budgets: {trader_usd_per_day: 5}\n" + changed(LOCAL, ASKS),
    changed(LOCAL, ASKS + "\n    budget_usd_per_day: 5"),
]


@pytest.mark.parametrize("text", BUDGETED)
def test_a_budget_needs_to_know_what_a_remote_decision_costs(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text)
    (problem,) = refused.value.problems
    assert problem.field == "traders[0].executor.max_usd_per_decision"
    assert "say what one decision there costs at most" in problem.mend
    told = load(tmp_path, text.replace("timeout: 20s", "max_usd_per_decision: 0.25"))
    assert told.tenants[DEFAULT_TENANT].traders[0].executor.max_usd_per_decision == Decimal("0.25")


def test_more_symbols_than_are_taken_are_told_at_once(tmp_path: Path) -> None:
    coins = ", ".join(f'"S{number}/USDT:USDT"' for number in range(65))
    text = changed(LOCAL, ASKS).replace('symbols: ["BTC/USDT:USDT"]', f"symbols: [{coins}]", 1)
    with pytest.raises(ConfigError, match="takes at most 64 at once"):
        load(tmp_path, text)


def test_each_key_opens_the_traders_of_its_tenant(tmp_path: Path) -> None:
    config = load(tmp_path, SERVES + SOUND + ACME)
    desks = {desk.key: desk for desk in ServedExecutors(config, parts_of(config)).desks()}
    assert desks[ENV["DESK_KEY"]].traders == ("one", "two")
    assert desks[ENV["ACME_KEY"]].traders == ("a1",)
    assert desks[ENV["DESK_KEY"]].find("a1") is None
    assert "a-key-for" not in repr(desks[ENV["ACME_KEY"]])


NOT_SERVED = [
    ("", SOUND, "executor_server is missing"),
    (SERVES, changed(LOCAL, ASKS), "trader one: executor type is 'remote', so the server would only ask on"),
    (SERVES, changed(LOCAL, "{type: recorded}"), "trader one: executor type is 'recorded'"),
    (SERVES + "budgets: {tenant_usd_per_day: 5}\n", SOUND, "budgets: a daily budget cannot be held here"),
    (SERVES + MODEL, SOUND, "model fast: a daily budget cannot be held here"),
]


@pytest.mark.parametrize(("server", "text", "said"), NOT_SERVED)
def test_what_cannot_be_served_is_named(tmp_path: Path, server: str, text: str, said: str) -> None:
    config = load(tmp_path, server + text)
    with pytest.raises(ExecutorConfigError, match=said):
        ServedExecutors(config, parts_of(config)).desks()


def test_the_walk_through_of_the_document_is_sound(tmp_path: Path) -> None:
    document = (Path(__file__).parents[4] / "docs" / "concepts" / "remote-executors.md").read_text()
    server, desk = (block.partition("```")[0] for block in document.split("```yaml\n")[1:])
    environment = {"EXECUTOR_KEY": "0123456789abcdef"}
    config = load_config(write_config(tmp_path, server), environment)
    (served,) = ServedExecutors(config, parts_of(config)).desks()
    (asking,) = load_config(write_config(tmp_path, desk), environment).tenants[DEFAULT_TENANT].traders
    assert served.traders == (asking.id,)


def test_the_end_waits_for_the_longest_decision(tmp_path: Path) -> None:
    assert longest_decision_s(load(tmp_path, SERVES + SOUND)) == 30
    slow = changed(LOCAL, ASKS.replace("20s", "90s"))
    assert longest_decision_s(load(tmp_path, SERVES + slow)) == 90


def test_a_key_of_a_server_is_a_reference(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, "executor_server: {key: secret-itself}\n" + SOUND)
    assert refused.value.problems[0].field == "executor_server.key"
    assert "secret-itself" not in str(refused.value)
