"""Connections that stay: requests of a byte a second, answers never read, and WebSockets with messages at random."""

import contextlib
import json
import random
import socket
import time
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.bench.web_attacks.target import TIMEOUT_S, Answer, Findings, Target, Unanswered, send

_LORIS = 260
# An honest request beside the slow ones: longer means that they hold everybody up.
_PATIENCE_S = 5.0
_STARTS = (
    b"GET /api/status HTTP/1.1\r\nHost: a\r\nX-Slow: ",
    b"POST /api/session HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
    b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 99\r\n\r\n",
    # Never read: the answers fill the buffers of both ends.
    200 * b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
)
_INTERNAL_ERROR = 1011


def slow(target: Target, seed: int, count: int) -> Findings:
    """Holds 260 connections open, reads nothing, and sends a byte on each now and then, `count` bytes in all."""
    rng, findings = random.Random(seed), Findings()
    connections: list[socket.socket] = []
    try:
        for number in range(max(count, 1)):
            if len(connections) < _LORIS:
                connections += _opened(target, rng)
            connection = rng.choice(connections) if connections else None
            if connection is not None and not _drip(connection):
                connections.remove(connection)
                connection.close()
            findings.sent += 1
            if number % 100 == 0:
                _honest(target, findings)
    finally:
        for connection in connections:
            connection.close()
    return findings


def _watched(target: Target, findings: Findings) -> None:
    """Silent watchers from everywhere, and an honest one with an account."""
    url = target.url.replace("http", "ws", 1) + "/live"
    settings: dict[str, Any] = {"proxy": None, "open_timeout": TIMEOUT_S, "close_timeout": 0}
    with contextlib.ExitStack() as opened:
        for _ in range(20):
            with contextlib.suppress(OSError, InvalidHandshake):
                opened.enter_context(connect(url, **settings))
                findings.sent += 1
        with connect(url, additional_headers=target.honest.program, **settings) as honest:
            try:
                honest.recv(timeout=TIMEOUT_S)
            except ConnectionClosed as error:
                findings.faults.append(f"silent watchers take the place of an account: {error}")


def _opened(target: Target, rng: random.Random) -> list[socket.socket]:
    try:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.settimeout(TIMEOUT_S)
        connection.connect(target.address)
        connection.sendall(rng.choice(_STARTS))
    except OSError:
        return []  # refused for now, as it may be
    return [connection]


def _drip(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"x")
    except OSError:
        return False
    return True


def _honest(target: Target, findings: Findings) -> None:
    began_s = time.monotonic()
    try:
        answer = send(target, "GET", "/api/models", target.attackers[0].program)
    except Unanswered as error:
        findings.faults.append(f"slow connections hold up honest requests: {error}")
        return
    findings.check(target, "beside slow connections", answer)
    spent_s = time.monotonic() - began_s
    if answer.status == 0 or spent_s > _PATIENCE_S:
        findings.faults.append(f"slow connections hold up an honest request: {answer.status} after {spent_s:.1f} s")


def web_sockets(target: Target, seed: int, count: int) -> Findings:
    """Opens /live and /camera with and without rights and sends messages at random, `count` in all."""
    rng, findings = random.Random(seed), Findings()
    _watched(target, findings)
    while findings.sent < count:
        path = rng.choice(("/live", "/camera"))
        own = rng.choice(target.attackers)
        headers = rng.choice(({}, {"Cookie": own.cookie}, {"Cookie": "bodywire_session=x"}, own.program))
        origin = rng.choice((None, target.url, "https://evil.example", "null"))
        _talk(target, path, headers, origin, rng, findings)
    return findings


def _talk(
    target: Target, path: str, headers: dict[str, str], origin: str | None, rng: random.Random, findings: Findings
) -> None:
    url = target.url.replace("http", "ws", 1) + path
    findings.sent += 1
    try:
        with connect(
            url,
            additional_headers=headers,
            origin=None if origin is None else Origin(origin),
            proxy=None,
            open_timeout=TIMEOUT_S,
            close_timeout=2,
            max_size=None,
        ) as connection:
            if origin in ("https://evil.example", "null"):
                findings.faults.append(f"{path} accepted a page of {origin}")
            for _ in range(rng.randint(1, 20)):
                findings.sent += 1
                connection.send(_message(rng))
                _listen(connection, target, path, findings)
    except InvalidStatus as error:
        response = error.response
        findings.check(target, path, Answer(response.status_code, b"", bytes(response.body or b"")), allowed=False)
    except ConnectionClosed as error:
        if error.rcvd is not None and error.rcvd.code == _INTERNAL_ERROR:
            findings.faults.append(f"{path} failed: {error}")
    except (InvalidHandshake, OSError, EOFError):
        findings.statuses[0] += 1
    except TimeoutError as error:
        findings.faults.append(f"unanswered {path}: {error}")


def _listen(connection: ClientConnection, target: Target, path: str, findings: Findings) -> None:
    """What has come meanwhile; frames of senders are for everybody on the loopback, the victim's secrets for nobody."""
    try:
        received = connection.recv(timeout=0.005)
    except TimeoutError:
        return
    leaked = target.leak(received.encode() if isinstance(received, str) else bytes(received))
    if leaked:
        findings.faults.append(f"{path} leaked {leaked}")


def _message(rng: random.Random) -> str | bytes:
    kind = rng.randrange(6)
    if kind == 0:
        return rng.randbytes(rng.choice((0, 10, 70_000)))
    if kind == 1:
        return rng.choice(("", "{", "null", "[]", "\0", "[" * 5000, '{"type":' + "9" * 5000 + "}"))
    if kind == 2:
        return b"\xff\xd8\xff" + rng.randbytes(2000)
    odd: tuple[object, ...] = (None, -1, 0, 1, 2**70, 1.5, "1", "../..", [], {}, True, "x" * 9000)
    message = {
        "type": rng.choice(("watch", "shown", "hello", "frame", "", *odd)),
        "session": rng.choice(odd),
        "mesh": rng.choice(("surface", "body", *odd)),
        "preview": rng.choice(odd),
        "id": rng.choice(odd),
    }
    return json.dumps({key: value for key, value in message.items() if rng.random() < 0.8})
