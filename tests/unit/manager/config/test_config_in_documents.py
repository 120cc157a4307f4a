"""The configs that the documents show are sound."""

import re
from pathlib import Path

from config_files import write_config
from executor.registry import ExecutorType
from manager.config import load_config
from manager.resources import resource
from manager.state.records import DEFAULT_TENANT

ROOT = resource("config.yaml").parent
YAML = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
BLOCKS = YAML.findall((ROOT / "docs" / "guide.md").read_text(encoding="utf-8"))


def test_the_walk_through_is_a_sound_config(tmp_path: Path) -> None:
    [trader] = load_config(write_config(tmp_path, BLOCKS[0]), {}).tenants[DEFAULT_TENANT].traders
    assert trader.id == "trend_btc"


def test_the_trader_with_a_model_fits_into_the_walk_through(tmp_path: Path) -> None:
    text = BLOCKS[0].replace("monitoring:", f"{BLOCKS[1]}monitoring:")
    traders = load_config(write_config(tmp_path, text), {"OPENAI_API_KEY": "k"}).tenants[DEFAULT_TENANT].traders
    assert [trader.executor.type for trader in traders] == [ExecutorType.BASELINE, ExecutorType.LLM]


def test_the_readme_shows_the_same_trader() -> None:
    assert YAML.findall((ROOT / "README.md").read_text(encoding="utf-8")) == [BLOCKS[1]]


def test_the_models_of_the_walk_through_are_sound(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, f"{BLOCKS[0]}\n{BLOCKS[2]}"), {"OPENAI_API_KEY": "k"})
    assert sorted(config.tenants[DEFAULT_TENANT].models) == ["fast", "local"]


def test_the_commented_trader_of_the_shipped_config_is_sound(tmp_path: Path) -> None:
    text = resource("config.yaml").read_text(encoding="utf-8")
    shown = re.search(r"(  # - id: model_btc\n(?:  #   .*\n)+)", text)
    assert shown is not None
    text = text.replace(shown[1], re.sub(r"^  # ", "  ", shown[1], flags=re.MULTILINE))
    traders = load_config(write_config(tmp_path, text), {"OPENAI_API_KEY": "k"}).tenants[DEFAULT_TENANT].traders
    assert traders[-1].id == "model_btc"
