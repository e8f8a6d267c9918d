"""Uploaded clips: what becomes a session, whose it is, and that nothing is left of what does not."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from receiver.config import UploadConfig
from receiver.web.places import Refused
from tests.support.link.counting_codec import until
from tests.support.pictures.fake_pictures import FakePictures, picture
from tests.support.receiver.published_session import write_clip
from tests.support.web.web_service import PASSWORD, Site, open_site

JSON_LINES = {"Accept": "application/x-ndjson"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4").read_bytes()


async def upload(
    client: httpx.AsyncClient, content: bytes, name: str = "Im Park.mov", headers: Mapping[str, str] | None = None
) -> httpx.Response:
    return await client.post("/api/sessions", files={"clip": (name, content)}, headers=headers)


def left(site: Site) -> list[str]:
    """Sessions and files that are left of clips."""
    sessions = [str(state.number) for state in site.directory.sessions()]
    return sessions + [path.name for path in (*site.out.glob("bodywire-run-*"), *(site.out / "meshes").iterdir())]


async def test_clip_becomes_a_session_of_its_account(site: Site, clip: bytes) -> None:
    anna, bert = await site.visitor("Anna"), await site.visitor("Bert")
    site.clips.warnings = ["the clip is cut"]
    answer = await upload(anna, clip)
    assert answer.status_code == 201, answer.text
    path, made = answer.headers["location"], answer.json()
    assert path == "/api/sessions/1" and (made["frames"], made["people"], made["may_change"]) == (3, 1, True)
    assert site.clips.received[0].name == "Im Park.mp4" and not list(site.out.glob("bodywire-run-*"))
    assert made.pop("warnings") == ["the clip is cut"]
    assert (await anna.get("/api/sessions")).json()["sessions"] == [made]
    (frame, *_) = (await anna.get(f"{path}/frames")).json()["frames"]
    mesh = frame["people"][0]["surface"]
    for place in (path, f"{path}/frames", f"{path}/download/zip", f"{path}/{mesh}"):
        assert [(await client.get(place)).status_code for client in (anna, bert)] == [200, 404], place
    assert (await bert.get("/api/sessions")).json()["sessions"] == []
    assert (await bert.delete(path)).status_code == 404
    user = site.client()
    assert len((await user.get("/api/sessions")).json()["sessions"]) == 1, "who has the printed address"
    assert (await anna.patch(path, json={"name": "Tanz"})).status_code == 200
    assert (await anna.delete(path)).status_code == 204 and left(site) == []
    assert site.outcomes == ["stored"]


async def test_progress_is_reported_line_by_line(site: Site, clip: bytes) -> None:
    anna = await site.visitor("Anna")
    answer = await upload(anna, clip, headers=JSON_LINES)
    *stages, done = [json.loads(line) for line in answer.text.splitlines()]
    assert [each["stage"] for each in stages] == ["queue", "clip", "clip", "clip"]
    assert [each["done"] for each in stages[2:]] == [0.33, 0.5], "of six frames in the file"
    assert done["event"] == "done" and done["session"]["number"] == 1


@pytest.mark.parametrize(
    ("error", "people", "status"),
    [
        (Refused(422, "the clip is damaged"), True, 422),
        (Refused(503, "the process has ended"), True, 503),
        (None, False, 422),
    ],
)
async def test_nothing_is_left_of_a_clip_that_fails(
    site: Site, clip: bytes, error: Exception | None, people: bool, status: int
) -> None:
    anna = await site.visitor("Anna")
    site.clips.error, site.clips.people = error, people
    answer = await upload(anna, clip)
    assert answer.status_code == status and answer.json()["detail"]
    last = json.loads((await upload(anna, clip, headers=JSON_LINES)).text.splitlines()[-1])
    assert (last["event"], last["status"]) == ("error", status)
    assert left(site) == [] and (site.out / "frames.jsonl").read_bytes() == b""
    site.clips.error, site.clips.people = None, True
    assert (await upload(anna, clip)).status_code == 201


async def test_what_is_no_clip_is_refused(site: Site, clip: bytes) -> None:
    anna = await site.visitor("Anna")
    playlist = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"
    for content, status, words in (
        (b"", 415, "no clip"),
        (picture(), 415, "MP4"),
        (playlist, 415, "MP4"),
        (clip[:1000], 422, "damaged"),
        (clip[: clip.index(b"mdat") + 60] + clip[clip.index(b"moov") - 4 :], 422, "damaged"),
        (b"\0\0\0\x18ftypisom" + bytes(100), 422, "damaged"),
    ):
        answer = await upload(anna, content)
        assert answer.status_code == status and words in answer.json()["detail"], (content[:20], answer.text)
    assert (await upload(site.client(), clip)).status_code == 401
    assert site.clips.received == [] and left(site) == []


@pytest.mark.parametrize(
    ("limits", "status", "words"),
    [
        ({"clip_bytes": 1000}, 413, "larger than"),
        ({"account_models": 1}, 409, "keeps 1 models and clips"),
    ],
)
async def test_limits_are_said(tmp_path: Path, clip: bytes, limits: Any, status: int, words: str) -> None:
    async with open_site(tmp_path, FakePictures(), uploads=UploadConfig(**limits)) as site:
        anna = await site.visitor("Anna")
        first = await upload(anna, clip)
        answer = await upload(anna, clip) if status == 409 else first
        assert answer.status_code == status and words in answer.json()["detail"], answer.text
        if "account_models" in limits:
            assert (await anna.post("/upload", files={"image": ("a.jpg", picture())})).status_code == 409


async def test_account_with_many_bytes_of_clips_uploads_no_more(
    tmp_path: Path, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.web.library.clips._MOST_GB", 1e-7)
    async with open_site(tmp_path, FakePictures()) as site:
        anna = await site.visitor("Anna")
        await upload(anna, clip)
        answer = await upload(anna, clip)
        assert answer.status_code == 409 and "delete one first" in answer.json()["detail"], answer.text


async def request_that_ends_early(site: Site, browser: httpx.AsyncClient, clip: bytes) -> None:
    """Uploads a clip, and leaves while it is played."""
    request = browser.build_request("POST", "/api/sessions", files={"clip": ("a.mp4", clip)})
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/sessions",
        "raw_path": b"/api/sessions",
        "query_string": b"",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": ("127.0.0.1", 1),
    }
    body = [{"type": "http.request", "body": request.read(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if body:
            return body.pop()
        await until(lambda: bool(site.clips.received))
        return {"type": "http.disconnect"}

    async def send(_: object) -> None:
        """Nobody reads it."""

    await site.app(scope, receive, send)


async def test_client_that_leaves_cancels_its_clip(site: Site, clip: bytes) -> None:
    anna = await site.visitor("Anna")
    site.clips.gate.clear()
    await request_that_ends_early(site, anna, clip)
    await until(lambda: site.outcomes == ["cancelled"])
    assert left(site) == [] and (await anna.get("/api/sessions")).json()["sessions"] == []


async def test_clip_in_work_is_shown_to_nobody(site: Site, clip: bytes) -> None:
    anna = await site.visitor("Anna")
    site.clips.gate.clear()
    uploading = asyncio.create_task(upload(anna, clip))
    await until(lambda: bool(site.clips.received))
    assert (await site.client().get("/api/sessions")).json()["sessions"] == []
    assert (await anna.get("/api/sessions/1/meshes/000000.glb")).status_code == 404
    site.clips.gate.set()
    assert (await uploading).status_code == 201
    assert len((await anna.get("/api/sessions")).json()["sessions"]) == 1


async def test_stop_gives_up_clips_and_leaves_nothing(tmp_path: Path, clip: bytes) -> None:
    async with open_site(tmp_path, FakePictures()) as site:
        anna = await site.visitor("Anna")
        site.clips.gate.clear()
        uploading = asyncio.create_task(upload(anna, clip))
        await until(lambda: bool(site.clips.received))
    assert (await uploading).status_code == 503
    async with open_site(tmp_path, FakePictures()) as site:
        assert left(site) == []


async def test_forged_notes_in_the_output_are_left_alone(tmp_path: Path) -> None:
    for folder, content in (("a", None), ("b", b"\xff"), ("c", b"x" * 1000)):
        (tmp_path / folder).mkdir()
        note = tmp_path / folder / "session"
        os.mkfifo(note) if content is None else note.write_bytes(content)
    async with open_site(tmp_path, FakePictures()):
        assert len(list(tmp_path.glob("*/session"))) == 3


async def test_killed_receiver_leaves_nothing_of_a_clip(tmp_path: Path, clip: bytes) -> None:
    async with open_site(tmp_path, FakePictures()) as site:
        await upload(await site.visitor("Anna"), clip)
        abandoned = tmp_path / "bodywire-run-killed"
        abandoned.mkdir()
        (abandoned / "session").write_text("clip1")
    async with open_site(tmp_path, FakePictures()) as site:
        assert left(site) == []


async def test_account_that_is_removed_leaves_no_clip_that_waits(site: Site, clip: bytes) -> None:
    anna = await site.visitor("Anna")
    site.clips.gate.clear()
    uploading = [asyncio.create_task(upload(anna, clip)) for _ in range(2)]
    await until(lambda: bool(site.clips.received) and len(list(site.out.glob("bodywire-run-*/*.mp4"))) == 2)
    assert (await anna.request("DELETE", "/api/account", json={"password": PASSWORD})).status_code == 204
    site.clips.gate.set()
    assert [(await task).status_code for task in uploading] == [409, 409]
    site.clock.advance(10)
    await site.service.library.delete_of_removed()
    assert left(site) == [] and len(site.clips.received) == 1


async def test_bodies_that_arrive_take_little_of_the_disk(site: Site, clip: bytes) -> None:
    anna = await site.visitor("Anna")
    ended = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="clip"; filename="a.mp4"\r\n\r\n'
        await ended.wait()
        yield clip + b"\r\n--b--\r\n"

    form = {"Content-Type": "multipart/form-data; boundary=b"}
    slow = [asyncio.create_task(anna.post("/api/sessions", content=body(), headers=form)) for _ in range(4)]
    await until(lambda: any(task.done() for task in slow))
    ended.set()
    assert sorted([(await task).status_code for task in slow]) == [201, 201, 201, 429]


async def test_accounts_take_turns(site: Site, clip: bytes) -> None:
    anna, bert = await site.visitor("Anna"), await site.visitor("Bert")
    site.clips.gate.clear()
    hers = [asyncio.create_task(upload(anna, clip)) for _ in range(4)]
    await until(lambda: sum(task.done() for task in hers) == 1)
    his = asyncio.create_task(upload(bert, clip))
    await until(lambda: len(site.clips.received) == 1)
    site.clips.gate.set()
    assert sorted([(await task).status_code for task in hers]) == [201, 201, 201, 429]
    assert (await his).status_code == 201
