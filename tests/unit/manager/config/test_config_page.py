"""docs/config.md is what the sections say, and it says what may be copied from it."""

from pathlib import Path

import pytest

from manager.config.accounts import EXCHANGES, MARKETS
from manager.config.fields import Environment, Section
from manager.config.reading import section_of
from manager.config.schema import EXECUTORS, ModelSection, RootSection, TenantSection, TraderSection
from manager.config.source import read_source
from pages import config as page

ROOT = Path(__file__).parents[4]
KINDS = {section: place for place, section in page.PLACES}


def test_the_page_is_current() -> None:
    text = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert text == page.render(), "run: make docs"


def test_every_section_has_its_place() -> None:
    found: set[type[Section]] = {RootSection, TenantSection, ModelSection, TraderSection}
    found |= {*EXCHANGES.values(), *MARKETS.values(), *EXECUTORS.values()}
    waiting = list(found)
    while waiting:
        for known in waiting.pop().model_fields.values():
            inner = section_of(known)
            if inner is not None and issubclass(inner, Section) and inner not in found:
                found.add(inner)
                waiting.append(inner)
    assert set(KINDS) == found


@pytest.mark.parametrize("section", KINDS, ids=KINDS.get)
def test_every_key_is_described_and_takes_its_example(section: type[Section], tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    needed = [key for key, _ in page.keys(section) if not key.default]
    for key, text in page.keys(section):
        assert text.endswith((".", "conflicts.md.")), key.name
        lines = {one.name: one.example for one in (*needed, key)}
        path.write_text("\n".join(f"{name}: {example}" for name, example in lines.items()), encoding="utf-8")
        read = section.model_validate(read_source(path).root, context=Environment(variables={"NAME": "x"}, used={}))
        assert key.name in read.model_fields_set
