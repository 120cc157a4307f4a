"""The whole OpenAPI under generated requests: no defect, every answer as the schema says, no route without its key."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from schemathesis.core.failures import Failure
from structlog.testing import capture_logs

from api_desk import Served, served_desk
from manager.state.kinds import Role

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    negative_data_rejection,
    ignored_auth,
    unsupported_method,
]
EACH = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
LEFT_OUT = ("/api/v1/events/stream", "/healthz", "/readyz")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return asyncio.run(served_desk(tmp_path_factory.mktemp("desk")))


@pytest.fixture(scope="module")
def operations(served: Served) -> list[Any]:
    schema = schemathesis.openapi.from_asgi("/openapi.json", served.app)
    found: list[Any] = [one.ok() for one in cast(Any, schema).get_all_operations()]
    return [one for one in found if one.path not in LEFT_OUT]


def test_every_route_answers_as_it_says(
    operations: list[Any], served: Served, record_property: Callable[[str, object], None]
) -> None:
    headers = {"Authorization": f"Bearer {served.keys[Role.SERVICE_ADMIN]}"}
    failed: dict[str, str] = {}
    asked = 0

    for operation in operations:

        @EACH
        @given(case=operation.as_strategy())
        def answers(case: Any) -> None:
            nonlocal asked
            asked += 1
            case.call_and_validate(headers=headers, checks=CHECKS)

        try:
            with capture_logs():
                answers()
        except* Failure as group:
            failed[operation.label] = "\n".join(map(str, group.exceptions))
    record_property("covered", f"{len(operations)} operations, {asked} requests")
    assert not failed, "\n\n".join(f"{label}: {told}" for label, told in failed.items())
