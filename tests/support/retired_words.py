"""Words that docs/glossary.md has retired: no file, class, function, parameter or variable bears them."""

import ast
import re
from collections.abc import Iterator

from source_files import PACKAGES, Source

RETIRED = {
    "alarm": "incident",
    "drop": "denial, or invalid",
    "elsewhere": "remote",
    "foreign": "external",
    "naked": "unprotected",
    "refusal": "denial",
    "stranger": "external",
    "target": "take_profit, or target position",
    "wish": "entry or intent",
}
ALLOWED = {
    "refusal",  # the field of OpenAI's answers
    "ForeignKeyConstraint",  # SQLAlchemy's
    "ForeignKeyViolation",  # psycopg's
    "foreign_key",  # SQLAlchemy's
    "foreign_pre_chain",  # structlog's
    "TARGET",  # the action that asks for a target position
}
_SAID_WHOLE = re.compile(r"target_(position|quantity)", re.IGNORECASE)
_FORMS = {"dropped": "drop", "wishes": "wish"}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def retired_words(source: Source) -> list[str]:
    """Refuse names made of a retired word, with the word to use instead."""
    if source.package not in (*PACKAGES, "tests"):
        return []
    found = [f"{source.path}: {_instead(word)}" for word in _retired(source.path.removesuffix(".py"))]
    for node, name in _names(source.tree):
        if name not in ALLOWED:
            found += [f"{source.path}:{node.lineno}: {name}: {_instead(word)}" for word in _retired(name)]
    return found


def _retired(name: str) -> list[str]:
    words = (word.lower() for word in _WORD.findall(_SAID_WHOLE.sub("", name)))
    return [word for given in words if (word := _FORMS.get(given, given.rstrip("s"))) in RETIRED]


def _instead(word: str) -> str:
    return f"{word!r} is retired, write {RETIRED[word]}"


def _names(tree: ast.Module) -> Iterator[tuple[ast.expr | ast.stmt | ast.arg, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node, node.name
        elif isinstance(node, ast.arg):
            yield node, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node, node.attr
