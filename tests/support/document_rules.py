"""What documents say of the repository: the files they name exist, and so do the pages they lead to."""

import re
from pathlib import PurePosixPath

from source_files import PACKAGES

_CODE = re.compile(r"`([\w./-]+)`")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_ABSENT = re.compile(r"\b(DESIGN|RULES|STYLE)\.md\b")
_OURS = (*PACKAGES, "tests", "docs", "migrations", "benchmarks")


def dead_paths(path: str, text: str, known: frozenset[str]) -> list[str]:
    """Refuse paths of files and folders that are not in the repository; `known` has all of both."""
    named = {name for name in _CODE.findall(text) if name.split("/")[0] in _OURS and "/" in name}
    linked = {name for name in _LINK.findall(text) if "://" not in name}
    dead = [name for name in sorted(named) if name.rstrip("/") not in known]
    dead += [name for name in sorted(linked) if _beside(path, name) not in known]
    return [f"{path}: there is no {name}" for name in dead]


def absent_pages(path: str, text: str) -> list[str]:
    """Refuse to cite the pages by which the project was ordered: a reader of the repository has docs/ alone."""
    return [f"{path}: {name}.md is not in the repository, cite docs/" for name in sorted(set(_ABSENT.findall(text)))]


def _beside(path: str, name: str) -> str:
    parts: list[str] = list(PurePosixPath(path).parent.parts)
    for part in PurePosixPath(name).parts:
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
