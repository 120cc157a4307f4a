"""What a process is assembled from: keys only where they belong, logs without secrets, accounts from the config."""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import structlog

from config_files import SOUND, write_config
from desk_factory import AT, BTC
from exchanges.clock import ManualClock
from exchanges.paper.ledger import MemoryPaperLedger
from executor.contract import Outcome
from executor.models.chat import Message
from executor.models.lanes import open_lanes
from executor.models.openai_chat import OpenAIChatModel
from executor.prompts.sample import sample_context
from executor.registry import ExecutorParts, ExecutorSpec, ModelClients
from manager.bootstrap.accounts import account_runtimes
from manager.bootstrap.executors import ConfiguredExecutors, Unusable
from manager.config import Config, load_config
from manager.processes.logs import HIDDEN, configure_logging, secrets_of
from manager.roster.registration import prompt_library, stored
from manager.state.records import DEFAULT_TENANT, AccountId
from openai_endpoint import endpoint, says
from traders.spec import TraderId

KEYED = (
    SOUND
    + """\
  - id: keyed
    exchange: paper
    executor: {type: llm, model: m, api_key: "${DESK_KEY}", base_url: "http://127.0.0.1:9/v1"}
    prompt_template: prompts/general.md
    symbols: ["BTC/USDT:USDT"]
    decision_interval: 1m
"""
)
RICH = SOUND.replace(
    "fee_bps: 4.5}",
    'fee_bps: 7, slippage_bps: 3, start_equity_usd: 500, instruments: {"BTC/USDT:USDT": {lot: 0.01, max_leverage: 9}}}',
)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(write_config(tmp_path, KEYED), {"DESK_KEY": "sk-very-secret"})


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield io.StringIO()
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def test_the_running_process_has_the_key_that_the_stored_definition_lacks(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[ExecutorSpec] = []

    def build(spec: ExecutorSpec, parts: ExecutorParts) -> object:
        del parts
        built.append(spec)
        return object()

    monkeypatch.setattr("manager.bootstrap.executors.build_executor", build)
    parts = ExecutorParts(prompts=prompt_library(config), clients=ModelClients(), monotonic=ManualClock(AT).boot_s)
    executors = ConfiguredExecutors(config, parts)
    spec = stored(config.tenants[DEFAULT_TENANT].traders[-1])
    assert executors.of(DEFAULT_TENANT, spec) is executors.of(DEFAULT_TENANT, spec)
    elsewhere = replace(spec, executor=replace(spec.executor, base_url="http://127.0.0.1:10/v1"))
    executors.of(DEFAULT_TENANT, elsewhere)
    executors.of(DEFAULT_TENANT, replace(spec, id=TraderId("another")))
    assert [one.api_key for one in built] == ["sk-very-secret", "", ""]


async def test_a_trader_whose_executor_cannot_be_built_takes_no_new_risk(config: Config) -> None:
    parts = ExecutorParts(prompts=prompt_library(config), clients=ModelClients(), monotonic=ManualClock(AT).boot_s)
    spec = replace(config.tenants[DEFAULT_TENANT].traders[0], executor=ExecutorSpec(style="lucky"))
    executor = ConfiguredExecutors(config, parts).of(DEFAULT_TENANT, spec)
    assert isinstance(executor, Unusable)
    full = await executor.decide(sample_context())
    assert (full.outcome, full.decisions, "lucky" in full.errors[0].message) == (Outcome.UNAVAILABLE, (), True)


async def test_an_account_trades_with_the_fees_equity_and_instruments_of_the_config(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, RICH), {})
    clock = ManualClock(AT)
    runtimes = await account_runtimes(config, clock, lambda _: MemoryPaperLedger())
    runtime = runtimes[(DEFAULT_TENANT, AccountId("paper"))]
    assert (runtime.instruments[BTC].lot, runtime.instruments[BTC].max_leverage) == (Decimal("0.01"), 9)
    assert (await runtime.exchange.fetch_balance()).cash == 500
    assert runtime.market is not None
    assert set((await runtime.market.snapshot(frozenset(runtime.instruments))).symbols) == set(runtime.instruments)


async def test_a_call_of_a_model_is_no_line_in_the_log(logged: io.StringIO) -> None:
    configure_logging([], stream=logged)
    async with endpoint(says("hi")) as fake, open_lanes(fake.spec()) as lanes:
        await OpenAIChatModel(lanes, fake.spec()).complete([Message(role="user", text="hello")], {})
    assert logged.getvalue() == ""


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("PROPDESK_LOG", "foo", "json, console"),
        ("PROPDESK_LOG_LEVEL", "loud", "debug, info, warning, error, critical"),
    ],
)
def test_a_log_setting_that_is_none_is_told(
    logged: io.StringIO, monkeypatch: pytest.MonkeyPatch, name: str, given: str, expected: str
) -> None:
    monkeypatch.setenv(name, given)
    configure_logging([], stream=logged)
    structlog.get_logger("test").info("goes_on")
    told, other = map(json.loads, logged.getvalue().splitlines())
    assert (told["event"], told["level"]) == ("log_setting_unknown", "warning")
    assert (told["name"], told["given"], told["expected"]) == (name, given, expected)
    assert other["event"] == "goes_on"


@pytest.mark.parametrize("shown", ["json", "console"])
def test_no_secret_is_logged_whatever_it_is_part_of(
    logged: io.StringIO, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROPDESK_LOG", shown)
    url = "postgresql://desk:p%40ss-word@127.0.0.1/desk"
    configure_logging(secrets_of({"DATABASE_URL": url}, ["sk-very-secret"]), stream=logged)
    log = structlog.get_logger("test")
    log.info("sent sk-very-secret", detail={"header": ["Bearer sk-very-secret"]}, api_key="another", url=url)
    logging.getLogger("other").warning("it is %s", "sk-very-secret")
    try:
        raise RuntimeError("refused p@ss-word")
    except RuntimeError:
        log.exception("failed")
    said = logged.getvalue()
    assert HIDDEN in said
    for secret in ("sk-very-secret", "p%40ss-word", "p@ss-word", "another"):
        assert secret not in said
    if shown == "json":
        assert [json.loads(line)["level"] for line in said.splitlines()] == ["info", "warning", "error"]
