"""Requests that Schemathesis derives from the OpenAPI document: valid ones and broken ones."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.core.result import Ok

from tests.support.pictures.fake_pictures import picture
from tests.support.web.page_server import running_site
from tests.support.web.web_service import PASSWORD

EXAMPLES = 4
# Accounts and pictures have rules that a schema cannot express, so that a valid request may be refused.
CONFORMANCE = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


@dataclass
class Server:
    """A running page, and what was asked of it.

    Args:
        browser: headers of a browser that is signed in.
        program: headers of a program with a token.
        model: id of a model of this account.
    """

    url: str
    browser: Mapping[str, str]
    program: Mapping[str, str]
    model: str
    statuses: Counter[int] = field(default_factory=Counter)
    session: requests.Session = field(default_factory=requests.Session)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A page with one account, one token and one model."""
    with running_site(tmp_path_factory.mktemp("site")) as url, httpx.Client(base_url=url) as client:
        client.post("/api/accounts", json={"name": "Anna", "password": PASSWORD})
        token = client.post("/api/tokens", json={"label": "x"}).json()["token"]
        program = {"Authorization": f"Bearer {token}"}
        model = httpx.post(f"{url}/upload", files={"image": ("a.jpg", picture())}, headers=program).json()["id"]
        cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())}
        opened = Server(url, cookie, program, model)
        try:
            yield opened
        finally:
            opened.session.close()


def exercise(server: Server, mode: GenerationMode) -> None:
    """Sends requests of every operation, by each kind of client, and checks the answers."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    checks: list[Any] = list(CHECKS.get_by_names(CONFORMANCE))
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        # The browser of the others must stay signed in.
        headers = server.program if operation.path == "/api/session" else server.browser
        # Without an account, most requests have the same answer.
        for identity, examples in ((headers, EXAMPLES), (server.program, EXAMPLES), ({}, 2)):
            run(server, operation.as_strategy(mode), identity, checks, examples)


def run(server: Server, strategy: Any, headers: Mapping[str, str], checks: list[Any], examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def send(case: schemathesis.Case[Any]) -> None:
        response = case.call(session=server.session, headers=dict(headers))
        server.statuses[response.status_code] += 1
        case.validate_response(response, checks=checks)

    # A request without parameters and body cannot be broken.
    with contextlib.suppress(Unsatisfiable):
        send()


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: str(mode.value))
def test_every_answer_is_as_documented(mode: GenerationMode, server: Server) -> None:
    server.statuses.clear()
    exercise(server, mode)
    assert server.statuses.total() >= 25 * EXAMPLES, server.statuses
    assert max(server.statuses) < 500 and {401, 403, 404, 422} <= set(server.statuses), server.statuses
    # Nothing of all that has changed what the account has.
    model = httpx.get(f"{server.url}/api/models/{server.model}", headers=dict(server.program))
    assert model.status_code == 200


def test_document_describes_security_and_errors(server: Server) -> None:
    document = httpx.get(f"{server.url}/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"cookie", "token"}
    upload = document["paths"]["/upload"]["post"]
    assert {"cookie": []} in upload["security"] and {"token": []} in upload["security"]
    assert {"201", "400", "401", "403", "408", "409", "413", "415", "422", "429", "503"} <= set(upload["responses"])
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if status >= "400" and path != "/api/status":
                    schema = answer["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Problem"}, (path, status)
