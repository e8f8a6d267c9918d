"""The life of an account over HTTP, and every refusal on its way."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from receiver.config import AccountsConfig
from receiver.web.accounts.store import MAX_TOKENS, SESSION_IDLE_S
from tests.support.pictures.fake_pictures import FakePictures
from tests.support.web.web_service import HOST, PASSWORD, Site, open_site

EVIL = "203.0.113.9"
SESSION, DEVICE = "bodywire_session_0", "bodywire_device_0"
"""Cookies of a page at the port that an address without one has."""


async def sign_in(client: httpx.AsyncClient, name: str = "Anna", password: str = PASSWORD) -> httpx.Response:
    return await client.post("/api/session", json={"name": name, "password": password})


def cookie_of(client: httpx.AsyncClient) -> str:
    return client.cookies[SESSION]


async def name_of(client: httpx.AsyncClient) -> str | None:
    found: str | None = (await client.get("/api/status")).json()["account"]
    return found


async def test_life_of_an_account(site: Site) -> None:
    anna = await site.visitor("Anna")
    assert await name_of(anna) == "Anna"
    made = (await anna.post("/api/tokens", json={"label": " a program "})).json()
    assert made["token"].startswith("bw_")
    listed = (await anna.get("/api/tokens")).json()["tokens"]
    assert [(token["id"], token["label"]) for token in listed] == [(made["id"], "a program")] and "token" not in listed[
        0
    ]
    program = site.client()
    program.headers["Authorization"] = f"Bearer {made['token']}"
    assert (await program.get("/api/models")).json() == {"models": []}
    assert (await anna.get("/api/tokens")).json()["tokens"][0]["used_at"] is not None
    assert (await anna.delete(f"/api/tokens/{made['id']}")).status_code == 204
    assert (await program.get("/api/models")).status_code == 401
    assert (await anna.delete("/api/session")).status_code == 204
    assert await name_of(anna) is None
    assert (await sign_in(anna, "ANNA")).json()["account"] == "Anna"


async def sign_up(client: httpx.AsyncClient, name: object = "Anna", password: str = PASSWORD) -> httpx.Response:
    return await client.post("/api/accounts", json={"name": name, "password": password})


async def test_cookie_is_for_this_page_only_and_bound_to_tls_where_there_is_tls(tmp_path: Path) -> None:
    for secure, prefix in ((False, ""), (True, "__Host-")):
        async with open_site(tmp_path / str(secure), FakePictures()) as site:
            client = site.client(url=HOST.replace("http", "https") if secure else HOST)
            answer = await sign_up(client)
            assert await name_of(client) == "Anna"
        for name, given in zip((SESSION, DEVICE), answer.headers.get_list("set-cookie"), strict=True):
            attributes = given.split("; ")
            assert attributes[0].startswith(f"{prefix}{name}=")
            assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(attributes) and ("Secure" in attributes) == secure
            assert not any(attribute.startswith("Domain") for attribute in attributes)
        assert answer.headers["cache-control"] == "no-store"


async def test_accounts_that_break_a_rule_are_refused(site: Site) -> None:
    await site.visitor("Bert")
    for name, password, status in (
        ("Anna", "short", 422),
        ("Annabella", "annabella1", 422),
        ("../anna", PASSWORD, 422),
        ("a" * 10_000, PASSWORD, 413),
        (None, PASSWORD, 422),
        ({"$ne": ""}, PASSWORD, 422),
        ("bert", PASSWORD, 409),
    ):
        answer = await sign_up(site.client(), name, password)
        assert answer.status_code == status, (name, answer.text)
        assert password not in answer.json()["detail"] and isinstance(answer.json()["detail"], str)


async def test_forms_of_other_sites_are_not_read(site: Site) -> None:
    body = b'{"name": "Anna", "password": "correct horse battery"}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", None):
        headers = {"Content-Type": kind} if kind else {}
        assert (await site.client().post("/api/accounts", content=body, headers=headers)).status_code == 422, kind


async def test_sign_up_is_open_on_the_loopback_unless_said_otherwise(tmp_path: Path) -> None:
    for loopback, said, status in ((False, None, 403), (False, True, 201), (True, False, 403), (True, None, 201)):
        folder, accounts = tmp_path / f"{loopback}{said}", AccountsConfig(sign_up=said)
        async with open_site(folder, FakePictures(), loopback=loopback, accounts=accounts) as site:
            answer = await sign_up(site.client())
        assert answer.status_code == status, (loopback, said)
        assert status == 201 or "administrator" in answer.json()["detail"]


async def test_sign_ups_of_one_address_are_limited(site: Site) -> None:
    answers = [await sign_up(site.client(EVIL), f"other-{n}") for n in range(22)]
    assert [answer.status_code for answer in answers] == [201] * 20 + [429] * 2
    assert int(answers[-1].headers["retry-after"]) == 600
    site.clock.advance(600)
    assert (await sign_up(site.client(EVIL), "later")).status_code == 201


async def test_large_and_endless_bodies_are_not_read(site: Site) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 1000

    for body in (endless(), b" " * 10_000):
        answer = await site.client().post("/api/session", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413 and "8192" in answer.json()["detail"]


async def test_small_body_that_does_not_arrive_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.web.guards.PACE_S", 0.02)

    async def half() -> AsyncIterator[bytes]:
        yield b'{"name":'
        await asyncio.Event().wait()

    headers = {"Content-Type": "application/json", "Content-Length": "40"}
    answer = await site.client().post("/api/session", content=half(), headers=headers)
    assert answer.status_code == 408 and "too slowly" in answer.json()["detail"]


async def test_unknown_name_and_wrong_password_have_one_answer(site: Site) -> None:
    await site.visitor("Anna")
    known, unknown = await sign_in(site.client(), "Anna", "not hers at all"), await sign_in(site.client(), "Bert")
    impossible = await sign_in(site.client(), "\0")
    assert {answer.status_code for answer in (known, unknown, impossible)} == {401}
    assert known.content == unknown.content == impossible.content
    assert "set-cookie" not in known.headers


async def test_unknown_names_cost_a_hash_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str | None] = []
    passwords = site.service.accounts._passwords
    verify = passwords.verify

    async def counted(encoded: str | None, password: str) -> bool:
        verified.append(encoded)
        return await verify(encoded, password)

    monkeypatch.setattr(passwords, "verify", counted)
    for name in ("nobody", "\0", "a" * 200):
        assert (await sign_in(site.client(), name)).status_code == 401
    assert verified == [None] * 3


async def test_guessing_is_slowed_at_an_account_and_its_owner_signs_in_elsewhere(site: Site) -> None:
    owner = await site.visitor("Anna", "192.0.2.1")
    attacker = site.client(EVIL)
    for name in ("anna", "nobody"):
        statuses = [(await sign_in(attacker, name, f"wrong password {n}")).status_code for n in range(7)]
        assert statuses == [401] * 5 + [429] * 2, name
    assert site.outcomes == (["wrong"] * 5 + ["locked"] * 2) * 2
    refused = await sign_in(attacker, "Anna")  # the right password does not help now
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) == 300
    assert await name_of(owner) == "Anna"
    assert (await sign_in(site.client("192.0.2.1"))).status_code == 200
    site.clock.advance(300)
    assert (await sign_in(attacker)).status_code == 200


async def test_one_address_cannot_try_many_accounts_nor_many_addresses_one_account(site: Site) -> None:
    await site.visitor("Anna")
    tried = [(await sign_in(site.client(EVIL), f"account-{n}", "x")).status_code for n in range(31)]
    assert tried == [401] * 30 + [429]
    site.clock.advance(60)
    assert (await sign_in(site.client(EVIL), "another", "x")).status_code == 401
    tried = [(await sign_in(site.client(f"203.0.113.{100 + n}"), "anna", "x")).status_code for n in range(51)]
    assert tried == [401] * 50 + [429]
    assert (await sign_in(site.client("192.0.2.1"))).status_code == 429
    site.clock.advance(3600)
    assert (await sign_in(site.client("192.0.2.1"))).status_code == 200


async def locked_out(site: Site, name: str = "Anna") -> None:
    """Many addresses have tried so many passwords that no new one may sign in."""
    for n in range(50):
        await sign_in(site.client(f"203.0.113.{100 + n}"), name, "x")
    assert (await sign_in(site.client("192.0.2.77"))).status_code == 429


async def test_owner_whose_browser_has_signed_in_before_is_not_kept_out_by_others(site: Site) -> None:
    anna = await site.visitor("Anna", "192.0.2.1")
    known = anna.cookies[DEVICE]
    await anna.delete("/api/session")
    await locked_out(site)
    elsewhere = site.client(EVIL)  # also where so many were tried that the address may try no more
    assert [(await sign_in(site.client(EVIL), "bert", "x")).status_code for _ in range(31)][-1] == 429
    elsewhere.cookies.set(DEVICE, known, "127.0.0.1", "/")
    assert (await sign_in(elsewhere)).status_code == 200 and elsewhere.cookies[DEVICE] == known
    change = {"old": PASSWORD, "new": "another good password"}
    assert (await elsewhere.put("/api/password", json=change)).status_code == 200
    assert elsewhere.cookies[DEVICE] != known, "a new password makes browsers unknown"
    before = site.client("192.0.2.9")
    before.cookies.set(DEVICE, known, "127.0.0.1", "/")
    assert (await sign_in(before, "Anna", "another good password")).status_code == 429


async def test_cookie_of_another_account_or_of_ones_own_making_does_not_raise_the_limit(site: Site) -> None:
    await site.visitor("Anna")
    bert = await site.visitor("Bert")
    await locked_out(site)
    for shown in (bert.cookies[DEVICE], "", "a" * 96, "0" * 32, "x" * 4000):
        guesser = site.client("192.0.2.8")
        guesser.cookies.set(DEVICE, shown, "127.0.0.1", "/")
        assert (await sign_in(guesser)).status_code == 429, shown


async def test_browser_that_has_signed_in_before_guesses_no_more_than_an_address(site: Site) -> None:
    anna = await site.visitor("Anna")
    thief = site.client()
    thief.cookies.set(DEVICE, anna.cookies[DEVICE], "127.0.0.1", "/")
    statuses = [(await sign_in(thief, "Anna", f"wrong {n}")).status_code for n in range(6)]
    assert statuses == [401] * 5 + [429]
    for _ in range(9):
        site.clock.advance(300)
        statuses += [(await sign_in(thief, "Anna", "wrong")).status_code for _ in range(5)]
    assert statuses.count(401) == 50
    site.clock.advance(300)
    assert (await sign_in(thief)).status_code == 429 and (await sign_in(site.client())).status_code == 200


async def test_browser_keeps_its_sessions_of_pages_at_two_ports(site: Site) -> None:
    browser, pages = site.client(), {"Anna": f"{HOST}:8080", "Bert": f"{HOST}:8081"}
    for name, page in pages.items():
        assert (
            await browser.post(f"{page}/api/accounts", json={"name": name, "password": PASSWORD})
        ).status_code == 201
    for name, page in pages.items():
        assert (await browser.get(f"{page}/api/status")).json()["account"] == name


async def test_success_forgets_the_own_failures(site: Site) -> None:
    anna = await site.visitor("Anna")
    anna.cookies.clear()
    for _ in range(3):
        assert [(await sign_in(site.client(), "Anna", "x")).status_code for _ in range(4)] == [401] * 4
        assert (await sign_in(site.client())).status_code == 200


async def test_stranger_on_this_machine_makes_no_account(tmp_path: Path) -> None:
    token = "a-secret-of-the-address"
    async with open_site(tmp_path, FakePictures(), token=token) as site:
        stranger = site.client()
        assert (await sign_up(stranger)).status_code == 403
        assert not (await stranger.get("/api/status")).json()["sign_up"]
        status = (await stranger.get("/api/status")).json()
        assert not status["live"] and status["senders"] is None
        owner = site.client()
        assert (await owner.get("/", params={"token": token})).status_code == 303
        assert (await sign_up(owner)).status_code == 201
        assert (await sign_in(stranger)).status_code == 200
        status = (await stranger.get("/api/status")).json()
        assert status["live"] and status["senders"]["port"] == 50051, "signed in"


async def test_session_is_new_at_each_sign_in_and_the_old_one_ends(site: Site) -> None:
    anna = await site.visitor("Anna")
    before = cookie_of(anna)
    answer = await sign_in(anna)
    assert answer.status_code == 200 and cookie_of(anna) != before
    old = site.client()
    old.cookies.set(SESSION, before)
    assert await name_of(old) is None


async def test_session_ends_when_signed_out_idle_or_unknown(site: Site) -> None:
    anna = await site.visitor("Anna")
    thief = site.client()
    thief.cookies.set(SESSION, cookie_of(anna))
    site.clock.advance(SESSION_IDLE_S - 1)
    assert await name_of(anna) == "Anna"
    site.clock.advance(SESSION_IDLE_S - 1)  # it was in use a moment ago
    assert await name_of(anna) == "Anna"
    await anna.delete("/api/session")
    assert await name_of(thief) is None
    bert = await site.visitor("Bert")
    site.clock.advance(SESSION_IDLE_S + 1)
    assert (await bert.get("/api/models")).status_code == 401


async def test_only_the_own_site_can_sign_a_browser_in_or_change_anything(site: Site) -> None:
    await site.visitor("Anna")
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        for path in ("/api/session", "/api/accounts"):
            body = {"name": "Anna", "password": PASSWORD}
            assert (await site.client().post(path, json=body, headers=headers)).status_code == 403, headers
    own = site.client()
    own.headers.update({"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"})
    assert (await sign_in(own)).status_code == 200
    for method, path in (
        ("POST", "/upload"),
        ("POST", "/api/tokens"),
        ("PUT", "/api/password"),
        ("DELETE", "/api/session"),
    ):
        answer = await own.request(method, path, headers={"Origin": "https://evil.example"})
        assert answer.status_code == 403, (method, path)
    assert await name_of(own) == "Anna"


async def test_other_tokens_are_refused_also_beside_a_valid_cookie(site: Site) -> None:
    anna = await site.visitor("Anna")
    for token in ("", "Bearer", "Bearer ", "Bearer bw_", f"Bearer bw_{'a' * 43}", "Bearer x", "Basic YTpi", "bw_x"):
        answer = await anna.get("/api/models", headers={"Authorization": token})
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer", token
    assert (await anna.get("/api/models", headers={"Authorization": "Bearer " + "b" * 9000})).status_code == 401


async def test_token_cannot_do_what_only_its_owner_may(site: Site) -> None:
    anna = await site.visitor("Anna")
    token = (await anna.post("/api/tokens", json={"label": "x"})).json()
    program = site.client()
    program.headers["Authorization"] = f"Bearer {token['token']}"
    for method, path, body in (
        ("GET", "/api/tokens", None),
        ("POST", "/api/tokens", {"label": "y"}),
        ("DELETE", f"/api/tokens/{token['id']}", None),
        ("DELETE", "/api/session", None),
        ("GET", "/api/account", None),
        ("PUT", "/api/password", {"old": PASSWORD, "new": "another good one"}),
        ("DELETE", "/api/account", {"password": PASSWORD}),
    ):
        assert (await program.request(method, path, json=body)).status_code == 403, path


async def test_tokens_of_others_and_too_many_are_refused(site: Site) -> None:
    anna, bert = await site.visitor("Anna"), await site.visitor("Bert")
    token = (await anna.post("/api/tokens", json={"label": "x"})).json()
    assert (await bert.delete(f"/api/tokens/{token['id']}")).status_code == 404
    assert (await bert.get("/api/tokens")).json() == {"tokens": []}
    for _ in range(MAX_TOKENS - 1):
        assert (await anna.post("/api/tokens", json={"label": "x"})).status_code == 201
    assert (await anna.post("/api/tokens", json={"label": "x"})).status_code == 409


async def test_neither_passwords_nor_secrets_are_stored(site: Site) -> None:
    anna = await site.visitor("Anna")
    token = (await anna.post("/api/tokens", json={"label": "x"})).json()["token"]
    stored = b"".join(path.read_bytes() for path in (site.out / "accounts").iterdir())
    assert b"Anna" in stored and b"$argon2id$" in stored
    for secret in (PASSWORD, token, cookie_of(anna)):
        assert secret.encode() not in stored
