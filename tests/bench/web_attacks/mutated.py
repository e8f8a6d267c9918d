"""Requests at random: methods, paths, headers and bodies that are nearly right, or not at all."""

import json
import random
from urllib.parse import quote, urlsplit

from tests.bench.web_attacks.target import STRANGER, Findings, Target, Unanswered, exchange, request_bytes

_METHODS = (*("GET",) * 8, *("POST",) * 8, *("DELETE",) * 4, "PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "get", "BREW")
_PATHS = (
    *("/api/status", "/api/accounts", "/api/session", "/api/tokens", "/api/models", "/upload", "/openapi.json"),
    *("/", "/docs", "/live", "/camera", "/api/sessions", "/api/sessions/1/frames", "/static/index.js", "/api"),
    *("/api/account", "/api/browsers", "/api/password", "/api/password/forgotten", "/meshes/000000.glb"),
    *("/api/shared/0123456789abcdef", "/api/shared/0123456789abcdef/download/zip", "/api/sessions/1/shares"),
)
_TRAVERSALS = (
    *("../", "..%2f", "%2e%2e/", "..%252f", "....//", "..\\", "..%5c", "%c0%ae%c0%ae/", "..;/", "/", "//", "./"),
)
_SECRET_FILES = ("etc/passwd", "accounts/accounts.sqlite3", "sessions.jsonl", "frames.jsonl", "index.json", ".pending")
_WORDS = (
    "",
    "0",
    "-1",
    "1e999",
    "null",
    "true",
    "a" * 5000,
    "\0",
    "ü",
    "\u202e",
    "' OR 1=1 --",
    "${7*7}",
    "{{7*7}}",
    "%n",
)
_HEADERS = (
    *("Content-Type", "Accept", "Accept-Encoding", "Content-Encoding", "Cookie", "Authorization", "X-CSRF-Token"),
    *("Origin", "Host", "Range", "If-None-Match", "X-Forwarded-For", "Expect", "Upgrade", "Sec-WebSocket-Key"),
)
_VALUES = (
    *("application/json", "multipart/form-data; boundary=b", "multipart/form-data", "application/x-ndjson", "*/*"),
    *("gzip", "br", "bytes=0-,1-,2-", "bytes=999999999999-", "https://evil.example", "100-continue", "websocket"),
    *(
        "Bearer bw_",
        "Bearer " + "a" * 4000,
        "bodywire_session=x",
        "__Host-bodywire_session=\x01",
        "h2c",
        "-5",
        "9" * 30,
    ),
)
_FIELDS = ("name", "password", "label", "image", "__proto__", "old", "new", "secret", "days", "clip")
_CHUNKED = b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def attack(target: Target, seed: int, count: int) -> Findings:
    rng, findings = random.Random(seed), Findings()
    for _ in range(count):
        request = _request(rng, target)
        try:
            findings.check(target, repr(request[:300]), exchange(target, request))
        except Unanswered as error:
            findings.faults.append(f"unanswered {error}")
    return findings


def _request(rng: random.Random, target: Target) -> bytes:
    if rng.random() < 0.03:
        return _noise(rng)
    headers = dict(
        rng.choice((STRANGER, STRANGER, rng.choice(target.attackers).browser, rng.choice(target.attackers).program))
    )
    # Signing out would end what the other attackers do with this account.
    method, path = rng.choice(_METHODS), _path(rng, target)
    if path.partition("?")[0] == "/api/session":
        headers.pop("Cookie", None)
    body = _body(rng) if rng.random() < 0.5 else b""
    if body and rng.random() < 0.7:
        headers["Content-Type"] = "application/json"
    for _ in range(rng.choice((0, 0, 1, 3))):
        headers[rng.choice(_HEADERS)] = rng.choice((*_VALUES, *_WORDS))
    host = urlsplit(target.url).netloc if rng.random() < 0.95 else rng.choice(_WORDS)
    request = request_bytes(method, path, headers, body, host)
    if rng.random() < 0.05:
        at = rng.randrange(len(request))
        # Whatever it has become, it ends: what does not is the matter of `slow`.
        request = request[:at] + rng.randbytes(3) + request[at + 3 :] + b"\r\n\r\n"
    return request


def _path(rng: random.Random, target: Target) -> str:
    kind = rng.randrange(6)
    if kind == 0:
        known = (f"/models/{target.model}/", f"/models/{target.model}/", "/models/", "/meshes/", "/static/", "/")
        return rng.choice(known) + rng.choice(_TRAVERSALS) * rng.randint(1, 6) + rng.choice(_SECRET_FILES)
    if kind == 1:
        file = rng.choice(("person-0.obj", "person-0.glb", "picture.jpg", "person-99.ply", "", "x" * 3000))
        return f"/models/{rng.choice((target.model, '0' * 32, quote(rng.choice(_WORDS))))}/{file}"
    if kind == 2:
        listed = rng.choice(("models", "tokens", "sessions", "browsers", "shared", f"sessions/{target.session}"))
        return f"/api/{listed}/{quote(rng.choice((target.model, str(target.session), *_WORDS)))}"
    if kind == 3:
        return f"{rng.choice(_PATHS)}?{quote(rng.choice(_WORDS))}={quote(rng.choice(_WORDS))}"
    return rng.choice(_PATHS)


def _body(rng: random.Random) -> bytes:
    kind = rng.randrange(7)
    if kind == 0:
        return rng.randbytes(rng.randrange(2000))
    if kind == 1:
        return b"[" * rng.choice((10, 1000, 8000))
    if kind == 2:
        return b'{"name": "\\ud800", "password": "\\u0000\\udfff aaaaaaa"}'
    if kind == 3:
        return b'{"name": "a", "name": "b", "password": ' + b"9" * rng.choice((10, 5000)) + b"}"
    if kind == 4:
        return b"--b\r\nContent-Disposition: form-data; name=" + rng.randbytes(30) + b"\r\n\r\nx\r\n--b--\r\n"
    given = {rng.choice(_FIELDS): _value(rng) for _ in range(3)}
    return json.dumps(given).encode()


def _value(rng: random.Random) -> object:
    return rng.choice((*_WORDS, None, True, -1, 10**400, 1.5, [], {}, [[[]]], {"$gt": ""}, "x" * 300))


def _noise(rng: random.Random) -> bytes:
    return rng.choice(
        (
            rng.randbytes(rng.randrange(1, 500)) + b"\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
            b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
            _CHUNKED + b"zz\r\n\r\n",
            # The answer has begun when the last chunk is read.
            _CHUNKED + 60 * (b"4000\r\n" + bytes(0x4000) + b"\r\n") + b"zz\r\n\r\n",
            b"POST /api/session HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello",
        )
    )
