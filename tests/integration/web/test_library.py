"""Recorded sessions over HTTP: who may see and change them, and what is left of them."""

import asyncio
import io
import itertools
import json
import os
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common.errors import UsageError
from receiver.config import AccountsConfig
from receiver.link.refusals import SessionOwner
from receiver.mesh.body_file import parse_body, read_body, read_mesh
from receiver.mesh.mesh_files import to_y_up
from receiver.publish.frame_record import FrameRecord
from receiver.web.children.workshop import Work, Workshop
from receiver.web.library.service import Downloads, zipped
from receiver.web.owners import CAMERA, owner_of
from tests.support.link.counting_codec import new_session, until
from tests.support.pictures.fake_pictures import FakePictures
from tests.support.receiver.published_session import publish as publish_session
from tests.support.receiver.published_session import record_album
from tests.support.receiver.published_session import record_session as publish
from tests.support.web.web_service import Site, open_site

NOBODY = (False, "198.51.100.7")


@pytest.fixture
async def site(tmp_path: Path, pictures: FakePictures) -> AsyncIterator[Site]:
    async with open_site(tmp_path, pictures) as opened:
        for name in ("dance", "walk"):
            publish(opened.directory, name)
        opened.clock.advance(10)
        yield opened


async def test_link_of_a_slow_video_is_counted_in_the_time_that_it_took(site: Site) -> None:
    writer = site.directory.session("slow", SessionOwner.from_secret("", b""))
    for n in range(2):
        writer.append(FrameRecord(n, "slow.mp4", 10.0 + n, None, 1.0, {"total": 20}, link_bytes=100 * (n + 1)))
        site.clock.advance(8)
    writer.close()
    anna = await site.visitor("Anna")
    slow = (await anna.get("/api/sessions")).json()["sessions"][-1]
    assert (slow["length_s"], slow["fps"]) == (1.0, 1.0)
    assert (slow["played_s"], slow["played_fps"], slow["link_bps"]) == (8.0, 0.125, 200)


async def test_sessions_are_listed_named_and_deleted(site: Site) -> None:
    anna = await site.visitor("Anna")
    first, second = (await anna.get("/api/sessions")).json()["sessions"]
    assert (first["number"], first["source"], first["frames"], first["people"]) == (1, "dance.mp4", 3, 1)
    assert (first["fps"], first["label_bytes"], first["age_ms"], first["length_s"]) == (1.0, 20.0, 50.0, 2.0)
    assert (first["played_s"], first["played_fps"], first["link_bps"]) == (0.0, None, None)
    assert not first["connected"] and first["may_change"]
    assert datetime.fromisoformat(first["ended_at"]).timestamp() == site.clock.now_s - 10
    named = await anna.patch("/api/sessions/1", json={"name": " Tanz "})
    assert named.status_code == 200 and named.json()["name"] == "Tanz"
    assert (await anna.patch("/api/sessions/1", json={"name": "a\x1b[31m"})).status_code == 422
    assert (await anna.delete("/api/sessions/1")).status_code == 204
    assert (await anna.get("/api/sessions")).json()["sessions"] == [second]
    assert [path.name.startswith("s2-") for path in (site.out / "meshes").iterdir()] == [True] * 9
    assert b"dance" not in (site.out / "frames.jsonl").read_bytes()
    for method, path in (
        ("GET", ""),
        ("GET", "/frames"),
        ("DELETE", ""),
        ("GET", "/thumbnail"),
        ("GET", "/download/zip"),
    ):
        assert (await anna.request(method, f"/api/sessions/1{path}")).status_code == 404, path


async def test_mesh_that_a_browser_has_is_not_sent_again(site: Site) -> None:
    anna, path = await site.visitor("Anna"), "/api/sessions/2/meshes/s2-000001.glb"
    first = await anna.get(path)
    tag = first.headers["etag"]
    for given, status in ((tag, 304), (f'"other", W/{tag}', 304), ("*", 304), ('"other"', 200)):
        again = await anna.get(path, headers={"if-none-match": given})
        assert (again.status_code, again.content) == (status, b"" if status == 304 else first.content), given
        assert again.headers["etag"] == tag and again.headers["cache-control"] == first.headers["cache-control"]


