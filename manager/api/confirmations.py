"""Tokens that prove that somebody has just looked at what an act would do: bound to its scope, valid for a minute."""

import hmac
from base64 import urlsafe_b64encode
from hashlib import sha256
from http import HTTPStatus
from typing import Final

from exchanges.clock import Clock
from manager.api.problems import HttpProblem

VALID_S: Final = 60


class Confirmations:
    """Issue and check tokens under a key of the service; the clock is the injected one."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def issue(self, *parts: str) -> str:
        """Return the token of a dry run of what `parts` name."""
        until = int(self._clock.now().timestamp()) + VALID_S
        return f"{until}.{self._signed(until, parts)}"

    def check(self, token: str, *parts: str) -> None:
        """Raise HttpProblem (409) for a token that is none, is of something else, or has expired."""
        until, _, signed = token.partition(".")
        known = until.isascii() and until.isdecimal() and len(until) < 12
        if not known or not hmac.compare_digest(signed.encode(), self._signed(int(until), parts).encode()):
            raise _refused("is not of a dry run of exactly this; ask for the dry run and give its `confirm`")
        if int(until) < self._clock.now().timestamp():
            raise _refused(f"is older than {VALID_S} s; ask for the dry run again and give its `confirm`")

    def _signed(self, until: int, parts: tuple[str, ...]) -> str:
        text = "\0".join((str(until), *(f"{len(part)}:{part}" for part in parts)))
        return urlsafe_b64encode(hmac.digest(self._key, text.encode(), sha256)).decode().rstrip("=")


def _refused(why: str) -> HttpProblem:
    return HttpProblem(HTTPStatus.CONFLICT, "not-confirmed", f"confirm {why}", field="body.confirm")
