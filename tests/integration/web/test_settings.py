"""An account changes its password, sees its browsers, and ends; a forgotten password is set with a link."""

from pathlib import Path

import httpx
from sqlalchemy.orm import Session

from receiver.link.auth.ownership import SessionOwner
from receiver.web.accounts import store
from receiver.web.accounts.service import RESET_S, make_reset
from receiver.web.owners import CAMERA, CLIP, owner_of
from tests.support.fake_pictures import picture
from tests.support.published_session import record_session as publish
from tests.support.web_service import PASSWORD, Site

NEW = "another good one"
HER_CAMERA = SessionOwner.from_secret(f"token:{owner_of(CAMERA, 'Anna')}", b"")


async def signs_in(site: Site, password: str) -> int:
    answer = await site.client().post("/api/session", json={"name": "Anna", "password": password})
    return answer.status_code


async def other_browser(site: Site) -> httpx.AsyncClient:
    client = site.client()
    answer = await client.post("/api/session", json={"name": "Anna", "password": PASSWORD})
    client.headers["X-CSRF-Token"] = answer.json()["csrf"]
    return client


async def test_password_is_changed_and_others_are_signed_out(site: Site) -> None:
    anna = await site.visitor("Anna")
    other = await other_browser(site)
    for body, status in (
        ({"old": "wrong", "new": NEW}, 403),
        ({"old": PASSWORD, "new": "short"}, 422),
        ({"old": PASSWORD, "new": NEW}, 200),
    ):
        answer = await anna.put("/api/password", json=body)
        assert answer.status_code == status, answer.text
    anna.headers["X-CSRF-Token"] = answer.json()["csrf"]
    assert (await other.get("/api/account")).status_code == 401
    assert (await anna.get("/api/account")).json()["account"] == "Anna"
    assert (await signs_in(site, PASSWORD), await signs_in(site, NEW)) == (401, 200)


async def test_guesses_of_the_present_password_are_limited(site: Site) -> None:
    anna = await site.visitor("Anna")
    answers = [await anna.put("/api/password", json={"old": f"no {n}", "new": NEW}) for n in range(8)]
    assert [answer.status_code for answer in answers] == [403] * 5 + [429] * 3


def reset_secret(site: Site) -> str:
    def work(session: Session) -> str:
        row = store.find_account(session, "anna")
        assert row is not None
        return make_reset(session, store.Account(row.id, row.name), site.clock.now_s)

    return site.service.models._database.write(work)


async def test_forgotten_password_is_set_once_with_a_link(site: Site) -> None:
    anna, stranger = await site.visitor("Anna"), site.client()
    earlier, secret = reset_secret(site), reset_secret(site)
    for given, password, status in (
        (earlier, NEW, 403),
        (secret + "x", NEW, 403),
        (secret, "short", 422),
        (secret, NEW, 204),
        (secret, NEW, 403),
    ):
        answer = await stranger.post("/api/password", json={"secret": given, "password": password})
        assert answer.status_code == status, (given, answer.text)
    assert (await anna.get("/api/account")).status_code == 401
    assert await signs_in(site, NEW) == 200
    late = reset_secret(site)
    site.clock.advance(RESET_S + 1)
    assert (await stranger.post("/api/password", json={"secret": late, "password": NEW})).status_code == 403


async def test_browsers_are_listed_and_signed_out(site: Site) -> None:
    anna = await site.visitor("Anna")
    browsers = [await other_browser(site) for _ in range(3)]
    listed = (await anna.get("/api/browsers")).json()["browsers"]
    assert len(listed) == 4 and sum(each["current"] for each in listed) == 1
    other = next(each["id"] for each in (await browsers[0].get("/api/browsers")).json()["browsers"] if each["current"])
    assert (await anna.delete(f"/api/browsers/{other}")).status_code == 204
    assert (await anna.delete(f"/api/browsers/{other}")).status_code == 404
    assert [(await each.get("/api/account")).status_code for each in browsers] == [401, 200, 200]
    assert (await anna.delete("/api/browsers")).status_code == 204
    assert [(await each.get("/api/account")).status_code for each in (*browsers, anna)] == [401, 401, 401, 200]
    bert = await site.visitor("Bert")
    mine = (await anna.get("/api/browsers")).json()["browsers"][0]["id"]
    assert (await bert.delete(f"/api/browsers/{mine}")).status_code == 404


def found(folder: Path, *texts: str) -> list[str]:
    """Which of the texts some file or its name has."""
    content = b"".join(str(path).encode() + path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return [text for text in texts if text.encode() in content]


async def test_nothing_is_left_of_an_account(site: Site) -> None:
    anna, bert = await site.visitor("Anna"), await site.visitor("Bert")
    for client in (anna, bert):
        assert (await client.post("/upload", files={"image": ("picture.jpg", picture())})).status_code == 201
    publish(site.directory, "hall")
    publish(site.directory, "annas-room", HER_CAMERA.subject)
    publish(site.directory, "annas-clip", f"token:{owner_of(CLIP, 'Anna')}")
    site.clock.advance(10)
    shared = (await anna.post("/api/sessions/1/shares", json={"days": 1})).json()["secret"]
    await anna.post("/api/tokens", json={"label": "annas-laptop"})
    used = (await anna.get("/api/account")).json()
    assert (used["models"], used["clips"]) == (1, 1)
    model = (await anna.get("/api/models")).json()["models"][0]["id"]
    hers = ("Anna", "annas-room", "annas-clip", "annas-laptop", model)
    assert (await anna.request("DELETE", "/api/account", json={"password": "wrong"})).status_code == 403
    assert found(site.out, *hers) == list(hers)
    assert (await anna.request("DELETE", "/api/account", json={"password": PASSWORD})).status_code == 204
    assert found(site.out, *hers) == []
    assert found(site.out, "Bert", "hall") == ["Bert", "hall"]
    assert (await anna.get("/api/account")).status_code == 401
    assert (await site.client().get(f"/api/shared/{shared}")).status_code == 404
    assert len(list((site.out / "models").iterdir())) == 1
    assert await signs_in(site, PASSWORD) == 401


async def test_sessions_in_use_go_after_their_account(site: Site) -> None:
    anna = await site.visitor("Anna")
    camera = site.directory.session("annas-room", HER_CAMERA)
    assert (await anna.request("DELETE", "/api/account", json={"password": PASSWORD})).status_code == 204
    assert found(site.out, "annas-room") == ["annas-room"]
    site.clock.advance(1)
    again = await site.visitor("Anna")
    publish(site.directory, "annas-new-room", HER_CAMERA.subject)
    camera.close()
    site.clock.advance(10)
    await site.service.library.delete_of_removed()
    assert found(site.out, "annas-room", "annas-new-room") == ["annas-new-room"]
    assert (await again.get("/api/account")).status_code == 200
    assert not list(site.out.glob(".removed*"))


async def test_token_of_a_program_may_not(site: Site) -> None:
    anna, program = await site.visitor("Anna"), site.client()
    token = (await anna.post("/api/tokens", json={"label": "x"})).json()["token"]
    for method, path in (("GET", "/api/account"), ("GET", "/api/browsers"), ("DELETE", "/api/browsers")):
        answer = await program.request(method, path, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 403, path
