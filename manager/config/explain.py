"""Turn what pydantic refused into one message a mistake, in the words of the config."""

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from manager.config.fields import Environment, Expect, one_of
from manager.config.schema import Section, TraderSection
from manager.config.source import Loc, Source, is_reference, shown

S = TypeVar("S", bound=Section)


def validated(source: Source, loc: Loc, kind: type[S], given: Any, environment: Environment) -> S | None:
    """Return `given` as a section, or None after noting every mistake in it."""
    if not isinstance(given, dict):
        source.report(loc, shown(loc, given), f"expected a mapping with the keys {_keys(kind)}")
        return None
    try:
        return kind.model_validate(given, context=environment)
    except ValidationError as refused:
        for error in refused.errors(include_url=False):
            _note(source, loc, kind, error)
        return None


def variant(source: Source, loc: Loc, kinds: Mapping[str, type[Section]], given: Any) -> type[Section] | None:
    """Return the section that the key `type` of `given` names, or None after noting the mistake."""
    if not isinstance(given, dict):
        source.report(loc, shown(loc, given), f"expected a mapping with a type, such as {{type: {next(iter(kinds))}}}")
        return None
    name = given.get("type")
    if name is None:
        source.report((*loc, "type"), "missing", f"add `type: ...`; {one_of(list(kinds), '')}")
        return None
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        source.report((*loc, "type"), shown((), name), one_of(list(kinds), name))
    return kind


def refuse_references(source: Source, allowed: frozenset[str]) -> None:
    """Note each ${NAME} outside the fields named `allowed`: only secrets come from the environment."""
    _scan(source, (), source.root, allowed)


def _scan(source: Source, loc: Loc, value: Any, allowed: frozenset[str]) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _scan(source, (*loc, key), item, allowed)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _scan(source, (*loc, index), item, allowed)
    elif isinstance(value, str) and "${" in value and loc[-1:] and loc[-1] not in allowed:
        mend = f"${{NAME}} stands for secrets only ({', '.join(sorted(allowed))}); write the value itself"
        source.report(loc, shown((), value) if is_reference(value) else shown(loc, value), mend)


def _note(source: Source, base: Loc, kind: type[Section], error: ErrorDetails) -> None:
    loc = (*base, *error["loc"])
    given = error["input"]
    match error["type"]:
        case "extra_forbidden":
            section = _section(kind, error["loc"][:-1])
            source.report(loc, shown(loc, given), _unknown(section, loc))
        case "missing":
            source.report(loc, "missing", f"add `{error['loc'][-1]}: ...`{_expected(kind, error['loc'], ', ')}")
        case "value_error":
            source.report(loc, shown(loc, given), str(error["ctx"]["error"]))
        case _:
            source.report(loc, shown(loc, given), _expected(kind, error["loc"]) or f"expected {_plain(error)}")


def _unknown(section: type[BaseModel], loc: Loc) -> str:
    if loc[-2:-1] == ("executor",) and loc[-1] in TraderSection.model_fields:
        return "belongs to the trader, not to its executor; write it one level up, beside `executor`"
    return f"unknown key; {one_of(list(section.model_fields), loc[-1])}"


def _plain(error: ErrorDetails) -> str:
    known = {
        "bool_type": "true or false",
        "string_type": "text in quotes",
        "list_type": "a list",
        "dict_type": "a mapping",
        "model_type": "a mapping",
    }
    return known.get(error["type"], error["msg"][:1].lower() + error["msg"][1:])


def _expected(kind: type[Section], loc: Loc, before: str = "") -> str:
    field = _field(kind, loc)
    words = [part.text for part in _metadata(field) if isinstance(part, Expect)] if field else []
    return f"{before}expected {words[-1]}" if words else ""


def _metadata(field: FieldInfo) -> list[Any]:
    """Return the field's metadata, also that inside `X | None`."""
    inner = [part for option in get_args(field.annotation) for part in getattr(option, "__metadata__", ())]
    return [*inner, *field.metadata]


def _field(kind: type[Section], loc: Loc) -> FieldInfo | None:
    section: type[BaseModel] | None = kind
    field: FieldInfo | None = None
    for part in loc:
        known = section.model_fields.get(part) if section is not None and isinstance(part, str) else None
        if known is not None:
            field = known
            section = _inner(known.annotation)
        elif isinstance(part, int):
            return None
    return field


def _section(kind: type[Section], loc: Loc) -> type[BaseModel]:
    section: type[BaseModel] = kind
    for part in loc:
        field = section.model_fields.get(part) if isinstance(part, str) else None
        if field is not None:
            section = _inner(field.annotation) or section
    return section


def _inner(annotation: Any) -> type[BaseModel] | None:
    for option in (annotation, *get_args(annotation)):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


def _keys(kind: type[Section]) -> str:
    return ", ".join(kind.model_fields)
