"""Read a YAML, JSON or TOML file into plain values that remember their lines."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from manager.config.errors import ConfigError, Problem
from manager.config.toml import read_toml

Loc = tuple[str | int, ...]
SECRET_WORDS = ("key", "secret", "token", "password", "webhook", "credential", "mnemonic")
HIDDEN = "(hidden)"
_PLAIN_WORDS = ("mtok",)
_LONGEST_VALUE = 80
_DEEPEST = 30
_MOST_VALUES = 2_000_000
_LONGEST_NUMBER = 40
_FORMS = {".json": "JSON", ".toml": "TOML"}
_MENDS = {
    "single document": "keep one document and remove its ---",
    "'\\t'": "a tab cannot indent; write blanks",
    "recursion": "it is nested too deeply",
    "4300 digits": "no field takes a number so long",
    "TOML": "correct it there",
    "": "correct the indentation, quotes or brackets here",
}
_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_REFERENCE = re.compile(r"\$\{([^{}\n]*)\}")
_OPEN, _CLOSE = "\ue000", "\ue001"


@dataclass(slots=True, kw_only=True)
class Source:
    """Hold one file's values, the line of each, and the mistakes found so far, at most one for each place."""

    path: Path
    root: Any = None
    lines: dict[Loc, int] = field(default_factory=dict)
    offsets: dict[Loc, int] = field(default_factory=dict)
    problems: dict[Loc, Problem] = field(default_factory=dict)

    def line(self, loc: Loc) -> int:
        """Return the line of `loc`, or of the nearest place around it."""
        while loc and loc not in self.lines:
            loc = loc[:-1]
        return self.lines.get(loc, 0)

    def report(self, loc: Loc, value: str, mend: str) -> None:
        """Note a mistake at `loc`, unless there is one already."""
        problem = Problem(file=str(self.path), line=self.line(loc), field=dotted(loc), value=value, mend=mend)
        self.problems.setdefault(loc, problem)

    def text(self, given: bytes) -> str:
        """Return the text of a file; note what is none, and raise UnicodeDecodeError for what is no UTF-8."""
        if given[:2] in (b"\xff\xfe", b"\xfe\xff") or given[1:2] == b"\0":
            self.report((), "", "is UTF-16 text; save it as UTF-8")
            self.finish()
        if b"\0" in given:
            self.lines[()] = given.count(b"\n", 0, given.index(b"\0")) + 1
            self.report((), "", "holds a NUL character here; remove it")
            self.finish()
        return given.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")

    def refuse_references(self, allowed: frozenset[str]) -> None:
        """Note each ${NAME} outside the fields named `allowed`: only secrets come from the environment."""
        for loc, text in _texts((), self.root):
            if "${" in text and loc[-1:] and loc[-1] not in allowed:
                mend = f"${{NAME}} stands for secrets only ({', '.join(sorted(allowed))}); write the value itself"
                self.report(loc, shown((), text) if is_reference(text) else shown(loc, text), mend)

    def misread(self, error: Exception) -> None:
        """Note that the text is no YAML, JSON or TOML, on the line where that shows."""
        text, line = str(error).splitlines()[0] if str(error) else type(error).__name__, 0
        if isinstance(error, MarkedYAMLError):
            mark, context = error.problem_mark or error.context_mark, error.context_mark
            begins = f"that begins in line {context.line + 1}:" if error.context and context else ""
            text = " ".join(part for part in (error.context, begins, error.problem) if part)
            line = mark.line + 1 if mark is not None else 0
        self.lines[()] = line
        mend = next((mend for sign, mend in _MENDS.items() if sign in text), _MENDS[""])
        form = _FORMS.get(self.path.suffix.lower(), "YAML")
        self.report((), "", f"is not valid {form} ({text.partition('; use sys.')[0]}); {mend}")

    def finish(self) -> None:
        """Raise ConfigError if any mistake was noted; one in an anchor that several share is told once."""
        if self.problems:
            raise ConfigError([self._told(locs) for locs in self._shared().values()])

    def _shared(self) -> dict[tuple[object, ...], list[Loc]]:
        shared: dict[tuple[object, ...], list[Loc]] = {}
        for loc, problem in self.problems.items():
            place = self.offsets.get(loc, loc)
            shared.setdefault((place, problem.value, problem.mend), []).append(loc)
        return shared

    def _told(self, locs: list[Loc]) -> Problem:
        problem, others = self.problems[locs[0]], len(locs) - 1
        if not others:
            return problem
        noun = "trader" if all("traders" in loc for loc in locs) else "place"
        sharing = f"{noun} that shares it" if others == 1 else f"{noun}s that share it"
        return replace(problem, mend=f"{problem.mend}; and {others} other {sharing}")


def _texts(loc: Loc, value: Any) -> Iterator[tuple[Loc, str]]:
    if isinstance(value, str):
        yield loc, value
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts((*loc, key), item)


