"""The words of real providers become named errors; everything unknown stays what its status says."""

import pytest

from executor.errors import (
    CallRejected,
    ContextOverflow,
    ExecutorUnavailable,
    ModelError,
    ModelOverloaded,
    ModelTimeout,
    OutOfCredit,
    PassingFailure,
    RateLimited,
    Unauthorized,
    UnknownModel,
)
from executor.models.failures import Answered, connection_failure, error_in, retry_after_s

QUOTA = "You exceeded your current quota, please check your plan and billing details. Please retry in 2.5s."
OVERFLOWS = [
    (400, {"code": "context_length_exceeded", "message": "Your input is too big."}),
    (400, {"message": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000."}),
    (400, {"message": "Your input exceeds the context window of this model. Please adjust it."}),
    (400, {"object": "error", "message": "The decoder prompt (length 5000) is longer than the maximum model length."}),
    (400, {"message": "'max_tokens' is too large: 2000. This model's maximum context length is 4096 tokens"}),
    (400, {"code": 400, "type": "exceed_context_size_error", "message": "request (9 tokens) exceeds", "n_ctx": 4}),
    (500, {"code": 500, "message": "the request exceeds the available context size. try increasing the context size"}),
    (400, {"message": "the input length exceeds the context length"}),
    (400, {"message": "prompt is too long: 210000 tokens > 200000 maximum"}),
    (400, {"message": "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"}),
    (400, {"code": "invalid_parameter_error", "message": "Range of input length should be [1, 129024]"}),
    (400, {"message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."}),
    (400, {"message": "Prompt contains 40000 tokens, too large for model with 32768 maximum context length"}),
    (400, "litellm.ContextWindowExceededError: OpenAIException"),
    (400, [{"error": {"code": 400, "message": "The input token count (9) exceeds the maximum", "status": "INVALID"}}]),
    (413, {"message": "Please reduce the length of the messages or completion."}),
]
MODELS = [
    (404, {"code": "model_not_found", "message": "The model `gpt-9` does not exist or you do not have access to it."}),
    (404, {"object": "error", "message": "The model `qwen` does not exist.", "type": "NotFoundError"}),
    (404, {"message": 'model "llama9" not found, try pulling it first', "type": "api_error"}),
    (400, {"message": "Model Not Exist", "type": "invalid_request_error"}),
    (404, {"type": "not_found_error", "message": "model: claude-9"}),
    (400, {"message": "openai/gpt-9 is not a valid model ID", "code": 400}),
]
BROKE = [
    (402, {"message": "Insufficient Balance", "code": "invalid_request_error"}),
    (429, {"code": "insufficient_quota", "message": "You exceeded your current quota, please check your plan."}),
    (400, {"message": "Your credit balance is too low to access the API."}),
]
BY_STATUS = [
    (401, {"message": "bad"}, Unauthorized),
    (403, {"message": "region"}, Unauthorized),
    (404, {"message": "nothing here"}, CallRejected),
    (408, {"message": "slow"}, ModelTimeout),
    (429, {"message": "slow down"}, RateLimited),
    (307, "", CallRejected),
    (400, {"message": "temperature is out of range"}, CallRejected),
    (422, {"detail": "field required"}, CallRejected),
    (501, {}, ExecutorUnavailable),
    *((status, "<html>", ModelOverloaded) for status in (500, 502, 503, 504, 520, 524, 529)),
    (
        400,
        [{"error": {"code": 400, "message": "API key not valid. Please pass one.", "status": "INVALID_ARGUMENT"}}],
        Unauthorized,
    ),
    (429, [{"error": {"code": 429, "message": QUOTA, "status": "RESOURCE_EXHAUSTED"}}], RateLimited),
    (429, {"message": QUOTA, "status": "RESOURCE_EXHAUSTED"}, RateLimited),
]


def named(status: int, body: object, secret: str = "") -> ModelError:
    return Answered(status=status, body=body, retry_after_s=7.0).failure("model 'm'", secret)


@pytest.mark.parametrize(("status", "body"), OVERFLOWS)
def test_a_prompt_that_is_too_long(status: int, body: object) -> None:
    assert type(named(status, body)) is ContextOverflow


@pytest.mark.parametrize(("status", "body"), MODELS)
def test_a_model_that_is_not_there(status: int, body: object) -> None:
    assert type(named(status, body)) is UnknownModel


@pytest.mark.parametrize(("status", "body"), BROKE)
def test_an_empty_account_is_not_retried(status: int, body: object) -> None:
    assert type(named(status, body)) is OutOfCredit


@pytest.mark.parametrize(("status", "body", "expected"), BY_STATUS)
def test_anything_else_is_what_its_status_says(status: int, body: object, expected: type) -> None:
    assert type(named(status, body)) is expected


def test_only_what_may_pass_asks_to_be_tried_again() -> None:
    passing = [named(status, body) for status, body, _ in BY_STATUS if isinstance(named(status, body), PassingFailure)]
    assert {error.retry_after_s for error in passing if isinstance(error, PassingFailure)} == {7.0}
    assert len(passing) == 10


def test_the_wait_may_stand_in_the_text() -> None:
    error = Answered(status=429, body={"message": QUOTA}).failure("model 'm'", "")
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 2.5


def test_a_key_is_hidden_as_json_writes_it_too() -> None:
    told = str(named(400, {"code": "k", "reason": 'bad "sk/a"b"'}, 'sk/a"b'))
    assert "sk/a" not in told
    assert "***" in told


def test_a_request_that_cannot_be_sent_shows_nothing_of_its_headers() -> None:
    cause = type("LocalProtocolError", (Exception,), {})("Illegal header value b'Bearer sk-1\\n'")
    error = connection_failure("model 'm'", cause, "sk-1\n")
    assert (type(error), "sk-1" in str(error)) == (CallRejected, False)


def test_an_endpoint_without_schemas_gets_its_mend() -> None:
    told = str(named(400, {"message": "This response_format type is unavailable now"}))
    assert "set structured: json_object or none" in told


def test_a_key_in_an_error_is_hidden_and_a_long_error_cut() -> None:
    told = str(named(401, {"message": "bad key sk-1 " + "x" * 5_000}, "sk-1"))
    assert "sk-1" not in told
    assert "bad key ***" in told
    assert len(told) < 500


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'{"error": {"code": 429, "message": "x"}}', 429),
        (b'{"error": "overloaded"}', 500),
        (b'{"error": {"code": "abc"}}', 500),
        (b'[{"error": {"code": 400, "message": "x"}}]', 400),
        (b'{"error": null, "choices": []}', None),
        (b'{"choices": []}', None),
        (b"[1]", None),
        (b"<html>", None),
        (b"\xff", None),
    ],
)
def test_an_error_may_come_as_a_success(content: bytes, status: int | None) -> None:
    found = error_in(content)
    assert (found.status if found else None) == status


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT", "date": "Thu, 01 Jan 2026 00:00:00 GMT"}, 30.0),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:00 GMT", "date": "Thu, 01 Jan 2026 00:00:30 GMT"}, 0.0),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, None),
        ({"retry-after": "soon", "date": "today"}, None),
        ({"retry-after": "nan"}, None),
        (
            {"retry-after": "Fri, 31 Dec 99999999999999999999 10:00:00 GMT", "date": "Thu, 01 Jan 2026 00:00:00 GMT"},
            None,
        ),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:00 +999999999999", "date": "Thu, 01 Jan 2026 00:00:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_what_an_endpoint_asks_to_wait_is_read_from_its_headers(
    headers: dict[str, str], expected: float | None
) -> None:
    assert retry_after_s(headers) == expected
