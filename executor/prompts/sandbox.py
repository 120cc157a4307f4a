"""Jinja2 within bounds: a template reads plain values, ends soon, and makes no text of absurd length.

Without macros, imports and recursion a template's work is its loops and the values they run over. Every turn of a loop
costs as many steps as its body has parts, every value that is compared, joined or filtered as many as it has elements.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import wraps
from types import GeneratorType
from typing import Any, Final

from jinja2 import BaseLoader, StrictUndefined, Template, Undefined, pass_context
from jinja2.exceptions import SecurityError
from jinja2.filters import do_format, do_int, do_replace, do_round, do_tojson
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from executor.contract import Limits
from executor.prompts.bounds import COUNTED, JOINED, WEIGHED, Bounds, Counted, Meter, check_length, size
from executor.prompts.values import FILTERS, PLAIN_FIELDS

_INT_BITS: Final = 4_096
_MOST_EXPONENT: Final = 1_000
_WIDE: Final = re.compile(r"%(?:\(\w*\))?[^a-zA-Z%]*(?:\d{3}|\*)")
_DIGITS: Final = 30
_MOST_INDENT: Final = 8
_GLOBALS: Final = ("range", "dict", "namespace")
_FILTERS: Final = """
    abs capitalize count d default dictsort first float groupby items last length list lower map max min reject
    rejectattr reverse select selectattr sort string title trim truncate unique upper
"""
_TESTS: Final = """
    boolean defined divisibleby eq equalto even false float ge greaterthan gt in integer iterable le lessthan lower lt
    mapping ne none number odd sameas sequence string true undefined upper == != > >= < <=