def dotted(loc: Loc) -> str:
    """Return `loc` as it is written in messages: traders[0].risk_params.max_positions."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def shown(loc: Loc, value: Any) -> str:
    """Return `value` as a message may show it: short, and hidden where the key sounds like a secret."""
    if any(isinstance(part, str) and sounds_secret(part) for part in loc):
        return value if isinstance(value, str) and is_reference(value) else HIDDEN
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def sounds_secret(key: str) -> bool:
    """Tell whether a key names a secret; a misspelt one does too, as its value may be the secret all the same."""
    name = key.lower()
    words = [word for word in name.replace("-", "_").split("_") if word not in _PLAIN_WORDS]
    return any(word in name for word in SECRET_WORDS) or any(get_close_matches(w, SECRET_WORDS, 1, 0.65) for w in words)


def is_reference(value: str) -> bool:
    """Tell whether `value` is exactly one ${NAME}."""
    name = value[2:-1]
    return value[:2] == "${" and value[-1:] == "}" and name.isidentifier() and name.isascii()


def read_source(path: Path) -> Source:
    """Return the values of the file at `path`, TOML by its name, YAML or JSON otherwise, which is YAML too.

    Raise ConfigError when it cannot be read at all. A key given twice is noted in the returned source; its first value
    counts.
    """
    source = Source(path=path)
    try:
        text = source.text(path.read_bytes())
        if path.suffix.lower() == ".toml":
            source.root, source.lines = read_toml(text)
            return source
        # In a flow mapping the braces of ${NAME} would end the value, so they stand in disguise while YAML is parsed.
        node = YAML(typ="rt").compose(_REFERENCE.sub(rf"{_OPEN}\1{_CLOSE}", text))
    except FileNotFoundError:
        source.report((), "", "no such file; pass the path of a config that is there")
    except OSError as error:
        source.report((), "", f"cannot be read ({error.strerror}); pass a readable YAML, JSON or TOML file")
    except UnicodeDecodeError as error:
        source.lines[()] = error.object.count(b"\n", 0, error.start) + 1
        source.report((), "", f"is not UTF-8 text (byte {error.start}); save it as UTF-8")
    except TOMLDecodeError as error:
        source.report((), "", f"is not valid TOML ({error}); correct it there")
    except (YAMLError, RecursionError, ValueError) as error:
        source.misread(error)
    else:
        if node is None or (isinstance(node, ScalarNode) and node.value == ""):
            source.report((), "", "is empty; write at least `exchanges:` and `traders:`")
        elif not isinstance(node, MappingNode):
            source.lines[()] = node.start_mark.line + 1
            source.report((), "", "expected a mapping with keys such as exchanges and traders")
        else:
            source.root = _Nodes(source).value((), node, 0)
    if source.root is None:
        source.finish()
    return source


class _Nodes:
    """Turn the nodes of a YAML file into plain values, and note the line of each in the source."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def value(self, loc: Loc, node: Node, depth: int) -> Any:
        source = self._source
        source.lines.setdefault(loc, node.start_mark.line + 1)
        if len(source.lines) > _MOST_VALUES:
            mend = "remove aliases that multiply, or split the file"
            source.report((), "", f"holds more than {_MOST_VALUES} values; {mend}")
            source.finish()
        if depth > _DEEPEST:
            mend = "remove the alias that contains itself"
            source.report(loc[:2], "", f"is nested more than {_DEEPEST} deep; {mend}")
            source.finish()
        if isinstance(node, MappingNode):
            return self._mapping(loc, node, depth)
        if isinstance(node, SequenceNode):
            return [self.value((*loc, index), item, depth + 1) for index, item in enumerate(node.value)]
        return self._scalar(loc, node)

    def _mapping(self, loc: Loc, node: MappingNode, depth: int) -> dict[str, Any]:
        source, values = self._source, dict[str, Any]()
        for key, item in self._pairs(loc, node, depth):
            name = self._plain(key.value) if isinstance(key, ScalarNode) else "?"
            here = (*loc, name)
            if not isinstance(key, ScalarNode):
                source.lines[here] = key.start_mark.line + 1
                source.report(here, "a list or mapping", "a key must be plain text; quote it or remove it")
            elif name in values:
                source.report(here, f"given again on line {key.start_mark.line + 1}", "keep one of the two")
            else:
                source.lines[here] = key.start_mark.line + 1
                source.offsets[here] = key.start_mark.index
                values[name] = self.value(here, item, depth + 1)
        return values

    def _pairs(self, loc: Loc, node: MappingNode, depth: int) -> Iterator[tuple[Node, Node]]:
        """Yield a mapping's own keys, then those that it merges from others and has not itself."""
        merged = []
        for key, item in node.value:
            if key.tag == _MERGE:
                found = list(item.value) if isinstance(item, SequenceNode) else [item]
                if not all(isinstance(one, MappingNode) for one in found):
                    here = key.start_mark.line + 1
                    self._source.lines.setdefault((*loc, "<<"), here)
                    self._source.report(
                        (*loc, "<<"), "no mapping", "<< takes a mapping, such as *anchor, or a list of them"
                    )
                merged += found
            else:
                yield key, item
        own = {key.value for key, _ in node.value if isinstance(key, ScalarNode)}
        for other in merged:
            if isinstance(other, MappingNode) and depth <= _DEEPEST:
                for key, item in self._pairs(loc, other, depth + 1):
                    if isinstance(key, ScalarNode) and key.value not in own:
                        own.add(key.value)
                        yield key, item

    def _scalar(self, loc: Loc, node: Node) -> Any:
        text, tag = self._plain(node.value), str(node.tag)
        match tag.removeprefix(_TAG):
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return self._integer(text)
            case "float":
                return self._decimal(text)
            case "str" | "timestamp":
                return text
        self._source.report(loc, shown(loc, text), f"the tag {tag} is not supported; remove it")
        return None

    @staticmethod
    def _plain(text: Any) -> str:
        return str(text).replace(_OPEN, "${").replace(_CLOSE, "}")

    @staticmethod
    def _integer(text: str) -> int | Decimal | str:
        plain = text.replace("_", "")
        try:
            based = plain.lstrip("+-")[:2].lower() in ("0x", "0o")
            if len(plain) > _LONGEST_NUMBER:
                return Decimal(int(plain, 0) if based else plain)
            return int(plain, 0) if based else int(plain)
        except (ValueError, InvalidOperation):
            return text

    @staticmethod
    def _decimal(text: str) -> Decimal | str:
        try:
            return Decimal(text.replace("_", "").replace(".inf", "Infinity").replace(".nan", "NaN"))
        except InvalidOperation:
            return text
