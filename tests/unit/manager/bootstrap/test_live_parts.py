"""What a process is assembled from: keys only where they belong, logs without secrets, accounts from the config."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr

from config_files import SOUND, write_config
from desk_factory import AT, BTC
from exchanges.clock import ManualClock
from exchanges.paper.adapter import PaperExchange
from exchanges.paper.ledger import MemoryPaperLedger
from executor.contract import Outcome
from executor.models.chat import Message
from executor.models.endpoint_client import EndpointClient
from executor.models.openai_chat import OpenAIChatModel
from executor.prompts.sample import sample_context
from executor.registry import ExecutorParts, ExecutorSpec, ModelClients
from manager.bootstrap.assemble import account_runtimes
from manager.bootstrap.executors import ConfiguredExecutors, Unusable
from manager.config import Config, load_config
from manager.processes.logs import HIDDEN, configure_logging
from manager.roster.registration import stored
from manager.settings import LogForm, read_settings
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
    parts = ExecutorParts(prompts=config.prompt_library(), clients=ModelClients(), monotonic=ManualClock(AT).boot_s)
    executors = ConfiguredExecutors(config, parts)
    spec = stored(config.tenants[DEFAULT_TENANT].traders[-1])
    assert executors.of(DEFAULT_TENANT, spec) is executors.of(DEFAULT_TENANT, spec)
    remote = replace(spec, executor=replace(spec.executor, base_url="http://127.0.0.1:10/v1"))
    executors.of(DEFAULT_TENANT, remote)
    executors.of(DEFAULT_TENANT, replace(spec, id=TraderId("another")))
    assert [one.api_key for one in built] == ["sk-very-secret", "", ""]


async def test_a_trader_whose_executor_cannot_be_built_takes_no_new_risk(config: Config) -> None:
    parts = ExecutorParts(prompts=config.prompt_library(), clients=ModelClients(), monotonic=ManualClock(AT).boot_s)
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


async def test_accounts_with_equal_market_settings_share_one_market(tmp_path: Path) -> None:
    paper = "{type: paper, market: {type: synthetic, seed: %s}, fee_bps: %s}"
    accounts = "".join(
        f"  {name}: {paper % (seed, fee)}\n" for name, seed, fee in (("same", 7, 9), ("other", 8, 4.5), ("third", 8, 1))
    )
    config = load_config(write_config(tmp_path, SOUND.replace("traders:", f"{accounts}traders:")), {})
    runtimes = await account_runtimes(config, ManualClock(AT), lambda _: MemoryPaperLedger())
    markets = {str(account): runtime.market for (_, account), runtime in runtimes.items()}
    assert markets["paper"] is markets["same"]
    assert markets["other"] is markets["third"]
    assert markets["paper"] is not markets["other"]


async def test_a_call_of_a_model_is_no_line_in_the_log(logged: io.StringIO) -> None:
    configure_logging(read_settings(), stream=logged)
    async with endpoint(says("hi")) as fake, aclosing(EndpointClient(fake.spec())) as client:
        await OpenAIChatModel(client, fake.spec()).complete([Message(role="user", text="hello")], {})
    assert logged.getvalue() == ""


def test_the_log_has_the_form_and_the_level_of_the_settings(logged: io.StringIO) -> None:
    configure_logging(read_settings(log_level="error"), stream=logged)
    log = structlog.get_logger("test")
    log.warning("not_told")
    log.error("told")
    (line,) = logged.getvalue().splitlines()
    assert json.loads(line)["event"] == "told"
    configure_logging(read_settings(log_form="console"), stream=logged)
    log.info("told_too")
    assert logged.getvalue().splitlines()[1].startswith("20")


@pytest.mark.parametrize("shown", ["json", "console"])
def test_no_secret_is_logged_whatever_it_is_part_of(logged: io.StringIO, shown: LogForm) -> None:
    url = "postgresql://desk:p%40ss-word@127.0.0.1/desk"
    settings = read_settings(log_form=shown, database_url=SecretStr(url), secret_key=SecretStr("key of the desk"))
    configure_logging(settings, ["sk-very-secret"], stream=logged)
    log = structlog.get_logger("test")
    log.info(
        "sent sk-very-secret",
        known="the key of the desk",
        detail={"header": ["Bearer sk-very-secret"]},
        api_key="another",
        url=url,
    )
    logging.getLogger("other").warning("it is %s", "sk-very-secret")
    try:
        raise RuntimeError("refused p@ss-word")
    except RuntimeError:
        log.exception("failed")
    said = logged.getvalue()
    assert HIDDEN in said
    for secret in ("sk-very-secret", "p%40ss-word", "p@ss-word", "another", "key of the desk"):
        assert secret not in said
    if shown == "json":
        assert [json.loads(line)["level"] for line in said.splitlines()] == ["info", "warning", "error"]


async def test_a_venue_that_does_not_answer_at_the_start_keeps_no_other_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(exchange: PaperExchange) -> None:
        await asyncio.Event().wait()

    limited = RICH.replace("type: paper,", "type: paper, timeout: 1s,", 1)
    assert limited != RICH
    with monkeypatch.context() as patch:
        patch.setattr(PaperExchange, "instruments", silent)
        config = load_config(write_config(tmp_path, limited), {})
        runtimes = await account_runtimes(config, ManualClock(AT), lambda _: MemoryPaperLedger())
    runtime = runtimes[(DEFAULT_TENANT, AccountId("paper"))]
    assert (runtime.timeout_s, runtime.instruments) == (1.0, {})


def test_of_an_api_key_only_the_id_is_logged(logged: io.StringIO) -> None:
    configure_logging(read_settings(log_form="json"), stream=logged)
    secret = "A-_z" * 10 + "abc"
    structlog.get_logger("test").warning("asked", header=f"Bearer pd_abcdefghij23_{secret}", path=[f"/?k=pd_{secret}"])
    [line] = logged.getvalue().splitlines()
    assert json.loads(line)["header"] == f"Bearer pd_abcdefghij23_{HIDDEN}"
