"""The kinds of value a config may hold: each parses strictly and says what it expects."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Any, Final
from unicodedata import category

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from executor.errors import ExecutorConfigError
from executor.models.addresses import check_key
from manager.config.source import is_reference

RESERVED_IDS: Final = ("EXTERNAL", "UNALLOCATED", "ROUNDING")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_UNIT_WORDS: Final = {
    word: letter
    for letter, words in {
        "s": "s sec secs second seconds",
        "m": "m min mins minute minutes",
        "h": "h hr hrs hour hours",
        "d": "d day days",
    }.items()
    for word in words.split()
}
_DURATION: Final = re.compile(r"(\d{1,9})([smhd])")
_LOOSE_DURATION: Final = re.compile(r"\s*(\d{1,9}(?:\.\d{1,3})?)\s*([a-z]*)\s*", re.IGNORECASE)
_WITH_UNIT: Final = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*(%|usd|usdt|\$|bps|bp|x)\s*", re.IGNORECASE)
_QUOTED_NUMBER: Final = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_GROUPED: Final = re.compile(r"-?\d{1,3}(?:[,' ]\d{3})+(?:\.\d+)?|-?\d+,\d+")
_STEERING: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS: Final = "\u200c\u200d"
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Expect:
    """Say in words what a field takes, for the message about a value that it does not take, with an example of one."""

    text: str
    example: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """Give an example of a field's value, and its type in words where none is expected, for the page of the config."""

    text: str
    type: str = ""


@dataclass(frozen=True, slots=True)
class Environment:
    """Carry the environment into validation and collect the variables that secrets name."""

    variables: Mapping[str, str]
    used: dict[str, str]


class Section(BaseModel):
    """Refuse unknown keys and silent conversions; a string below a key says what it is for."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


EMPTY_IS_DEFAULT: Final = BeforeValidator(lambda given: {} if given is None else given)
EMPTY_IS_NOTHING: Final = BeforeValidator(lambda given: [] if given is None else given)


def one_of(options: list[str], given: object) -> str:
    """Return `did you mean X?` where `given` is near one of `options`, then what there is."""
    near = get_close_matches(str(given).lower(), [option.lower() for option in options], n=1, cutoff=0.6)
    meant = next((option for option in options if near and option.lower() == near[0]), "")
    if meant and len(options) == 1:
        return f"did you mean {meant}?"
    listed = ", ".join(options[:12]) + (f" and {len(options) - 12} more" if len(options) > 12 else "")
    expected = f"expected one of {listed}" if len(options) > 1 else f"expected {listed or 'nothing here'}"
    return f"did you mean {meant}? {expected}" if meant else expected


def parse_duration(value: object) -> int:
    """Return whole seconds of `30s`, `3m`, `1h` or `2d`; ValueError carries the mend."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return int(match[1]) * _UNITS[match[2]]
    expected = "expected a duration such as 30s, 3m or 1h"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        raise ValueError(f"has no unit; {expected}; write {spelled(value)} if these are seconds")
    match = _LOOSE_DURATION.fullmatch(value) if isinstance(value, str) else None
    word = match[2].lower() if match else ""
    if match is None or word not in _UNIT_WORDS:
        raise ValueError(expected)
    seconds = Decimal(match[1]) * _UNITS[_UNIT_WORDS[word]]
    whole = int(seconds)
    raise ValueError(f"{expected}; write {spelled(whole)}" if whole == seconds else f"{expected}, in whole seconds")


def spelled(seconds: int) -> str:
    """Return seconds as a config writes them: 90s, 3m, 1h, 2d."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"


def parse_number(value: object) -> Decimal:
    """Return an exact finite number; ValueError carries the mend."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, Decimal) and value.is_finite():
        return value
    raise ValueError(_number_mend(value, "a number"))