async def test_body_comes_with_its_files_or_as_one_made_when_asked_for(site: Site, tmp_path: Path) -> None:
    anna, folder = await site.visitor("Anna"), "/api/sessions/2/meshes"
    answer = await anna.get(f"{folder}/s2-000001.body.gltf")
    assert answer.headers["content-type"] == "model/gltf+json"
    buffers = answer.json()["buffers"]
    for buffer in buffers:
        content = (await anna.get(f"{folder}/{buffer['uri']}")).content
        assert content == (site.out / "meshes" / buffer["uri"]).read_bytes()
        assert len(content) == buffer["byteLength"]
        assert (await anna.get(f"/api/sessions/1/meshes/{buffer['uri']}")).status_code == 404
    whole = parse_body((await anna.get(f"{folder}/s2-000001.body.glb")).content)
    stored = read_body(site.out / "meshes" / "s2-000001.body.gltf")
    np.testing.assert_allclose(whole.mesh.vertices, stored.mesh.vertices, atol=1e-5)
    (site.out / "meshes" / "s2-000001.glb").unlink()
    (tmp_path / "static.glb").write_bytes((await anna.get(f"{folder}/s2-000001.glb")).content)
    static = read_mesh(tmp_path / "static.glb")
    np.testing.assert_allclose(to_y_up(static.vertices), stored.mesh.vertices, atol=1e-5)
    np.testing.assert_array_equal(static.faces, stored.mesh.faces)
    for name in ("s2-000009.body.glb", "000001.body.glb", "s2-..%2f000001.body.glb", "s2-000009.glb"):
        assert (await anna.get(f"{folder}/{name}")).status_code == 404
    (site.out / "meshes" / "s2-000001.body.gltf").write_text("{}")
    for name in ("s2-000001.body.glb", "s2-000001.glb"):
        assert (await anna.get(f"{folder}/{name}")).status_code == 404


async def test_links_and_pipes_among_the_meshes_are_not_read(site: Site, tmp_path: Path) -> None:
    anna, meshes, secret = await site.visitor("Anna"), site.out / "meshes", tmp_path / "secret"
    secret.write_text("of somebody else")
    (meshes / "s2-000000.glb").unlink()
    (meshes / "s2-000000.glb").symlink_to(secret)
    (meshes / "s2-000001.glb").unlink()
    os.mkfifo(meshes / "s2-000001.glb")
    for name in ("s2-000000.glb", "s2-000001.glb"):
        assert (await anna.get(f"/api/sessions/2/meshes/{name}")).status_code == 404
    archive = zipfile.ZipFile(io.BytesIO((await anna.get("/api/sessions/2/download/zip")).content))
    assert len(archive.namelist()) == 8 and b"somebody" not in b"".join(map(archive.read, archive.namelist()))
    assert (await anna.get("/api/sessions/2/thumbnail")).status_code in (200, 404)


async def test_live_session_is_not_deleted(site: Site) -> None:
    anna = await site.visitor("Anna")
    site.directory.session("walk", SessionOwner.from_secret("", b""))
    answer = await anna.delete("/api/sessions/2")
    assert answer.status_code == 409 and "stop its sender" in answer.json()["detail"]


async def test_who_has_the_printed_address_changes_sessions_from_this_page(site: Site) -> None:
    user = site.client()
    assert (await user.delete("/api/sessions/1", headers={"origin": "http://evil.example"})).status_code == 403
    assert (await user.delete("/api/sessions/1")).status_code == 204


async def test_where_everybody_signs_up_one_changes_ones_own(tmp_path: Path, pictures: FakePictures) -> None:
    async with open_site(tmp_path, pictures, accounts=AccountsConfig(sign_up=True), loopback=False) as site:
        publish(site.directory, "dance")
        publish(site.directory, "mine", f"token:{owner_of(CAMERA, 'Anna')}")
        site.clock.advance(10)
        anna, bert, stranger = await site.visitor("Anna"), await site.visitor("Bert"), site.client()
        assert (await stranger.get("/api/sessions")).status_code == 401
        assert [each["may_change"] for each in (await anna.get("/api/sessions")).json()["sessions"]] == [False, True]
        for client, number, status in ((anna, 1, 403), (bert, 2, 403), (stranger, 2, 401), (anna, 2, 200)):
            assert (await client.patch(f"/api/sessions/{number}", json={"hidden": [0]})).status_code == status
        for client, number, status in ((anna, 1, 403), (bert, 2, 403), (stranger, 2, 401), (anna, 2, 204)):
            assert (await client.delete(f"/api/sessions/{number}")).status_code == status


async def test_thumbnail_shows_the_person(site: Site) -> None:
    anna = await site.visitor("Anna")
    answer = await anna.get("/api/sessions/1/thumbnail")
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.size == (320, 240) and len(picture.convert("RGB").getcolors(100_000) or ()) > 20
        alpha = picture.getchannel("A")
        assert alpha.getpixel((0, 0)) == 0 and alpha.getpixel((160, 120)) == 255, "on the page's own background"