"""
_PLAIN: Final = frozenset(("age", "duration", "instant", "number"))
_METHODS: Final[Mapping[type[Any], frozenset[str]]] = {
    str: frozenset(("endswith", "lower", "lstrip", "rstrip", "split", "startswith", "strip", "title", "upper")),
    dict: frozenset(("get", "items", "keys", "values")),
    datetime: frozenset(("date", "isoformat", "strftime", "time", "weekday")),
    timedelta: frozenset(("total_seconds",)),
    Limits: frozenset(("max_leverage",)),
    LoopContext: frozenset(("changed", "cycle")),
}


class PromptEnvironment(ImmutableSandboxedEnvironment):
    """Compile and run templates within the bounds of one meter.

    Names are strict; an include is relative to the file that asks for it.
    """

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "**", "%"))

    def __init__(self, loader: BaseLoader) -> None:
        super().__init__(
            loader=loader,
            undefined=StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            finalize=self._shown,
        )
        self.meter = Meter()
        self.concat = self._concat  # type: ignore[method-assign]  # what compiled templates join their buffers with
        self.policies["json.dumps_kwargs"] = {"sort_keys": False}
        self._weights: dict[str | None, int] = {}
        self.globals = {name: self.globals[name] for name in _GLOBALS}
        kept: dict[str, Any] = {name: self.filters[name] for name in _FILTERS.split()}
        kept |= {**FILTERS, "format": self._format, "int": self._int, "join": self._join, "replace": self._replace}
        kept |= {"round": self._round, "sum": self._sum, "tojson": self._tojson}
        self.filters = {
            name: function if name in _PLAIN else self._measured(function) for name, function in kept.items()
        }
        self.filters |= {COUNTED: self._counted, WEIGHED: self._weighed, JOINED: self._joined}
        tests: dict[str, Any] = self.tests
        self.tests = {name: self._measured(tests[name]) for name in _TESTS.split()}

    def compile(self, source: Any, name: Any = None, filename: Any = None, *rest: Any, **more: Any) -> Any:
        """Compile with a count in every loop; raise TemplateSyntaxError for what a prompt may not use."""
        if isinstance(source, str):
            source = self.parse(source, name, filename)
            source = Bounds(name, filename).visit(source)
            source.set_environment(self)
            self._weights[name] = size(source)
        return super().compile(source, name, filename, *rest, **more)

    def get_template(self, name: Any, parent: Any = None, globals: Any = None) -> Template:  # noqa: A002 - Jinja2's name
        """Return a template and count its parts, as it is about to be rendered."""
        template = super().get_template(name, parent, globals)
        self.meter.spend(self._weights.get(template.name, 1))
        return template

    def join_path(self, template: str, parent: str) -> str:
        """Return the name of an include: relative to the file that asks for it."""
        folder, slash, _ = parent.rpartition("/")
        return f"{folder}{slash}{template}" if not template.startswith("/") else template

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Read the fields of plain values at once, and anything else with Jinja2's checks."""
        return (
            getattr(obj, attribute) if attribute in PLAIN_FIELDS.get(type(obj), ()) else super().getattr(obj, attribute)
        )

    def is_safe_callable(self, obj: Any) -> bool:
        """Allow the few functions and methods that are known to be cheap; an undefined name raises its own error."""
        if isinstance(obj, Undefined):
            return True
        owner = getattr(obj, "__self__", None)
        if owner is None or isinstance(owner, type):
            return any(obj is known for known in self.globals.values())
        return getattr(obj, "__name__", "") in _METHODS.get(type(owner), ())

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call what may be called; what it is given is counted."""
        self.meter.weigh_given((*args, *kwargs.values(), getattr(obj, "__self__", None)))
        if not self.is_safe_callable(obj):
            raise SecurityError(f"{getattr(obj, '__name__', type(obj).__name__)!r} may not be called in a prompt")
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Return the result of an operator on numbers, or of putting texts and lists together; it must stay small."""
        if operator == "+":
            self.meter.weigh((left, right))
        elif operator == "%" and isinstance(left, str):
            values = right if isinstance(right, tuple) else (right,)
            self.meter.weigh_given((left, *values))
            return self._format(left, *values)
        elif isinstance(left, str | list | tuple) or isinstance(right, str | list | tuple):
            raise SecurityError(f"{operator!r} is for numbers, not for texts and lists")
        elif isinstance(left, int) and isinstance(right, int) and operator in ("*", "**"):
            bits = left.bit_length() * (right if operator == "**" else 1) + right.bit_length()
            if bits > _INT_BITS:
                raise SecurityError(f"the result of {operator!r} would have about {bits:,} bits")
        elif isinstance(left, Decimal) and isinstance(right, float):
            right = Decimal(repr(right))
        elif isinstance(left, float) and isinstance(right, Decimal):
            left = Decimal(repr(left))
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, str):
            check_length(len(result))
        elif isinstance(result, Decimal) and abs(result.adjusted()) > _MOST_EXPONENT:
            raise SecurityError(f"the result of {operator!r} has an exponent of {result.adjusted():,}")
        return result

    def _shown(self, value: Any) -> Any:
        if not isinstance(value, str):
            self.meter.weigh(value)
        return value

    def _concat(self, parts: Any) -> str:
        return self.meter.text(list(parts))

    def _join(self, value: Any, d: str = "", attribute: str | None = None) -> str:
        parts = [str(part) for one in self._each(value, attribute) for part in (d, self._shown(one))][1:]
        return self.meter.text(parts)

    def _sum(self, value: Any, attribute: str | None = None) -> Any:
        return sum(self._each(value, attribute))

    def _each(self, value: Any, attribute: str | None) -> Any:
        return value if attribute is None else (self.getattr(one, attribute) for one in value)

    @pass_context
    def _counted(self, context: Context, value: Any, weight: int) -> Counted:
        """A filter that is given the context is not computed once and for all while a template is compiled."""
        del context
        return Counted(value, weight, self.meter)

    @pass_context
    def _weighed(self, context: Context, value: Any, sought: bool = False) -> Any:
        del context
        if not (sought and isinstance(value, Mapping)):
            self.meter.weigh(value)
        return value

    @pass_context
    def _joined(self, context: Context, parts: tuple[Any, ...]) -> str:
        del context
        self.meter.weigh(parts)
        return self.meter.text([str(part) for part in parts])

    def _measured(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Count what a filter or test is given, as far as that may be long."""
        first, meter = 1 if hasattr(function, "jinja_pass_arg") else 0, self.meter

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            meter.weigh_given(args[first:] if not kwargs else (*args[first:], *kwargs.values()))
            result = function(*args, **kwargs)
            return meter.each(result) if isinstance(result, GeneratorType) else result

        return run

    @staticmethod
    def _format(value: str, *args: Any, **kwargs: Any) -> str:
        if _WIDE.search(value):
            raise SecurityError("a width or precision of three digits or more; expected such as %.2f")
        return do_format(value, *args, **kwargs)

    @staticmethod
    def _int(value: Any, default: int = 0, base: int = 10) -> int:
        result = do_int(value, default, base)
        if result.bit_length() > _INT_BITS:
            raise SecurityError(f"a whole number of {result.bit_length():,} bits; expected at most {_INT_BITS:,}")
        return result

    @staticmethod
    @wraps(do_replace)
    def _replace(eval_ctx: Any, s: Any, old: Any, new: Any, count: int | None = None) -> str:
        text, sought, put = str(s), str(old), str(new)
        check_length(len(text) + text.count(sought) * len(put))
        return do_replace(eval_ctx, text, sought, put, count)

    @staticmethod
    def _round(value: Any, precision: int = 0, method: Any = "common") -> Any:
        if abs(precision) > _DIGITS:
            raise SecurityError(f"round({precision}): expected at most {_DIGITS} digits")
        return do_round(value, precision, method)

    @staticmethod
    @wraps(do_tojson)
    def _tojson(eval_ctx: Any, value: Any, indent: int | None = None) -> Any:
        if indent is not None and not 0 <= indent <= _MOST_INDENT:
            raise SecurityError(f"tojson(indent={indent}): expected 0 to {_MOST_INDENT}")
        return do_tojson(eval_ctx, value, indent)