def parse_count(value: object) -> int:
    """Return a whole number; ValueError carries the mend."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(_number_mend(value, "a whole number"))


def _number_mend(value: object, expected: str) -> str:
    if isinstance(value, str) and (match := _WITH_UNIT.fullmatch(value)):
        return f"expected {expected} without a unit, which is in the name of the field; write {match[1]}"
    if isinstance(value, str) and value[:1] == "$" and _QUOTED_NUMBER.fullmatch(value[1:]):
        return f"expected {expected} without a unit, which is in the name of the field; write {value[1:]}"
    if isinstance(value, str) and _QUOTED_NUMBER.fullmatch(value):
        return f"expected {expected}; remove the quotes"
    if isinstance(value, str) and _GROUPED.fullmatch(value):
        return f"expected {expected}; write it without commas or blanks between its digits, and with a decimal point"
    if isinstance(value, Decimal) and not value.is_finite():
        return f"expected a finite number, such as {10000 if expected == 'a number' else 10}"
    return f"expected {expected}"


def parse_id(value: object) -> str:
    """Return an id that is safe in keys, file names and order ids; ValueError carries the mend."""
    if mend := quotes_mend(value):
        raise ValueError(mend)
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError("expected 1 to 64 letters, digits, _ . or -, beginning with a letter or digit")
    if value.upper() in RESERVED_IDS:
        raise ValueError("is reserved for the desk's own books; choose another id")
    return value


def quotes_mend(value: object) -> str:
    """Return the mend for a word that YAML takes for a number or a truth value, empty for anything else."""
    if value is None:
        return "this is read as nothing; write it in quotes"
    if not isinstance(value, bool | int | Decimal):
        return ""
    return f"this is read as {'true or false' if isinstance(value, bool) else 'a number'}; write it in quotes"


def steering(text: str, allowed: str = "") -> str:
    """Return the first character of a text that would steer a terminal or cannot be stored, as U+202E; else empty."""
    found = next((one for one in text if category(one) in _STEERING and one not in allowed + _JOINERS), "")
    return f"U+{ord(found):04X}" if found else ""


def _shown_text(allowed: str) -> AfterValidator:
    def check(text: str) -> str:
        if sign := steering(text, allowed):
            raise ValueError(f"holds the control character {sign}; remove it")
        return text

    return AfterValidator(check)


def parse_secret(value: object, info: ValidationInfo) -> str:
    """Return the reference `${NAME}` and note its value, without blanks around it; ValueError carries the mend."""
    if not isinstance(value, str) or not is_reference(value):
        raise ValueError(
            "expected a reference such as ${NAME}; put the secret into the environment, not into this file"
        )
    name = value[2:-1]
    environment = info.context
    if not isinstance(environment, Environment):
        raise TypeError("secrets are validated with an Environment as the context")
    found = environment.variables.get(name, "").strip()
    if not found:
        raise ValueError(f"the environment variable {name} is not set; export {name}=... before you start")
    environment.used[name] = found
    return value


def parse_key(value: object, info: ValidationInfo) -> str:
    """Return the reference to a key that goes into a header, and note its value; ValueError carries the mend."""
    reference = parse_secret(value, info)
    name = reference[2:-1]
    key = info.context.used[name] if isinstance(info.context, Environment) else ""
    try:
        check_key(key, f"the environment variable {name}")
    except ExecutorConfigError as error:
        raise ValueError(str(error)) from None
    return reference


def choice(kind: type[StrEnum]) -> BeforeValidator:
    """Return a validator that takes a member's value and suggests the nearest one otherwise."""

    def parse(value: object) -> Any:
        if isinstance(value, str) and value in list(kind):
            return kind(value)
        raise ValueError(one_of([str(member) for member in kind], value))

    return BeforeValidator(parse)


_REFERENCE = Example("${NAME}", "a variable of the environment")
Secret = Annotated[str, BeforeValidator(parse_secret), _REFERENCE]
Key = Annotated[str, BeforeValidator(parse_key), _REFERENCE]
Id = Annotated[str, BeforeValidator(parse_id), Example("trend_btc", "1 to 64 letters, digits, _ . or -")]
Number = Annotated[Decimal, BeforeValidator(parse_number)]
Count = Annotated[int, BeforeValidator(parse_count)]
Duration = Annotated[
    int, BeforeValidator(parse_duration), Field(ge=1, le=31_536_000), Expect("a duration from 1s to 365d", "30s")
]
DurationOrZero = Annotated[
    int, BeforeValidator(parse_duration), Field(ge=0, le=31_536_000), Expect("a duration from 0s to 365d", "30d")
]
_RETAINED: Final = Field(le=10 * 31_536_000)
Retention = Annotated[
    int, BeforeValidator(parse_duration), Field(ge=1), _RETAINED, Expect("a duration from 1s to 3650d", "90d")
]
RetentionOrNone = Annotated[
    int, BeforeValidator(parse_duration), Field(ge=0), _RETAINED, Expect("a duration from 0s to 3650d", "30d")
]
Percent = Annotated[Number, Field(ge=0, le=100), Expect("a percentage from 0 to 100", "10")]
Share = Annotated[Number, Field(gt=0, le=100), Expect("a percentage above 0, up to 100", "60")]
Usd = Annotated[Number, Field(gt=0, le=Decimal("1e12")), Expect("an amount above 0 USD", "1000")]
Price = Annotated[Number, Field(ge=0, le=Decimal("1e6")), Expect("USD for a million tokens, 0 or more", "2.5")]
Positive = Annotated[Number, Field(gt=0, le=Decimal("1e12")), Expect("a number above 0", "0.1")]
Bps = Annotated[Number, Field(ge=0, lt=10_000), Expect("basis points from 0 to 10000 (1 is 0.01 %)", "4.5")]
Leverage = Annotated[Count, Field(ge=1, le=125), Expect("a leverage from 1 to 125", "5")]
Positions = Annotated[Count, Field(ge=1, le=1_000), Expect("a whole number from 1 to 1000", "3")]
AccountCount = Annotated[Count, Field(ge=1, le=100_000), Expect("a whole number from 1 to 100000", "10")]
Text = Annotated[str, Field(min_length=1, max_length=200), _shown_text(""), Expect("a text of 1 to 200 characters")]
Note = Annotated[str, Field(max_length=2000), _shown_text("\n\t"), Expect("a text of up to 2000 characters")]
