"""What is attacked, who attacks it, and what an attack must never show."""

import contextlib
import json
import re
import socket
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx

from tests.support.demo_clip import demo_picture
from tests.support.published_session import write_clip

PASSWORD = "correct horse battery"
STRANGER = {"Via": "1.1 elsewhere"}
"""Headers of somebody without an account: who comes to the loopback without these is the receiver's user."""
TIMEOUT_S = 30.0
_MAX_ANSWER = 4_000_000
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
# What no answer may contain, whoever asks.
_INTERNALS = (b"Traceback (most recent", b"$argon2id$", b"SQLite format 3", b"sqlalchemy", b'File "/')


class Unanswered(Exception):
    """No answer came in time."""


@dataclass(frozen=True)
class Visitor:
    """Who has signed up (`known`: the cookie of a browser that has signed in before)."""

    name: str
    cookie: str
    csrf: str
    token: str
    known: str = ""

    @classmethod
    def sign_up(cls, url: str, name: str) -> Self:
        """Makes an account with one token."""
        with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
            answer = client.post("/api/accounts", json={"name": name, "password": PASSWORD})
            answer.raise_for_status()
            csrf = answer.json()["csrf"]
            made = client.post("/api/tokens", json={"label": "bench"}, headers={"X-CSRF-Token": csrf})
            cookies = {key.rpartition("_")[2]: f"{key}={value}" for key, value in client.cookies.items()}
        return cls(name, cookies["session"], csrf, made.json()["token"], cookies["browser"])

    @property
    def browser(self) -> dict[str, str]:
        return {"Cookie": self.cookie, "X-CSRF-Token": self.csrf}

    @property
    def program(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass(frozen=True)
class Target:
    """A running page with a victim, whose model and session have a name that nobody else may see.

    Args:
        attackers: accounts of their own.
        canary: name of the victim's model and clip.
        session: number of the clip's session; 0 if the receiver does not record clips.
        link: secret of a link to it.
        honest: who signs in, uploads and watches beside the attacks.
    """

    url: str
    victim: Visitor
    attackers: tuple[Visitor, ...]
    canary: str
    model: str
    honest: Visitor
    session: int = 0
    link: str = ""

    @classmethod
    def prepare(cls, url: str, seed: int) -> Self:
        """Signs everybody up, and uploads the victim's picture and clip."""
        victim = Visitor.sign_up(url, f"victim-{seed}")
        attackers = tuple(Visitor.sign_up(url, f"attacker-{seed}-{number}") for number in range(4))
        canary = f"canary-{seed}.jpg"
        files = {"image": (canary, demo_picture())}
        answer = httpx.post(f"{url}/upload", files=files, headers=victim.program, timeout=120)
        # A receiver that cannot reconstruct pictures still has to keep the victim's token and account.
        model = answer.json()["id"] if answer.status_code == 201 else "0" * 32
        session, link = _shared_clip(url, victim, canary)
        return cls(url, victim, attackers, canary, model, Visitor.sign_up(url, f"honest-{seed}"), session, link)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "127.0.0.1", parts.port or 80

    def leak(self, answer: bytes) -> str | None:
        """What an answer shows that it must not, or None."""
        victim = self.victim
        secrets = (victim.token, victim.csrf, victim.cookie.partition("=")[2], self.canary, self.link)
        for word in (*(secret.encode() for secret in secrets if secret), *_INTERNALS):
            if word in answer:
                return word.decode()
        return None


def _shared_clip(url: str, victim: Visitor, canary: str) -> tuple[int, str]:
    """Number of the session of the victim's clip, and the secret of a link to it."""
    with tempfile.TemporaryDirectory() as folder:
        content = write_clip(Path(folder) / "clip.mp4").read_bytes()
    with httpx.Client(base_url=url, headers=victim.program, timeout=300) as client:
        answer = client.post("/api/sessions", files={"clip": ("clip.mp4", content)})
        if answer.status_code != 201:
            return 0, ""
        path = answer.headers["location"]
        client.patch(path, json={"name": canary}).raise_for_status()
        made = client.post(f"{path}/shares", json={"days": 1}).raise_for_status()
    return int(answer.json()["number"]), str(made.json()["secret"])


@dataclass
class Findings:
    """What a family of attacks has found.

    Args:
        sent: requests and messages.
        statuses: answers by status; 0 for a connection that was closed without one.
        faults: what must not happen, with the attack.
    """

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, other: Self) -> None:
        self.sent += other.sent
        self.statuses += other.statuses
        self.faults += other.faults

    def check(self, target: Target, attack: str, answer: "Answer", *, allowed: bool = True) -> None:
        """Counts an answer; a fault is a status of 5xx (503 says when to come back), a leak, or what must be refused.

        Args:
            allowed: whether the attack may succeed, because it is harmless.
        """
        self.sent += 1
        self.statuses[answer.status] += 1
        shown = f"{attack}: {answer.status} {answer.body[:200]!r}"
        if answer.status >= 500 and not (answer.status == 503 and answer.has("retry-after")):
            self.faults.append(f"error {shown}")
        if not allowed and 200 <= answer.status < 300:
            self.faults.append(f"accepted {shown}")
        leaked = target.leak(answer.head + answer.body)
        if leaked:
            self.faults.append(f"leaked {leaked}: {shown}")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; the status is 0 if the connection was closed without one."""

    status: int
    head: bytes = b""
    body: bytes = b""

    def has(self, header: str) -> bool:
        return f"\r\n{header}:".encode() in self.head.lower()


def request_bytes(method: str, path: str, headers: Mapping[str, str], body: bytes = b"", host: str = "") -> bytes:
    """A request as it is sent, whatever it contains."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body and not {"content-length", "transfer-encoding"} & {name.lower() for name in headers}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass") + body


def exchange(target: Target, request: bytes, timeout_s: float = TIMEOUT_S) -> Answer:
    """Sends bytes on a new connection and reads the answer up to its end.

    Raises:
        Unanswered: nothing came for so long.
    """
    try:
        with socket.create_connection(target.address, timeout_s) as connection:
            # Answered before the end of the body: the answer may still be there.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(request)
            received = b""
            while len(received) < _MAX_ANSWER and (more := connection.recv(65_536)):
                received += more
    except ConnectionError:
        return Answer(0)
    except TimeoutError as error:
        raise Unanswered(repr(request[:200])) from error
    found = _STATUS.match(received)
    head, _, body = received.partition(b"\r\n\r\n")
    return Answer(int(found.group(1)) if found else 0, head, body)


def send(
    target: Target,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes | object = b"",
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """Sends a request; what is not bytes becomes JSON."""
    headers = dict(headers)
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
        headers.setdefault("Content-Type", "application/json")
    return exchange(target, request_bytes(method, path, headers, body, urlsplit(target.url).netloc), timeout_s)
