"""A broken template stops its own trader until it is mended, never the worker that watches the stops of all."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from config_files import changed, write_config
from desk_factory import AT
from exchanges.clock import ManualClock
from executor.executor import LLMExecutor
from executor.prompts.sample import sample_context
from executor.registry import ExecutorParts, ModelClients
from manager.bootstrap.executors import ConfiguredExecutors, Unusable
from manager.bootstrap.live import build_manager, try_prompts
from manager.config import load_config
from manager.config.errors import ConfigError
from manager.errors import RegistrationError
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT

LLM = "{type: llm, model: m, base_url: 'https://llm.example.com/v1', api_key: '${MODEL_KEY}'}"
CONFIG = changed("{type: baseline, style: trend}", f"{LLM}\n    prompt_template: prompts/mine.md")
ENV = {"MODEL_KEY": "sk-hidden"}
GOOD = "---\nversion: 1\ndescription: d\n---\n{% block system %}s{% endblock %}{% block user %}u{% endblock %}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "prompts").mkdir()
    write(tmp_path, "{% if %}")
    return write_config(tmp_path, CONFIG)


def write(folder: Path, text: str) -> None:
    (folder / "prompts" / "mine.md").write_text(text, encoding="utf-8")


async def test_a_worker_starts_with_a_template_that_a_new_desk_is_refused_for(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.md, line 1"):
        load_config(path, ENV)
    config = load_config(path, ENV, check_prompts=False)
    clock = ManualClock(AT)
    with pytest.raises(RegistrationError, match=r"mine\.md, line 1"):
        await build_manager(MemoryStore(), config, clock).sync(config)
    report = await build_manager(MemoryStore(), config, clock, check_prompts=False).sync(config)
    assert len(report.registered) == 2


def test_every_worker_reads_the_templates_at_its_start(path: Path) -> None:
    write(path.parent, GOOD)
    config = load_config(path, ENV)
    prompts, late = config.prompt_library(), config.prompt_library()
    with capture_logs() as told:
        try_prompts(config, prompts)
        write(path.parent, "{% if %}")
        assert prompts.render("prompts/mine.md", sample_context()).system == "s"
        try_prompts(config, late)
    assert [(one["event"], one.get("trader", "")) for one in told] == [
        ("prompt_change_not_taken", ""),
        ("prompt_not_usable", "one"),
    ]
    assert "mine.md, line 1" in told[1]["reason"]


async def test_a_trader_without_a_template_decides_again_when_it_is_mended(path: Path) -> None:
    config = load_config(path, ENV, check_prompts=False)
    spec = config.tenants[DEFAULT_TENANT].traders[0]
    parts = ExecutorParts(prompts=config.prompt_library(), clients=ModelClients(), monotonic=lambda: 0.0)
    source = ConfiguredExecutors(config, parts)
    with capture_logs() as told:
        broken = [source.of(DEFAULT_TENANT, spec) for _ in range(3)]
    assert [one["event"] for one in told] == ["executor_unusable"]
    assert isinstance(broken[2], Unusable)
    (error,) = (await broken[2].decide(sample_context())).errors
    assert (error.path, "mine.md, line 1" in error.message) == ("executor", True)
    write(path.parent, GOOD)
    assert isinstance(source.of(DEFAULT_TENANT, spec), LLMExecutor)
    write(path.parent, "{% if %}")
    assert isinstance(ConfiguredExecutors(config, parts).of(DEFAULT_TENANT, spec), LLMExecutor)
