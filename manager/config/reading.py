"""Read sections out of one file: what pydantic refuses becomes one message a mistake, in the words of the config."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from manager.config.fields import Environment, Expect, Section, one_of, parse_id, quotes_mend
from manager.config.schema import RootSection, TraderSection
from manager.config.source import Loc, Source, shown
from manager.errors import Fault

S = TypeVar("S", bound=Section)
_PLAIN_TYPES = {
    "bool_type": "true or false",
    "string_type": "text in quotes",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}


def faults(kind: type[Section], loc: Loc, refused: ValidationError) -> Iterator[Fault]:
    """Yield each fault that pydantic found in the section `kind` at `loc`."""
    for error in refused.errors(include_url=False):
        yield _Refused(kind, loc, error).fault()


class _Refused:
    """One value that pydantic refused, put in the words that the section's fields expect."""

    def __init__(self, kind: type[Section], base: Loc, error: ErrorDetails) -> None:
        self._error = error
        self._loc = (*base, *error["loc"])
        self._section: type[BaseModel] = kind
        self._field: FieldInfo | None = None
        section: type[BaseModel] | None = kind
        for part in error["loc"]:
            known = section.model_fields.get(part) if section is not None and isinstance(part, str) else None
            if known is not None:
                self._field, section = known, section_of(known)
                self._section = section or self._section
            elif isinstance(part, int):
                self._field = None
                break

    def fault(self) -> Fault:
        error, loc = self._error, self._loc
        value = shown(loc, error["input"])
        match error["type"]:
            case "extra_forbidden":
                return Fault(loc=loc, value=value, mend=self._unknown())
            case "missing":
                mend = f"add `{error['loc'][-1]}: ...`{self._expected(', ')}"
                return Fault(loc=loc, value="missing", mend=mend)
            case "value_error":
                return Fault(loc=loc, value=value, mend=str(error["ctx"]["error"]))
            case "string_type" if mend := quotes_mend(error["input"]):
                return Fault(loc=loc, value=value, mend=mend)
        plain = _PLAIN_TYPES.get(error["type"], error["msg"][:1].lower() + error["msg"][1:])
        return Fault(loc=loc, value=value, mend=self._expected() or f"expected {plain}")

    def _unknown(self) -> str:
        if self._loc[-2:-1] == ("executor",) and self._loc[-1] in TraderSection.model_fields:
            return "belongs to the trader, not to its executor; write it one level up, beside `executor`"
        key = self._loc[-1]
        if isinstance(key, str) and key.isdecimal() and self._error["input"] is None:
            return f"is the rest of a number with a comma; write it without, such as 10000 for 10,{key}"
        return f"unknown key; {one_of(list(self._section.model_fields), self._loc[-1])}"

    def _expected(self, before: str = "") -> str:
        parts = field_metadata(self._field) if self._field is not None else []
        words = [part.text for part in parts if isinstance(part, Expect)]
        return f"{before}expected {words[-1]}" if words else ""


def field_metadata(known: FieldInfo) -> list[Any]:
    """Return a field's metadata, also that inside `X | None`."""
    inner = [part for option in get_args(known.annotation) for part in getattr(option, "__metadata__", ())]
    return [*inner, *known.metadata]


def section_of(known: FieldInfo) -> type[BaseModel] | None:
    """Return the section that a field holds, also by name or as `X | None`; None for anything else."""
    for part in (known.annotation, *get_args(known.annotation)):
        option = part.__origin__ if hasattr(part, "__metadata__") else part
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Carry what every part of one file's reading needs."""

    source: Source
    environment: Environment
    root: RootSection

    def report(self, loc: Loc, value: str, mend: str) -> None:
        """Note a mistake at `loc`, unless there is one already."""
        self.source.report(loc, value, mend)

    def named(self, loc: Loc) -> bool:
        """Tell whether the last part of `loc` is sound as an id, and note it if it is not."""
        try:
            parse_id(loc[-1])
        except ValueError as error:
            self.report(loc, shown((), loc[-1]), str(error))
            return False
        return True

    def validated(self, loc: Loc, kind: type[S], given: Any) -> S | None:
        """Return `given` as a section, or None after noting every mistake in it."""
        return validated(self.source, loc, kind, given, self.environment)

    def variant(self, loc: Loc, kinds: Mapping[str, type[S]], given: Any) -> type[S] | None:
        """Return the section that the key `type` of `given` names, or None after noting the mistake."""
        if not isinstance(given, dict):
            expected = f"expected a mapping with a type, such as {{type: {next(iter(kinds))}}}"
            self.report(loc, shown(loc, given), expected)
            return None
        name = given.get("type")
        if name is None:
            self.report((*loc, "type"), "missing", f"add `type: ...`; {one_of(list(kinds), '')}")
            return None
        kind = kinds.get(name) if isinstance(name, str) else None
        if kind is None:
            self.report((*loc, "type"), shown((), name), one_of(list(kinds), name))
        return kind


def validated(source: Source, loc: Loc, kind: type[S], given: Any, environment: Environment) -> S | None:
    """Return `given` as a section, or None after noting in `source` every mistake in it."""
    if not isinstance(given, dict):
        source.report(loc, shown(loc, given), f"expected a mapping with the keys {', '.join(kind.model_fields)}")
        return None
    try:
        return kind.model_validate(given, context=environment)
    except ValidationError as refused:
        for one in faults(kind, loc, refused):
            source.report(one.loc, one.value, one.mend)
        return None
