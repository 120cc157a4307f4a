"""Every tracked file keeps the rules of the code base."""

from collections.abc import Callable

import pytest

from document_rules import absent_pages, dead_paths
from house_figures import count
from import_rules import import_direction, no_test_packages, sql_in_state_only, telling_names
from purity_rules import pure_stages
from retired_words import retired_words
from size_rules import file_length, function_length, parameter_count
from source_files import PACKAGES, ROOT, Source, tracked_paths, tracked_sources
from value_rules import decimal_money, environment_in_settings, frozen_stage_values, injected_clock
from wording_rules import annotated, clean_words, documented, reasoned_ignores, sparse_comments

RULES = (
    file_length,
    function_length,
    parameter_count,
    import_direction,
    sql_in_state_only,
    telling_names,
    no_test_packages,
    injected_clock,
    environment_in_settings,
    decimal_money,
    frozen_stage_values,
    documented,
    annotated,
    reasoned_ignores,
    pure_stages,
    retired_words,
)
TEXTS = (".md", ".proto", ".py", ".toml", ".yaml", "Makefile")


@pytest.fixture(scope="module")
def sources() -> tuple[Source, ...]:
    return tracked_sources()


def test_the_four_packages_are_seen(sources: tuple[Source, ...]) -> None:
    assert {source.package for source in sources} >= {*PACKAGES, "tests"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule: Callable[[Source], list[str]], sources: tuple[Source, ...]) -> None:
    found = [message for source in sources for message in rule(source)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("package", PACKAGES)
def test_comments_are_sparse(package: str, sources: tuple[Source, ...]) -> None:
    assert sparse_comments(package, (source for source in sources if source.package == package)) == []


def test_no_file_names_a_machine() -> None:
    found = []
    for path in tracked_paths():
        content = (ROOT / path).read_bytes()
        if b"\0" not in content:
            found += clean_words(path, content.decode("utf-8"))
    assert not found, "\n".join(found)


def test_thoughts_are_not_cut_over_thin_neighbours(sources: tuple[Source, ...]) -> None:
    figures = count(sources)
    assert figures.private_share < 0.20, f"{figures.private} of {figures.functions} functions are private to a module"
    # Routes are thin and import each view that they show: the API alone is 0.1 points.
    assert figures.import_share < 0.077, f"{figures.import_lines} of {figures.lines} lines are imports"


def test_documents_name_what_exists() -> None:
    paths = tracked_paths()
    known = frozenset(paths) | {
        "/".join(path.split("/")[:depth]) for path in paths for depth in range(1, path.count("/") + 1)
    }
    pages = [path for path in paths if path.endswith(".md")]
    found = [line for path in pages for line in dead_paths(path, (ROOT / path).read_text(encoding="utf-8"), known)]
    assert not found, "\n".join(found)


def test_nothing_cites_a_page_from_outside() -> None:
    texts = ((path, (ROOT / path).read_text(encoding="utf-8")) for path in tracked_paths() if path.endswith(TEXTS))
    found = [line for path, text in texts for line in absent_pages(path, text)]
    assert not found, "\n".join(found)
