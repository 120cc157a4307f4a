"""What is written in and around the code: docstrings, annotations, comments, words."""

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator

from source_files import PACKAGES, Source

MAX_COMMENT_SHARE = 0.05
FORBIDDEN_WORDS = tuple(
    re.compile(pattern) for pattern in (r"(?<![\w.-])/work" + r"/", r"/tmp/" + r"brief", r"/opt/" + r"(pypi|wheels)")
)
LOCK_WORDS = re.compile(r"https?://|file://|--(extra-)?index|--find-links|(?<!\w)/(opt|home|root|tmp)/")
IGNORE = re.compile(r"#\s*(?:noqa(?::\s*[A-Z0-9, ]+)?|type:\s*ignore(?:\[[\w, -]+\])?)(?P<reason>.*)")


def _public_definitions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in source.tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node


def documented(source: Source) -> list[str]:
    """Refuse a module, public class or public function of a package without a docstring."""
    if source.package not in PACKAGES:
        return []
    found = [] if ast.get_docstring(source.tree) else [f"{source.path}:1: the module has no docstring"]
    bare = (node for node in _public_definitions(source) if not ast.get_docstring(node))
    return found + [source.at(node, f"{node.name} has no docstring") for node in bare]


def annotated(source: Source) -> list[str]:
    """Refuse a function of a package with an unannotated parameter or return."""
    if source.package not in PACKAGES:
        return []
    found = []
    for node in source.functions():
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        arguments += [extra for extra in (node.args.vararg, node.args.kwarg) if extra]
        bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        found += [source.at(node, f"{node.name}: parameter {name} is not annotated") for name in bare]
        if node.returns is None:
            found.append(source.at(node, f"{node.name}: the return is not annotated"))
    return found


def _comments(source: Source) -> list[tokenize.TokenInfo]:
    tokens = tokenize.generate_tokens(io.StringIO(source.text).readline)
    return [token for token in tokens if token.type == tokenize.COMMENT]


def reasoned_ignores(source: Source) -> list[str]:
    """Refuse `noqa` and `type: ignore` comments that give no reason after the code."""
    found = []
    for comment in _comments(source):
        match = IGNORE.search(comment.string)
        if match and not match["reason"].strip(" #-:"):
            found.append(f"{source.path}:{comment.start[0]}: write the reason beside the ignore")
    return found


def sparse_comments(package: str, sources: Iterable[Source]) -> list[str]:
    """Refuse a package in which comments take more than 5 % of the written lines."""
    texts = tuple(sources)
    lines = sum(1 for source in texts for line in source.text.splitlines() if line.strip())
    comments = sum(len(_comments(source)) for source in texts)
    if comments <= lines * MAX_COMMENT_SHARE:
        return []
    return [f"{package}: {comments} comments in {lines} lines; say it in names, keep those that say why"]


def clean_words(path: str, text: str) -> list[str]:
    """Refuse paths of a development machine in any file, and hosts or paths in a lock file."""
    patterns = (*FORBIDDEN_WORDS, LOCK_WORDS) if path.endswith(".lock") else FORBIDDEN_WORDS
    return [
        f"{path}:{number}: names {match[0]!r}"
        for number, line in enumerate(text.splitlines(), start=1)
        for pattern in patterns
        if (match := pattern.search(line))
    ]
