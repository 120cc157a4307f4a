"""Read the tracked files of the repository as values that architecture rules can judge."""

import ast
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("exchanges", "executor", "traders", "manager")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Hold one Python file; `path` is relative to the root, with forward slashes."""

    path: str
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """Name the top-level folder."""
        return self.path.split("/", 1)[0]

    def functions(self) -> Iterable[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Yield every function and method, nested ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    def at(self, node: ast.expr | ast.stmt, message: str) -> str:
        """Place a message at a node's line."""
        return f"{self.path}:{node.lineno}: {message}"


def parse(path: str, text: str) -> Source:
    """Parse one file's text."""
    return Source(path=path, text=text, tree=ast.parse(text, filename=path))


def tracked_paths() -> tuple[str, ...]:
    """List the files git tracks that exist in the working tree."""
    command = ["git", "-c", "safe.directory=*", "-C", str(ROOT), "ls-files", "-z"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return tuple(path for path in listed if path and (ROOT / path).is_file())


def tracked_sources() -> tuple[Source, ...]:
    """Parse every tracked Python file."""
    paths = (path for path in tracked_paths() if path.endswith(".py"))
    return tuple(parse(path, (ROOT / path).read_text(encoding="utf-8")) for path in paths)
