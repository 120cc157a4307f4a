"""What an executor elsewhere, or the way to it, says instead of a decision, as an error."""

from typing import TYPE_CHECKING, Final

from executor.errors import (
    CallRejected,
    ModelError,
    ModelOverloaded,
    ModelTimeout,
    ModelUnreachable,
    RateLimited,
    ReplySyntaxError,
    Unauthorized,
    UnreadableAnswer,
)
from executor.reply.json_text import read_json
from executor.reply.parser import clean_text

if TYPE_CHECKING:
    import grpc

STOPPING: Final = "the server is stopping"
_DETAIL: Final = 300
_NOT_ASKED: Final = ("failed to connect", "errors resolving", "DNS resolution failed", STOPPING)
_TOO_LONG: Final = "Received message larger"
_NO_GRPC: Final = "Failed parsing HTTP/2"


def http_refusal(status: int, content: bytes) -> ModelError:
    """Return the error of an HTTP status that is not 200."""
    told = _told(content)
    detail = f": {told}" if told else ""
    if status in (401, 403):
        return Unauthorized(f"refuses the key ({status}{detail}); give the key of its config")
    if status == 429:
        return RateLimited(f"takes no more calls now (429{detail})")
    if status == 503:
        return ModelUnreachable(f"takes no request now (503{detail})")
    if status >= 500:
        return ModelOverloaded(f"failed ({status}{detail}); its log says why")
    return CallRejected(f"refused the request ({status}{detail})")


def _told(content: bytes) -> str:
    """Return what our own server says about a refusal; other words are not passed on."""
    try:
        raw = read_json(content[:10_000].decode("utf-8"))
    except (ValueError, ReplySyntaxError):
        return ""
    said = raw.get("error") if isinstance(raw, dict) else None
    return clean_text(said, _DETAIL) if isinstance(said, str) else ""


def lost(why: str) -> ModelError:
    """Return the error of a connection that broke after the question: what the answer cost is unknown."""
    return ModelUnreachable(f"was lost before it answered ({why})").told(ran=True)


def rpc_failure(error: "grpc.aio.AioRpcError") -> ModelError:
    """Return the error of a call that ended without an answer."""
    code, told = error.code().name, clean_text(error.details() or "", _DETAIL)
    if code == "UNAVAILABLE":
        why = "it answers, but no gRPC; is this its HTTP port?" if _NO_GRPC in told else told
        return ModelUnreachable(f"cannot be reached ({why})") if told.startswith(_NOT_ASKED) else lost(told)
    match code:
        case "DEADLINE_EXCEEDED":
            return ModelTimeout("did not decide in time; raise the timeout, or look at its server")
        case "UNAUTHENTICATED" | "PERMISSION_DENIED":
            return Unauthorized(f"refuses the key ({told}); give the key of its config")
        case "RESOURCE_EXHAUSTED" if told.startswith(_TOO_LONG):
            return UnreadableAnswer(f"answered more than is taken ({told}); that is no decision")
        case "INVALID_ARGUMENT" | "NOT_FOUND" | "UNIMPLEMENTED" | "RESOURCE_EXHAUSTED" | "FAILED_PRECONDITION":
            return CallRejected(f"refused the request ({code}: {told})")
    return ModelOverloaded(f"failed ({code}: {told})")
