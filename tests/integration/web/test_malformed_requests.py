"""Malformed HTTP on a real port: an answer, and no traceback."""

import logging
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.web.page_server import running_site

_CHUNKED = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnot a chunk\r\n\r\n"


def test_malformed_bodies_are_answered_without_a_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running_site(tmp_path) as url, caplog.at_level(logging.DEBUG):
        parts = urlsplit(url)
        for path in ("/api/session", "/api/accounts", "/upload", "/api/models"):
            for _ in range(5):
                with socket.create_connection((parts.hostname or "", parts.port or 80), 30) as connection:
                    connection.sendall(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{_CHUNKED}".encode())
                    assert connection.recv(65_536).startswith(b"HTTP/1.1 4"), path
        assert httpx.get(f"{url}/api/status").status_code == 200
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
