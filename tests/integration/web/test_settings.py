"""An account changes its password, and ends."""

from pathlib import Path

import httpx

from receiver.link.refusals import SessionOwner
from receiver.web.owners import CAMERA, CLIP, owner_of
from tests.support.pictures.fake_pictures import picture
from tests.support.receiver.published_session import record_session as publish
from tests.support.web.web_service import PASSWORD, Site

NEW = "another good one"
HER_CAMERA = SessionOwner.from_secret(f"token:{owner_of(CAMERA, 'Anna')}", b"")


async def signs_in(site: Site, password: str) -> int:
    answer = await site.client().post("/api/session", json={"name": "Anna", "password": password})
    return answer.status_code


async def other_browser(site: Site) -> httpx.AsyncClient:
    client = site.client()
    await client.post("/api/session", json={"name": "Anna", "password": PASSWORD})
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
    assert (await other.get("/api/account")).status_code == 401
    assert (await anna.get("/api/account")).json()["account"] == "Anna"
    assert (await signs_in(site, PASSWORD), await signs_in(site, NEW)) == (401, 200)


async def test_guesses_of_the_present_password_are_limited(site: Site) -> None:
    anna = await site.visitor("Anna")
    answers = [await anna.put("/api/password", json={"old": f"no {n}", "new": NEW}) for n in range(8)]
    assert [answer.status_code for answer in answers] == [403] * 5 + [429] * 3


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
