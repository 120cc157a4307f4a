"""What the work of a template costs, and the counts that are put into it before it is compiled."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from executor.prompts.values import PLAIN_FIELDS

STEPS: Final = 300_000
PROMPT_STEPS: Final = 2 * STEPS
LONGEST_TEXT: Final = 1_000_000
COUNTED, WEIGHED, JOINED = "(counted)", "(weighed)", "(joined)"
_FEW: Final = 8
_TEXT_SHARE: Final = 4
_PAIR_SHARE: Final = 10
_LIGHT: Final = frozenset((bool, int, float, Decimal, datetime, type(None)))
_LISTS: Final[tuple[type[Any], ...]] = (
    list,
    tuple,
    set,
    frozenset,
    type({}.keys()),
    type({}.values()),
    type({}.items()),
)
_FORBIDDEN: Final[Mapping[type[nodes.Node], str]] = {
    nodes.Macro: "macro",
    nodes.CallBlock: "call",
    nodes.Import: "import",
    nodes.FromImport: "from ... import",
    nodes.Extends: "extends",
}


class Meter:
    """Count the steps of a rendering and of all that a prompt takes; raises SecurityError when they are used up."""

    __slots__ = ("_left", "_spare")

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin another prompt."""
        self._spare, self._left = PROMPT_STEPS - STEPS, STEPS

    def again(self) -> None:
        """Begin another rendering of the same prompt."""
        self._spare += self._left
        self._left = min(STEPS, self._spare)
        self._spare -= self._left

    def spend(self, steps: int) -> None:
        """Take `steps` off what is left."""
        self._left -= steps
        if self._left < 0:
            told = f"the template works for more than {STEPS:,} steps, or {PROMPT_STEPS:,} with all its cuts"
            raise SecurityError(f"{told}; loop over less")

    def weigh(self, value: Any) -> None:
        """Take off what it costs to walk through `value`, whatever it holds."""
        waiting = [value]
        while waiting:
            one = waiting.pop()
            kind = type(one)
            if kind in _LIGHT:
                continue
            if isinstance(one, str):
                self.spend(len(one) >> _TEXT_SHARE)
            elif kind in PLAIN_FIELDS:
                self.spend(len(PLAIN_FIELDS[kind]))
            elif isinstance(one, range):
                self.spend(len(one))
            elif isinstance(one, _LISTS):
                self.spend(len(one))
                waiting += one
            elif isinstance(one, Mapping | Namespace):
                held = one if isinstance(one, Mapping) else one._Namespace__attrs
                self.spend(len(held))
                waiting += (*held.keys(), *held.values())

    def weigh_given(self, values: Sequence[Any]) -> None:
        """Take off what a function may do with its arguments: walk through each, seek one text in another."""
        pairs = 1
        for value in values:
            if type(value) not in _LIGHT:
                self.weigh(value)
                pairs *= len(value) if isinstance(value, str) else 1
        if len(values) > 1:
            self.spend(pairs >> _PAIR_SHARE)

    def each(self, values: Iterable[Any], weight: int = 1) -> Iterator[Any]:
        """Pass `values` on; each costs `weight`."""
        for value in values:
            self.spend(weight)
            yield value

    def text(self, parts: Sequence[str]) -> str:
        """Return the parts as one text; raise SecurityError if that is too long."""
        length = sum(map(len, parts))
        self.spend(length >> _TEXT_SHARE)
        check_length(length)
        return "".join(parts)


class Counted:
    """Hold what a loop runs over; each turn costs its weight."""

    __slots__ = ("_meter", "_value", "_weight")

    def __init__(self, value: Any, weight: int, meter: Meter) -> None:
        self._value = value
        self._weight = weight
        self._meter = meter

    def __iter__(self) -> Iterator[Any]:
        return self._meter.each(self._value, self._weight)

    def __len__(self) -> int:
        return len(self._value)


class Bounds(NodeTransformer):
    """Put a count wherever a template may work for long; raises TemplateSyntaxError for what has no bound."""

    def __init__(self, name: str | None, filename: str | None) -> None:
        self._place = (name, filename)

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the node with its counts in it, or what stands in its place."""
        self._check(node)
        weight = size(node) if isinstance(node, nodes.For) else 0
        self.generic_visit(node, *args, **kwargs)
        match node:
            case nodes.For():
                node.iter = _filter(node.iter, COUNTED, nodes.Const(weight, lineno=node.lineno))
            case nodes.Concat():
                return _filter(nodes.Tuple(node.nodes, "load", lineno=node.lineno), JOINED)
            case nodes.Compare():
                node.expr = _filter(node.expr, WEIGHED)
                for operand in node.ops:
                    sought = nodes.Const(operand.op in ("in", "notin"), lineno=node.lineno)
                    operand.expr = _filter(operand.expr, WEIGHED, sought)
            case nodes.Getitem(arg=nodes.Slice()):
                node.node = _filter(node.node, WEIGHED)
            case nodes.List() | nodes.Tuple() | nodes.Dict() if len(node.items) > _FEW:
                return _filter(node, WEIGHED) if getattr(node, "ctx", "load") == "load" else node
        return node

    def _check(self, node: nodes.Node) -> None:
        listed = isinstance(node, nodes.Include) and (
            isinstance(node.template, nodes.List | nodes.Tuple)
            or (isinstance(node.template, nodes.Const) and not isinstance(node.template.value, str))
        )
        told = ""
        if type(node) in _FORBIDDEN:
            told = f"{{% {_FORBIDDEN[type(node)]} %}} is not for prompts; use include and set"
        elif isinstance(node, nodes.For) and node.recursive:
            told = "a recursive loop is not for prompts; write one loop in the other"
        elif listed:
            told = "include names one file, not a list"
        if told:
            raise TemplateSyntaxError(told, node.lineno, *self._place)


def size(node: nodes.Node) -> int:
    """Return how many parts a piece of a template has."""
    return 1 + sum(1 for _ in node.find_all(nodes.Node))


def check_length(length: int) -> None:
    """Raise SecurityError for a text that is too long."""
    if length > LONGEST_TEXT:
        raise SecurityError(f"a text of {length:,} characters; a prompt may hold {LONGEST_TEXT:,}")


def _filter(node: Any, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)
