"""Requests for what belongs to somebody else: sessions, models, accounts."""

import random
import secrets
from collections.abc import Callable, Sequence

from tests.bench.web_attacks.target import PASSWORD, Findings, Target, Unanswered, send


def attack(target: Target, seed: int, count: int) -> Findings:
    rng, findings = random.Random(seed), Findings()
    for _ in range(count):
        try:
            rng.choice(ATTEMPTS)(rng, target, findings)
        except Unanswered as error:
            findings.faults.append(f"unanswered {error}")
    return findings


def _csrf(rng: random.Random, target: Target, findings: Findings) -> None:
    """A request with the victim's cookie, as another site makes a browser send it."""
    own = rng.choice(target.attackers)
    forged = rng.choice(
        ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": own.csrf}, {"X-CSRF-Token": secrets.token_urlsafe()})
    )
    headers = {"Cookie": target.victim.cookie, "Origin": "https://evil.example", **forged}
    method, path, body = rng.choice(
        (
            ("DELETE", f"/api/models/{target.model}", b""),
            ("DELETE", "/api/session", b""),
            ("POST", "/api/tokens", {"label": "stolen"}),
            ("POST", "/upload", b"--b--"),
        )
    )
    findings.check(target, f"csrf {method} {path}", send(target, method, path, headers, body), allowed=False)


def _other_model(rng: random.Random, target: Target, findings: Findings) -> None:
    """The victim's model, by somebody else or by nobody."""
    own = rng.choice(target.attackers)
    headers = rng.choice(({}, own.browser, own.program))
    file = rng.choice(("person-0.obj", "person-0.glb", "person-0.ply", "picture.jpg"))
    method, path = rng.choice(
        (
            ("GET", f"/api/models/{target.model}"),
            ("DELETE", f"/api/models/{target.model}"),
            ("GET", f"/models/{target.model}/{file}"),
        )
    )
    answer = send(target, method, path, headers)
    findings.check(target, f"other {method} {path}", answer, allowed=False)
    missing = send(target, method, path.replace(target.model, "0" * 32), headers)
    if (answer.status, answer.body) != (missing.status, missing.body) and 429 not in (answer.status, missing.status):
        findings.faults.append(f"the model of another account is not like a missing one: {method} {path}")


def _listing(rng: random.Random, target: Target, findings: Findings) -> None:
    """Lists, in which nothing of the victim may be."""
    path = rng.choice(("/api/models", "/api/tokens"))
    findings.check(target, f"list {path}", send(target, "GET", path, rng.choice(target.attackers).browser))


def _fixation(rng: random.Random, target: Target, findings: Findings) -> None:
    """A cookie that was planted before its owner signs in must not be theirs afterwards."""
    planted = secrets.token_urlsafe(32)
    name = target.victim.cookie.partition("=")[0]
    headers = {"Cookie": f"{name}={planted}"}
    own = target.attackers[-1]  # whose other sessions this ends one after the other
    answer = send(target, "POST", "/api/session", headers, {"name": own.name, "password": PASSWORD})
    findings.check(target, "fixation", answer)
    if planted.encode() in answer.head:
        findings.faults.append("a planted session was taken")
    used = send(target, "GET", "/api/models", headers)
    findings.check(target, "planted cookie", used, allowed=False)


def _guessed(rng: random.Random, target: Target, findings: Findings) -> None:
    """Tokens and cookies at random, and nearly right."""
    token, cookie = target.victim.token, target.victim.cookie
    headers = rng.choice(
        (
            {"Authorization": f"Bearer bw_{secrets.token_urlsafe(32)}"},
            {"Authorization": f"Bearer {token[:-1]}"},
            {"Authorization": f"Bearer {token.swapcase()}"},
            {"Authorization": f"Basic {token}"},
            {"Cookie": f"{cookie[:-1]}"},
            {"Cookie": cookie.swapcase()},
        )
    )
    findings.check(target, "guessed", send(target, "GET", "/api/models", headers), allowed=False)


def _brute_force(rng: random.Random, target: Target, findings: Findings) -> None:
    """Passwords of the victim."""
    password = rng.choice(("password123", "123456", "", f"guess {rng.random()}", "a" * 256))
    body = {"name": target.victim.name, "password": password}
    findings.check(target, "brute force", send(target, "POST", "/api/session", {}, body), allowed=False)


def _locked_out(rng: random.Random, target: Target, findings: Findings) -> None:
    """Wrong passwords of an honest visitor, who then signs in with the browser of before."""
    own = target.honest
    for _ in range(6):
        wrong = {"name": own.name, "password": f"guess {rng.random()}"}
        findings.check(target, "guess", send(target, "POST", "/api/session", {}, wrong), allowed=False)
    answer = send(target, "POST", "/api/session", {"Cookie": own.known}, {"name": own.name, "password": PASSWORD})
    findings.check(target, "honest sign-in", answer)
    # Many at a time from the same browser may have to wait.
    if answer.status not in (200, 429):
        findings.faults.append(f"an honest visitor is locked out: {answer.status} {answer.body[:200]!r}")


ATTEMPTS: Sequence[Callable[[random.Random, Target, Findings], None]] = (
    *(_csrf, _other_model, _listing, _fixation, _guessed, _brute_force, _locked_out),
)