async def test_folder_of_photographs_is_an_album_whose_picture_is_its_first_with_people(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.web.library.service._LINES_SEARCHED", 2)
    drawn = list[str]()

    async def made(*arguments: Any) -> None:
        drawn.extend(json.loads(line)["source"] for line in arguments[-1])

    monkeypatch.setattr("receiver.web.children.workshop.Workshop.made", made)
    record_album(site.directory, (), (), (), (4,), (5, 6))
    site.clock.advance(10)
    anna = await site.visitor("Anna")
    film, _, album = (await anna.get("/api/sessions")).json()["sessions"]
    assert (film["album"], film["source"], album["album"], album["source"]) == (False, "dance.mp4", True, "photos (5)")
    await anna.get("/api/sessions/3/thumbnail")
    assert drawn == ["3.jpg", "4.jpg"], "the first two lines with somebody in them"
    answer = await anna.head("/api/sessions/3/download/zip")
    assert answer.headers["content-disposition"].endswith("''photos-3.zip")


async def test_who_is_taken_out_is_neither_shown_nor_downloaded_until_brought_back(site: Site) -> None:
    anna, path = await site.visitor("Anna"), "/api/sessions/3"
    record_album(site.directory, (1,), (1, 2), (2,))
    site.clock.advance(10)
    before = (site.out / "frames.jsonl").read_bytes()

    async def seen() -> tuple[list[list[int]], set[str], bytes]:
        frames = (await anna.get(f"{path}/frames")).json()["frames"]
        with zipfile.ZipFile(io.BytesIO((await anna.get(f"{path}/download/zip")).content)) as archive:
            assert archive.testzip() is None
            files = {name.removeprefix("photos-3/meshes/") for name in archive.namelist()}
            lines = archive.read("photos-3/frames.jsonl")
        return [[person["id"] for person in frame["people"]] for frame in frames], files, lines

    everybody = await seen()
    assert (await anna.patch(path, json={"hidden": [2]})).json()["hidden"] == [2]
    assert (await anna.get(path)).json()["people"] == 1
    shown, files, lines = await seen()
    assert shown == [[1], [1], []] and b'"id":2' not in lines and lines.count(b"\n") == 3
    left_out = everybody[1] - files
    assert {"s3-000001-p2.glb", "s3-000001-p2.body.gltf", "s3-000002.glb", "s3-000002.body.gltf"} < left_out
    kept = {
        buffer["uri"] for n in (0, 1) for buffer in _buffers(site.out, f"s3-00000{n}{'-p1' if n else ''}.body.gltf")
    }
    assert kept <= files and any(name.endswith(".bin") for name in left_out)
    assert (site.out / "frames.jsonl").read_bytes() == before
    renamed = (await anna.patch(path, json={"name": "Party"})).json()
    assert (renamed["name"], renamed["hidden"]) == ("Party", [2])
    assert (await anna.patch(path, json={"name": "", "hidden": []})).json()["people"] == 2
    assert await seen() == everybody
    for hidden in ([9], [-1], ["1"], [1.5], [1] * 300, 1, [True]):
        assert (await anna.patch(path, json={"hidden": hidden})).status_code == 422, hidden


def _buffers(out: Path, name: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((out / "meshes" / name).read_bytes())["buffers"]
    return found


async def test_session_is_downloaded_with_all_its_files(site: Site) -> None:
    anna = await site.visitor("Anna")
    answer = await anna.get("/api/sessions/2/download/zip")
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''walk-2.zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert len(archive.read("walk-2/frames.jsonl").splitlines()) == 3
        assert archive.read("walk-2/meshes/s2-000001.glb") == (site.out / "meshes" / "s2-000001.glb").read_bytes()
        assert len(archive.namelist()) == 10


async def test_head_answers_as_get_without_the_work(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    anna, session = await site.visitor("Anna"), "/api/sessions/1"
    shown = (f"{session}{path}" for path in ("", "/frames", "/thumbnail", "/meshes/000001.glb", "/download/zip"))
    for path in ("/api/status", "/api/models", "/openapi.json", "/api/sessions/9", *shown):
        head, got = await anna.head(path), await anna.get(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert {**head.headers} == {**got.headers}, path
    monkeypatch.setattr("receiver.web.library.service._export", None)  # exports nothing
    answer = await anna.head(f"{session}/download/glb")
    assert answer.status_code == 200 and answer.headers["content-disposition"].endswith("dance-1.glb")
    assert (await anna.head("/upload")).status_code == 405


async def test_deleted_session_is_shown_no_longer(site: Site) -> None:
    anna, hub = await site.visitor("Anna"), site.service.hub
    hub.session_began(2, new_session())
    hub.session_ended(2)
    assert (await anna.delete("/api/sessions/2")).status_code == 204
    await until(lambda: not hub.sessions)


async def test_deleted_session_is_downloaded_no_further(site: Site) -> None:
    anna, library = await site.visitor("Anna"), site.service.library
    reading = zipped(library.out, 2, "walk-2")
    first = b"".join(itertools.islice(reading, 9))
    assert (await anna.delete("/api/sessions/2")).status_code == 204
    with zipfile.ZipFile(io.BytesIO(first + b"".join(reading))) as archive:
        assert archive.testzip() is None
        names = [name.removeprefix("walk-2/") for name in archive.namelist()]
        assert names[0] == "frames.jsonl" and len(names) < 7


def written(content: dict[str, bytes]) -> Callable[[Sequence[str]], Iterator[str]]:
    """An export that writes files, by what follows the name that it is given."""

    def export(arguments: Sequence[str]) -> Iterator[str]:
        output = Path(arguments[-1])
        for person, each in content.items():
            output.with_stem(f"{output.stem}{person}").write_bytes(each)
            yield person

    return export


async def test_files_of_several_people_come_in_one_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = {"-p1": b"HIERARCHY", "-p2": b"HIERARCHY"}
    monkeypatch.setattr("receiver.web.library.service.export", written(people))
    file, ending = await Downloads(tmp_path).export(1, "bvh", "Tanz-1", NOBODY)
    with file, zipfile.ZipFile(file) as archive:
        assert (ending, archive.namelist()) == ("zip", ["Tanz-1-p1.bvh", "Tanz-1-p2.bvh"])
    assert list(tmp_path.iterdir()) == [], "also while the file is read"


async def test_failed_exports_name_no_paths_and_deleted_sessions_are_gone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = await site.visitor("Anna")

    def fail(_: Sequence[str]) -> Iterator[str]:
        yield ""
        raise UsageError(f"{site.out}/meshes/1.glb is damaged, and {site.out} has no other")

    def deleted(_: Sequence[str]) -> Iterator[str]:
        site.directory.delete([1])
        yield ""
        raise UsageError(f"{site.out} has no session 1")

    answers = []
    for failure in (fail, deleted):
        monkeypatch.setattr("receiver.web.library.service.export", failure)
        answers.append(await anna.get("/api/sessions/1/download/glb"))
    assert [answer.status_code for answer in answers] == [422, 404]
    details = [answer.json()["detail"] for answer in answers]
    assert details == ["meshes/1.glb is damaged, and the receiver has no other", "there is no such session"]


async def test_visitor_waits_for_two_things_and_gets_what_is_made_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, made = asyncio.Event(), list[object]()

    async def parts(_: Workshop, work: Work, arguments: tuple[Any, ...]) -> AsyncGenerator[bytes]:
        await going.wait()
        made.append(arguments)
        yield b"".join(work(*arguments))

    monkeypatch.setattr(Workshop, "_parts", parts)
    anna, bert = await site.visitor("Anna"), await site.visitor("Bert")
    paths = [f"/api/sessions/2/meshes/s2-00000{n}.body.glb" for n in (0, 1, 2)] + ["/api/sessions/2/download/zip"] * 3
    asked = [asyncio.create_task(anna.get(path)) for path in paths]
    await until(lambda: sum(task.done() for task in asked) == 2)
    # Of the four places for downloads, Bert gets one only, because Anna has half of them.
    asked += [asyncio.create_task(bert.get(path)) for path in paths]
    await until(lambda: sum(task.done() for task in asked) == 5)
    for refused in (task.result() for task in asked if task.done()):
        assert refused.status_code == 429 and refused.headers["retry-after"] == "2"
    going.set()
    assert sorted([answer.status_code for answer in await asyncio.gather(*asked)]) == [200] * 7 + [429] * 5
    # Which of the paths were refused is not the same each time.
    assert (await anna.get(paths[0])).status_code == (await bert.get(paths[1])).status_code == 200
    count = len(made)
    assert (await anna.get(paths[0])).status_code == (await bert.get(paths[1])).status_code == 200
    assert len(made) == count, "they are kept"
    (site.out / "meshes" / "s2-000000.body.gltf").unlink()
    assert (await anna.get(paths[0])).status_code == 404


@pytest.mark.slow
async def test_session_is_exported_or_the_command_says_why_not(tmp_path: Path) -> None:
    publish_session(tmp_path)
    file, ending = await Downloads(tmp_path).export(1, "bvh", "Tanz-1", NOBODY)
    with file:
        assert ending == "bvh" and file.read(9) == b"HIERARCHY"
    with pytest.raises(UsageError, match="no session 7"):
        await Downloads(tmp_path).export(7, "glb", "x", NOBODY)
