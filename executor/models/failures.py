"""What an endpoint's error means: a status and a text become one named error with its mend.

The words are those that OpenAI, Anthropic, DeepSeek, Qwen, Mistral, Gemini, vLLM, llama.cpp, Ollama, OpenRouter and
LiteLLM are known to answer with.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Final

from executor import errors

_LONGEST: Final = 300
_SHORTEST_SECRET: Final = 4
_TOO_LONG_STATUSES: Final = (400, 413, 422, 500)
_NEVER: Final = (501, 505)
_TURNED_AWAY: Final = (503, 529)
_TOO_LONG: Final = re.compile(
    r"context_?length_?exceeded|exceed_context_size|contextwindowexceeded|maximum context length|context window"
    r"|(?:exceeds?|larger than|longer than|over) (?:the |its )?(?:available |maximum |model'?s? )*(?:context|model) "
    r"(?:size|length|limit)|maximum model length|exceeds? context limit|(?:prompt|input|request) is too long"
    r"|range of input length|input token count|reduce the length of the (?:messages|prompt|input)"
    r"|too large for model with \d+ maximum context"
)
_NO_MODEL: Final = re.compile(
    r"model_not_found|model[ _]not[ _](?:exists?|found)|(?:no|unknown|invalid) (?:such )?model|not a valid model"
    r"|model\b.{0,120}\b(?:does not exist|do(?:es)? not have access|not found|is not available|is not supported)"
    r"|not_found_error.{0,40}model"
)
_NO_CREDIT: Final = re.compile(
    r"insufficient_quota|insufficient[ _](?:balance|credits?|funds)|credit balance is too low"
    r"|exceeded your current quota"
)
_USED_UP_FOR_NOW: Final = re.compile(r"resource_exhausted|retry in \d")
_BAD_KEY: Final = re.compile(r"api[ _]key[ _](?:not[ _]valid|invalid|expired)|(?:invalid|incorrect) api[ _]key")
_RETRY_IN: Final = re.compile(r"retry in (\d{1,9}(?:\.\d{1,9})?) ?s\b")
_BROKEN_OFF: Final = ("RemoteProtocolError", "ReadError", "WriteError", "CloseError", "EndOfStream")
_FORMAT: Final = re.compile(r"response_format|json_schema|json_object|structured output|grammar|guided")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Hold an error as it came over the wire; `body` is parsed JSON or text."""

    status: int
    body: object
    retry_after_s: float | None = None

    def failure(self, where: str, secret: str) -> errors.ModelError:
        """Return the named error of an answer with a status other than success; its message is without `secret`."""
        code, text = self._words()
        known = f"{code} {text}".lower()
        said = f"{where} answered {self.status}: {without(text, secret)[:_LONGEST]}"
        if self.status in _TOO_LONG_STATUSES and _TOO_LONG.search(known):
            mend = "shorten the prompt, lower max_tokens or use a model with more context"
            return errors.ContextOverflow(f"{said}; {mend}")
        if self.status == 429 and _USED_UP_FOR_NOW.search(known) and "insufficient_quota" not in known:
            return self._by_status(said, known)
        if self.status == 402 or _NO_CREDIT.search(known):
            return errors.OutOfCredit(f"{said}; pay in at the provider or use another key")
        if self.status in (400, 404, 422) and _NO_MODEL.search(known):
            return errors.UnknownModel(f"{said}; correct the model's name")
        return self._by_status(said, known)

    def _by_status(self, said: str, known: str) -> errors.ModelError:
        status, retry_after_s = self.status, self.retry_after_s
        if status == 429:
            asked = _RETRY_IN.search(known) if retry_after_s is None else None
            wait_s = float(asked[1]) if asked else retry_after_s
            return errors.RateLimited(f"{said}; ask less often, or set requests_per_minute", retry_after_s=wait_s)
        if status >= 500 and status not in _NEVER:
            told = f"{said}; it failed on its side: look there, or name a fallback"
            return errors.ModelOverloaded(told, retry_after_s=retry_after_s).told(ran=status not in _TURNED_AWAY)
        if status == 408:
            return errors.ModelTimeout(f"{said}; it took too long: use a faster model or a shorter prompt")
        kind, mend = errors.ExecutorUnavailable if status >= 500 else errors.CallRejected, ""
        if status in (401, 403) or (status == 400 and _BAD_KEY.search(known)):
            kind, mend = errors.Unauthorized, "; check the key in the variable that api_key names, and what it may use"
        elif status in (404, 405):
            mend = "; base_url usually ends in /v1"
        elif status < 400:
            mend = " (moved); write the new address as base_url"
        elif _FORMAT.search(known):
            mend = "; set structured: json_object or none for this model"
        return kind(f"{said}{mend}")

    def _words(self) -> tuple[str, str]:
        """Return the codes and the message of an error's body, whatever it looks like."""
        if isinstance(self.body, str):
            return "", self.body or "nothing"
        body = _single(self.body)
        if not isinstance(body, Mapping):
            return "", "nothing readable"
        inner = body.get("error") or body
        if not isinstance(inner, Mapping):
            return "", str(inner)
        code = " ".join(str(inner[name]) for name in ("code", "type", "param", "status") if inner.get(name))
        text = next((str(inner[name]) for name in ("message", "detail", "msg") if inner.get(name)), "")
        return code, text or json.dumps(dict(inner), default=str)


def connection_failure(where: str, cause: BaseException, secret: str) -> errors.ModelError:
    """Return the named error of a call that brought no answer, in words; `secret` is kept out of its message."""
    kind, text = type(cause).__name__, without(str(cause), secret)[:_LONGEST]
    if kind == "LocalProtocolError":  # it quotes the headers, and the key in them, in spellings of its own
        return errors.CallRejected(f"{where} was not asked: the request cannot be sent; check the key and base_url")
    if kind in _BROKEN_OFF:
        told = "broke the connection off, or does not speak HTTP; check base_url, and what the endpoint logs"
    elif kind == "ConnectTimeout":
        told = "cannot be reached: no connection in time; check base_url and that it runs"
    elif kind == "ProxyError":
        told = f"cannot be reached: its proxy refuses ({text}); check HTTPS_PROXY and NO_PROXY"
    else:
        told = f"cannot be reached ({text or kind}); check base_url and that it runs"
    return errors.ModelUnreachable(f"{where} {told}")


def body_of(content: bytes) -> object:
    """Return an answer as JSON, or as text where it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return content.decode(errors="replace").strip()


def error_in(content: bytes) -> Answered | None:
    """Return the error that an endpoint wrapped into an answer of status 200, None if there is none."""
    body = _single(body_of(content))
    error = body.get("error") if isinstance(body, dict) else None
    if not error:
        return None
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return Answered(status=status, body=error)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer asks to wait, None if it does not say; a date counts from the answer's own."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with suppress(KeyError, ValueError):
            asked_s = float(headers[name]) * unit_s
            if isfinite(asked_s) and asked_s >= 0:
                return asked_s
    with suppress(KeyError, ValueError, TypeError, OverflowError):
        until, since = (parsedate_to_datetime(headers[name]) for name in ("retry-after", "date"))
        return max(0.0, (until - since).total_seconds())
    return None


def without(text: str, secret: str) -> str:
    """Return `text` with `secret` blanked, also as JSON writes it; what is too short is a placeholder, no secret."""
    if len(secret) < _SHORTEST_SECRET:
        return text
    return text.replace(secret, "***").replace(json.dumps(secret)[1:-1], "***")


def _single(body: object) -> object:
    """Take an error out of the list in which Gemini sends it."""
    return body[0] if isinstance(body, list) and len(body) == 1 else body
