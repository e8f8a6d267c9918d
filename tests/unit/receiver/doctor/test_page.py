"""The doctor's check of the web page."""

import socket
from pathlib import Path

import pytest

from common.doctor.finding import Verdict
from common.errors import OutputError
from common.io.addresses import Address
from receiver.doctor import page
from receiver.link.auth.config import SecurityConfig
from receiver.web.config import WebConfig


@pytest.fixture(autouse=True)
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "check_built", lambda: {})


def test_default_address_is_no_problem_when_taken() -> None:
    finding = page.check_page(WebConfig(), SecurityConfig())
    assert finding.verdict is Verdict.OK and "127.0.0.1:8080" in finding.found


def test_page_that_is_switched_off() -> None:
    assert "--no-page" in page.check_page(WebConfig(page=False), SecurityConfig()).found


def test_address_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        finding = page.check_page(WebConfig(http=address), SecurityConfig())
    assert finding.verdict is Verdict.PROBLEM and "--http" in finding.advice


def test_page_that_was_not_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from receiver.web.page_files import check_built

    monkeypatch.setattr(page, "check_built", lambda: check_built(tmp_path))
    with pytest.raises(OutputError, match="not built"):
        page.check_page(WebConfig(), SecurityConfig())
