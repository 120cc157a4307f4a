"""Answers of the API: the same JSON that the command line prints with --json, with a version where one counts."""

import json
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from fastapi import Response

from manager.api.problems import HttpProblem
from manager.roster.acts import ActResult
from manager.views.pages import jsonable

_JSON: Final = "application/json"
_ANY: Final = "*"


def answer(value: Any, status: HTTPStatus = HTTPStatus.OK, *, version: str = "", location: str = "") -> Response:
    """Return a view as JSON; `version` becomes its ETag, `location` says where what was made is.

    The result of an act whose key was used before is the same again, and a header says so.
    """
    headers = {name: given for name, given in (("ETag", f'"{version}"'), ("Location", location)) if given.strip('"')}
    if isinstance(value, ActResult) and value.repeated_of is not None:
        value = replace(value, repeated_of=None)
        headers["Idempotency-Replayed"] = "true"
    return Response(json.dumps(jsonable(value), allow_nan=False), status, headers, _JSON)


def is_current(given: str | None, version: str) -> bool:
    """Tell whether a reader that has the versions of If-None-Match has this one."""
    return given is not None and version in _versions(given)


def expected_version(headers: Mapping[str, str]) -> str | None:
    """Return the version that a change is meant for, None for any; raise HttpProblem (428) where none is given."""
    given = headers.get("if-match")
    if given is None:
        raise HttpProblem(
            HTTPStatus.PRECONDITION_REQUIRED,
            "version-required",
            "give the header If-Match with the ETag of what you have read, so that no change of another is lost",
            field="header.If-Match",
        )
    if given.strip() == _ANY:
        return None
    found = _versions(given)
    if len(found) != 1:
        raise HttpProblem(
            HTTPStatus.PRECONDITION_FAILED,
            "version-unknown",
            f"If-Match is {given!r}; give one ETag in quotes, as the answer to GET has it",
            field="header.If-Match",
        )
    return found[0]


def _versions(given: str) -> list[str]:
    return [one.strip().removeprefix("W/").strip('"') for one in given.split(",") if one.strip()]
