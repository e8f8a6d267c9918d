"""Requests for what belongs to somebody else: sessions, models, links, accounts; and accounts that end meanwhile."""

import random
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx

from tests.bench.web_attacks.clips import clip, upload
from tests.bench.web_attacks.pictures import upload_picture
from tests.bench.web_attacks.target import PASSWORD, STRANGER, Findings, Target, Unanswered, Visitor, send
from tests.support.fake_pictures import picture

_TRIES = 30


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
            ("POST", "/api/sessions", b"--b--"),
            ("PATCH", f"/api/sessions/{target.session}", {"name": "stolen"}),
            ("DELETE", f"/api/sessions/{target.session}", b""),
            ("POST", f"/api/sessions/{target.session}/shares", {"days": 1}),
            ("PUT", "/api/password", {"old": PASSWORD, "new": "another long password"}),
            ("DELETE", "/api/account", {"password": PASSWORD}),
            ("DELETE", "/api/browsers", b""),
        )
    )
    findings.check(target, f"csrf {method} {path}", send(target, method, path, headers, body), allowed=False)


def _other_model(rng: random.Random, target: Target, findings: Findings) -> None:
    """The victim's model, by somebody else or by nobody."""
    own = rng.choice(target.attackers)
    headers = rng.choice((STRANGER, own.browser, own.program))
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


def _other_session(rng: random.Random, target: Target, findings: Findings) -> None:
    """The session of the victim's clip, by somebody else or by nobody."""
    headers = rng.choice((STRANGER, rng.choice(target.attackers).browser, rng.choice(target.attackers).program))
    method, below, body = rng.choice(
        (
            *(
                ("GET", path, b"")
                for path in ("", "/frames", "/thumbnail", "/download/zip", "/download/glb", "/shares")
            ),
            ("GET", "/meshes/000000.glb", b""),
            ("PATCH", "", {"name": "stolen"}),
            ("POST", "/shares", {"days": 365}),
            ("DELETE", "", b""),
        )
    )
    attack, path = f"other session {method} {below}", f"/api/sessions/{target.session or 1}"
    answer = send(target, method, path + below, headers, body)
    findings.check(target, attack, answer, allowed=False)
    missing = send(target, method, f"/api/sessions/{2**30}{below}", headers, body)
    if (answer.status, answer.body) != (missing.status, missing.body) and 429 not in (answer.status, missing.status):
        findings.faults.append(f"the session of another account is not like a missing one: {attack}")


def _guessed_link(rng: random.Random, target: Target, findings: Findings) -> None:
    """Secrets of links to sessions and to new passwords, at random and nearly right."""
    link = target.link or secrets.token_urlsafe(32)
    secret = rng.choice((secrets.token_urlsafe(32), link[:-1], link.swapcase(), link[::-1], "." * 20, "%00" * 8))
    path = rng.choice(("", "/frames", "/thumbnail", "/download/zip", "/meshes/000000.glb"))
    findings.check(target, "link", send(target, "GET", f"/api/shared/{secret}{path}", STRANGER), allowed=False)
    body = {"secret": rng.choice((secret, link))[:64], "password": "another long password"}
    findings.check(target, "reset", send(target, "POST", "/api/password", STRANGER, body), allowed=False)
    asked = send(target, "POST", "/api/password/forgotten", STRANGER, {"name": target.victim.name})
    findings.check(target, "forgotten", asked)


def _kept_out(rng: random.Random, target: Target, findings: Findings) -> None:
    """What needs the password, by somebody who has the browser or a token only."""
    own = rng.choice(target.attackers)
    password = f"guess {rng.random()}"
    method, path, body = rng.choice(
        (
            ("PUT", "/api/password", {"old": password, "new": "another long password"}),
            ("DELETE", "/api/account", {"password": password}),
        )
    )
    findings.check(target, f"{method} {path}", send(target, method, path, own.browser, body), allowed=False)
    right = {"old": PASSWORD, "new": "another long password"} if method == "PUT" else {"password": PASSWORD}
    findings.check(target, f"token {path}", send(target, method, path, own.program, right), allowed=False)


def _ended(rng: random.Random, target: Target, findings: Findings) -> None:
    """An account that ends while its uploads are in work; nothing that it had is valid any more."""
    try:
        own = Visitor.sign_up(target.url, f"ends-{rng.randrange(10**9)}")
    except httpx.HTTPStatusError:
        return  # so many accounts of one address, as it may be
    pictured = partial(upload_picture, target, own, picture())
    with ThreadPoolExecutor(6) as threads:
        uploads = [threads.submit(each) for each in (*[pictured] * 2, *[partial(upload, target, own, clip())] * 3)]
        # By the browser that has signed up: what others guess at this address does not count for it.
        headers = {**own.browser, "Cookie": f"{own.cookie}; {own.known}"}
        end = partial(send, target, "DELETE", "/api/account", headers, {"password": PASSWORD})
        ended, tries = end(), 1
        while ended.status == 429 and tries < _TRIES:  # so many passwords are being checked
            time.sleep(1)
            ended, tries = end(), tries + 1
        findings.check(target, "end of an account", ended)
        for each in uploads:
            findings.check(target, "upload of an account that ends", each.result())
    if ended.status != 204:
        findings.faults.append(f"an account cannot be ended: {ended.status} {ended.body[:200]!r}")
        return
    for headers in (own.browser, own.program):
        answer = send(target, "GET", "/api/sessions", {**STRANGER, **headers})
        findings.check(target, "after the end of an account", answer, allowed=False)


def _listing(rng: random.Random, target: Target, findings: Findings) -> None:
    """Lists, in which nothing of the victim may be."""
    path = rng.choice(("/api/models", "/api/tokens", "/api/sessions", "/api/browsers", "/api/account"))
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
    *(_csrf, _other_model, _other_session, _listing, _fixation, _guessed, _guessed_link, _brute_force, _locked_out),
    *(_kept_out, _ended),
)
