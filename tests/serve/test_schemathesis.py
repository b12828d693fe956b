"""Whatever the OpenAPI document allows or forbids: never a 500, always what it promises."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from hardcast.serve.openai.openapi import document
from tests.serve.served import Server

schemathesis = pytest.importorskip("schemathesis", reason="the schemathesis package is missing")

checks = schemathesis.checks
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
schema = schemathesis.openapi.from_dict(document())


@schema.parametrize()
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_breaks_the_server(case: Any, tiny_server: Server) -> None:
    response = case.call(base_url=tiny_server.url)
    case.validate_response(response, checks=CHECKS)
