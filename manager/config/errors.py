"""What is wrong with a config, one message a mistake."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Hold one mistake: where it is, the value as it may be shown and how to mend it; line 0 is the whole file.

    A secret is never in `value`.
    """

    file: str
    line: int
    field: str
    value: str
    mend: str

    def __str__(self) -> str:
        """Return the one message of this mistake."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        given = " ".join(part for part in (self.field, f"is {self.value}" if self.value else "") if part)
        return f"{place}: {given}: {self.mend}" if given else f"{place}: {self.mend}"


class ConfigError(Exception):
    """Carry every mistake of a config, in the order of its lines; nothing of that config is in use."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(map(str, self.problems)))
