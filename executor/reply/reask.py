"""The second question: when a reply is asked for again, what the model is told, and which of two replies counts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from executor.contract import ItemError, Outcome
from executor.models.chat import Message
from executor.reply.parser import Reply
from executor.reply.text import clean_text

ATTEMPTS: Final = 2
_QUOTED_ERRORS: Final = 20
_QUOTED_REPLY: Final = 8_000
_KEPT_REPLY: Final = 100_000
_KEPT_IN_ALL: Final = 2 * _KEPT_REPLY


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Hold the text of one attempt and, once it was judged, what it asks for."""

    text: str
    reply: Reply | None = None


class Answers:
    """Keep the answers of one decision, of which at most ATTEMPTS are asked for."""

    def __init__(self) -> None:
        self._all: list[Answer] = []

    def heard(self, text: str) -> None:
        """Keep a text, which may be judged later."""
        self._all.append(Answer(text=text))

    def judged(self, reply: Reply) -> None:
        """Keep what the newest text asks for; a doubted one counts when it repeats the orders of an earlier one."""
        before = [answer.reply.doubted for answer in self._all[:-1] if answer.reply is not None]
        if reply.doubted is not None and any(one is not None and one.orders == reply.doubted.orders for one in before):
            reply = reply.doubted
        self._all[-1] = replace(self._all[-1], reply=reply)

    @property
    def complete(self) -> bool:
        """Tell whether nothing more is asked: the last attempt, or a usable reply that lost no close and no stop."""
        last = self._all[-1].reply
        return len(self._all) >= ATTEMPTS or (last is not None and last.usable and not last.lost_exit)

    @property
    def counting(self) -> Reply | None:
        """Return the reply that counts: the last usable one, but the first if the second lost a close or stop too.

        None while no reply is usable.
        """
        usable = [answer.reply for answer in self._all if answer.reply is not None and answer.reply.usable]
        if not usable:
            return None
        return usable[-1] if not usable[-1].lost_exit else usable[0]

    @property
    def text(self) -> str:
        """Return the texts as they are kept, the second under a line that says so."""
        first, *more = self._all or [Answer(text="")]
        texts = [clean_text(answer.text, _KEPT_REPLY) for answer in (first, *more)]
        return clean_text("\n\n--- asked again ---\n\n".join(texts), _KEPT_IN_ALL)

    @property
    def errors(self) -> tuple[ItemError, ...]:
        """Return what was wrong, first with the reply that counts, or the last one; the other's paths say whose."""
        counts = self.counting
        main = next((one for one in self._all if counts is not None and one.reply is counts), None)
        main = main or (self._all[-1] if self._all else None)
        found = list(main.reply.errors) if main is not None and main.reply is not None else []
        for name, answer in zip(("first reply", "second reply"), self._all, strict=False):
            if answer is not main and answer.reply is not None:
                found += [replace(error, path=f"{name}: {error.path}") for error in answer.reply.errors]
        return tuple(found)

    def verdict(self, finish: str) -> tuple[Outcome, str]:
        """Return the outcome, and a message where the errors say nothing; `finish` is why the model stopped."""
        if self.counting is not None:
            return Outcome.DECIDED, ""
        if self._all[-1].text.strip():
            return Outcome.INVALID_REPLY, ""
        silent = not any(answer.text.strip() for answer in self._all)
        when = ", twice" if silent else " when it was asked again; its first reply was not usable"
        told = f"the model answered nothing{when} (finish reason {clean_text(finish, 200) or 'not given'})"
        return Outcome.EMPTY, told


def correction(text: str, reply: Reply) -> Sequence[Message]:
    """Return what the model is told after a reply that is asked for again: its own words, cut, and every error."""
    errors = "\n".join(f"- {error.path}: {error.message}" for error in reply.errors[:_QUOTED_ERRORS])
    asked = f"Your answer was not valid:\n{errors}\nAnswer again with the corrected JSON object only."
    said = clean_text(text, _QUOTED_REPLY) or "(an empty answer)"
    return Message(role="assistant", text=said), Message(role="user", text=asked)
