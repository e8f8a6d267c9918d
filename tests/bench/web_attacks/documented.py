"""Requests that Schemathesis derives from the OpenAPI document, valid ones and broken ones."""

import contextlib
import warnings
from collections.abc import Mapping
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.core.result import Ok

from tests.bench.web_attacks.target import STRANGER, TIMEOUT_S, Answer, Findings, Target

# Accounts and pictures have rules that a schema cannot express, so that a valid request may be refused.
CONFORMANCE = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
_ROUND = 20


def attack(target: Target, start: int, count: int) -> Findings:
    """Sends about `count` requests, a few of each operation in turn."""
    findings = Findings()
    # Schemathesis warns about settings of its own.
    with warnings.catch_warnings(action="ignore"), requests.Session() as session:
        schema = schemathesis.openapi.from_url(f"{target.url}/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
        identities = (STRANGER, *(attacker.program for attacker in target.attackers), target.attackers[0].browser)
        turn = 0
        while findings.sent < count:
            for operation in operations:
                mode = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)[turn % 2]
                headers = identities[turn // 2 % len(identities)]
                if operation.path == "/api/session":
                    headers = STRANGER  # the others still need their session
                _send(target, operation.as_strategy(mode), headers, start * 1000 + turn, session, findings)
                turn += 1
    return findings


def _send(
    target: Target, strategy: Any, headers: Mapping[str, str], start: int, session: requests.Session, findings: Findings
) -> None:
    checks: list[Any] = list(CHECKS.get_by_names(CONFORMANCE))

    @seed(start)
    @settings(
        max_examples=_ROUND,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def ask(case: schemathesis.Case[Any]) -> None:
        try:
            response = case.call(session=session, headers=dict(headers), timeout=TIMEOUT_S)
        except requests.Timeout:
            findings.faults.append(f"unanswered {case.method} {case.formatted_path}")
            return
        except requests.RequestException:
            findings.statuses[0] += 1  # a request that its client refuses to send, or a closed connection
            return
        attack = f"{case.method} {case.formatted_path}"
        lines = "".join(f"\r\n{name}: {value}" for name, value in response.headers.items())
        findings.check(target, attack, Answer(response.status_code, lines.encode(), response.content))
        try:
            case.validate_response(response, checks=checks)
        except (AssertionError, BaseExceptionGroup) as error:
            if response.status_code != 503:
                findings.faults.append(f"not as documented {attack}: {' '.join(str(error).split())[:500]}")

    # A request without parameters and body cannot be broken.
    with contextlib.suppress(Unsatisfiable):
        ask()
