"""Figures of the whole house: how much of it is private functions and import lines."""

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from source_files import PACKAGES, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Hold what was counted in the four packages, tests left out; `private` are module-level functions."""

    lines: int
    functions: int
    private: int
    import_lines: int

    @property
    def private_share(self) -> float:
        """Return the share of private module functions in all functions and methods."""
        return self.private / self.functions

    @property
    def import_share(self) -> float:
        """Return the share of lines that import something."""
        return self.import_lines / self.lines


def count(sources: Iterable[Source]) -> Figures:
    """Count the packages' own code."""
    own = [source for source in sources if source.package in PACKAGES]
    return Figures(
        lines=sum(len(source.text.splitlines()) for source in own),
        functions=sum(1 for source in own for _ in source.functions()),
        private=sum(_private(source) for source in own),
        import_lines=sum(_imports(source) for source in own),
    )


def _private(source: Source) -> int:
    functions = (node for node in source.tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return sum(1 for node in functions if node.name.startswith("_"))


def _imports(source: Source) -> int:
    statements = (node for node in ast.walk(source.tree) if isinstance(node, ast.Import | ast.ImportFrom))
    return sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in statements)
