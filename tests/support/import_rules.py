"""Which module may import which."""

import ast
from collections.abc import Iterator

from source_files import PACKAGES, Source

ALLOWED = {
    "exchanges": {"exchanges"},
    "executor": {"executor"},
    "traders": {"traders", "executor", "exchanges"},
    "manager": {"manager", "traders", "executor", "exchanges"},
}
SQL_LIBRARIES = {"sqlalchemy", "sqlmodel"}
SQL_HOMES = ("manager/state/", "migrations/", "tests/", "benchmarks/")
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}


def _imports(source: Source) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node, node.module


def import_direction(source: Source) -> list[str]:
    """Refuse an import that goes up, or sideways between executor and exchanges, or into the tests."""
    if source.package not in ALLOWED:
        return []
    refused = {*PACKAGES, "tests", "benchmarks"} - ALLOWED[source.package]
    return [
        source.at(node, f"{source.package} must not import {name}")
        for node, name in _imports(source)
        if name.split(".")[0] in refused
    ]


def sql_in_state_only(source: Source) -> list[str]:
    """Refuse SQLAlchemy and SQLModel, `select()` with them, outside `manager/state` and the migrations."""
    if source.path.startswith(SQL_HOMES):
        return []
    return [
        source.at(node, f"{name} belongs to manager/state; ask the Store")
        for node, name in _imports(source)
        if name.split(".")[0] in SQL_LIBRARIES
    ]


def telling_names(source: Source) -> list[str]:
    """Refuse modules and folders whose name says nothing."""
    vague = VAGUE_NAMES.intersection(source.path.removesuffix(".py").split("/"))
    return [f"{source.path}: name it after what it does, not {word!r}" for word in sorted(vague)]


def no_test_packages(source: Source) -> list[str]:
    """Refuse `__init__.py` under tests, where it would shadow an installed top-level `tests`."""
    packaged = source.path.startswith("tests/") and source.path.endswith("/__init__.py")
    return [f"{source.path}: tests are not packages; delete it"] * packaged
