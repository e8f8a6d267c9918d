"""Uploads and models over HTTP: what is accepted, what is refused, and whose they are."""

import asyncio
import io
import json
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import trimesh
from PIL import Image

from common.body.anatomy import FACIAL_ACTIONS
from common.errors import OutputError
from receiver.config import UploadConfig
from receiver.web.children.pictures import ReconstructedPicture
from receiver.web.metrics import UPLOAD_STAGES
from receiver.web.places import Refused
from tests.support.link.counting_codec import until
from tests.support.pictures.fake_pictures import JPEG, FakePictures, picture
from tests.support.web.web_service import Site, open_site

JSON_LINES = {"Accept": "application/x-ndjson"}
MISSING = "0" * 32


async def upload(
    client: httpx.AsyncClient, content: bytes | None = None, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    files = {"image": ("a.jpg", picture() if content is None else content)}
    return await client.post("/upload", files=files, headers=headers)


def folders(site: Site) -> list[str]:
    return sorted(path.name for path in (site.out / "models").iterdir())


async def test_picture_becomes_meshes(site: Site, pictures: FakePictures) -> None:
    anna = await site.visitor("Anna")
    answer = await upload(anna, picture(200, 100))
    assert answer.status_code == 201, answer.text
    model = answer.json()
    assert answer.headers["location"] == f"/api/models/{model['id']}"
    assert model["bytes"] == 51 and model["name"] == "a.jpg" and (model["width"], model["height"]) == (200, 100)
    assert model["stages_ms"].keys() == set(UPLOAD_STAGES) and min(model["stages_ms"].values()) >= 0
    assert len(model["people"]) == 2
    person = model["people"][1]
    assert person["keypoints_2d"][0] == [100.0, 50.0, 0.5] and len(person["joints_3d"]) == 17
    scale = ("height_m", "height_sigma_m", "distance_sigma_m")
    assert [[each[name] for name in scale] for each in model["people"]] == [[None] * 3, [1.7, 0.14, 0.3]]
    assert model["people"][0]["face"] is None and person["face"] == dict.fromkeys(FACIAL_ACTIONS, 0.5)
    for kind, media in (("obj", "model/obj"), ("glb", "model/gltf-binary"), ("ply", "application/octet-stream")):
        file = await anna.get(person[kind])
        assert file.headers["content-type"].startswith(media) and file.headers["x-content-type-options"] == "nosniff"
        mesh = trimesh.load_mesh(io.BytesIO(file.content), file_type=kind, process=True)
        assert isinstance(mesh, trimesh.Trimesh) and mesh.is_watertight
        assert file.headers["content-disposition"] == f"inline; filename*=UTF-8''a-person-2.{kind}"
    body = await anna.get(person["body"])
    assert body.headers["content-type"] == "model/gltf-binary"
    assert body.headers["content-disposition"].endswith("a-person-2-body.glb")
    assert JPEG in body.content
    surface = await anna.get(person["textured"])
    assert JPEG in surface.content
    assert surface.headers["content-disposition"].endswith("a-person-2-textured.glb")
    assert model["people"][0]["body"] is model["people"][0]["textured"] is None
    shown = await anna.get(model["picture"])
    assert Image.open(io.BytesIO(shown.content)).size == (200, 100)
    assert (await anna.get(f"/api/models/{model['id']}")).json() == model
    listed = (await anna.get("/api/models")).json()["models"]
    assert listed == [{**{key: model[key] for key in ("id", "name", "created_at", "bytes")}, "people": 2}]
    assert not Image.open(io.BytesIO(pictures.received[0])).getexif()
    assert site.outcomes == ["stored"]


async def test_bytes_of_a_model_are_those_of_labels_clothes_and_colours(site: Site) -> None:
    anna = await site.visitor("Anna")
    model = (await upload(anna)).json()
    assert model["bytes"] == 51
    assert model["sent"] == {"labels": 51, "clothes": 40, "colours": 14000, "total": 14091}  # of two people
    with closing(sqlite3.connect(site.out / "accounts" / "accounts.sqlite3")) as database, database:
        database.execute("UPDATE models SET people = replace(people, '\"blob_bytes\"', '\"of_an_older_receiver\"')")
    assert (await anna.get(f"/api/models/{model['id']}")).json()["sent"] is None


async def test_sender_starts_when_somebody_opens_their_models(site: Site, pictures: FakePictures) -> None:
    anna = await site.visitor("Anna")
    assert pictures.prepared == 0
    assert (await anna.get("/api/models")).status_code == 200
    assert pictures.prepared == 1
    await anna.post("/upload", content=b"", headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert pictures.prepared == 2, "before the body is read"


async def test_keypoints_are_in_pixels_of_the_uploaded_picture(site: Site) -> None:
    anna = await site.visitor("Anna")
    model = (await upload(anna, picture(5120, 2560))).json()
    assert model["people"][0]["keypoints_2d"][0] == [2560.0, 1280.0, 0.5]


async def test_progress_is_reported_line_by_line(site: Site) -> None:
    anna = await site.visitor("Anna")
    answer = await upload(anna, headers=JSON_LINES)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("application/x-ndjson")
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert [event["stage"] for event in events[:-1]] == list(UPLOAD_STAGES)
    assert events[-1]["event"] == "done"
    assert (await anna.get(f"/api/models/{events[-1]['model']['id']}")).json() == events[-1]["model"]


async def test_answer_says_how_many_pictures_the_file_has(site: Site) -> None:
    anna, animation = await site.visitor("Anna"), io.BytesIO()
    first, *others = (Image.new("RGB", (64, 48), (level, 0, 0)) for level in (50, 100, 150))
    first.save(animation, "GIF", save_all=True, append_images=others)
    (warning,) = (await upload(anna, animation.getvalue())).json()["warnings"]
    assert "of its 3 pictures the first was used" in warning
    assert (await upload(anna)).json()["warnings"] == []


async def test_deleted_model_is_gone(site: Site) -> None:
    anna = await site.visitor("Anna")
    model = (await upload(anna)).json()
    assert (await anna.delete(f"/api/models/{model['id']}")).status_code == 204
    assert folders(site) == []
    for path in (f"/api/models/{model['id']}", model["people"][0]["obj"]):
        assert (await anna.get(path)).status_code == 404
    assert (await anna.delete(f"/api/models/{model['id']}")).status_code == 404
    assert (await anna.get("/api/models")).json() == {"models": []}


async def test_model_of_somebody_else_is_like_a_missing_one(site: Site) -> None:
    anna, bert = await site.visitor("Anna"), await site.visitor("Bert")
    model = (await upload(anna)).json()
    for path in (f"/api/models/{model['id']}", model["people"][0]["obj"], model["picture"]):
        missing = await bert.get(path.replace(model["id"], MISSING))
        others = await bert.get(path)
        assert others.status_code == missing.status_code == 404 and others.content == missing.content
    assert (await bert.delete(f"/api/models/{model['id']}")).status_code == 404
    assert (await bert.get("/api/models")).json() == {"models": []}
    assert (await anna.get(model["picture"])).status_code == 200


async def test_visitor_without_account_gets_nothing(site: Site) -> None:
    model = (await upload(await site.visitor("Anna"))).json()
    nobody = site.client()
    assert (await upload(nobody)).status_code == 401
    for path in ("/api/models", f"/api/models/{model['id']}", model["picture"], model["people"][0]["glb"]):
        assert (await nobody.get(path)).status_code == 401
    assert (await nobody.delete(f"/api/models/{model['id']}")).status_code == 401


async def test_traversal_finds_nothing(site: Site) -> None:
    anna = await site.visitor("Anna")
    model = (await upload(anna)).json()
    database, long = "..%2f..%2faccounts%2faccounts.sqlite3", "x" * 500
    for file in (database, "%2e%2e", "person-0.obj%00", "person-0.exe", "picture.jpg%0a", "..\\x", long):
        for path in (f"/models/{model['id']}/{file}", f"/models/{file}/picture.jpg", f"/api/models/{file}"):
            assert (await anna.get(path)).status_code in (404, 422), path


async def test_other_pictures_are_refused(site: Site, pictures: FakePictures) -> None:
    anna = await site.visitor("Anna")
    for content, status in (
        (b"", 415),
        (b"hello", 415),
        (b"\0\0\0\x18ftypheic", 415),
        (picture()[:200], 422),
    ):
        for headers in (None, JSON_LINES):
            answer = await upload(anna, content, headers)
            assert answer.status_code == status and answer.json()["detail"], (content[:20], answer.text)
    assert pictures.received == [] and folders(site) == []
    assert set(site.outcomes) == {"refused"}


async def test_body_of_100_mb_is_refused_early(site: Site) -> None:
    anna = await site.visitor("Anna")
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
        while sent < 100_000_000:
            sent += 1_000_000
            yield bytes(1_000_000)

    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    said = await anna.post("/upload", content=b"", headers={**kind, "Content-Length": "100000000"})
    assert said.status_code == 413 and said.headers["connection"] == "close"
    unsaid = await anna.post("/upload", content=body(), headers=kind)
    assert unsaid.status_code == 413 and sent <= 25_000_000


async def test_picture_without_people_is_refused(site: Site, pictures: FakePictures) -> None:
    pictures.people = 0
    anna = await site.visitor("Anna")
    answer = await upload(anna)
    assert answer.status_code == 422 and "nobody" in answer.json()["detail"]
    last = json.loads((await upload(anna, headers=JSON_LINES)).text.splitlines()[-1])
    assert last["event"] == "error" and last["status"] == 422 and "nobody" in last["detail"]
    assert folders(site) == []


@pytest.mark.parametrize(
    ("error", "status"), [(Refused(422, "it is dark"), 422), (Refused(503, "no sender: start again", 5.0), 503)]
)
async def test_reconstruction_that_fails_says_why(
    error: Exception, status: int, site: Site, pictures: FakePictures
) -> None:
    pictures.error = error
    anna = await site.visitor("Anna")
    answer = await upload(anna)
    assert answer.status_code == status and answer.json()["detail"] == str(error)
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_quota_is_a_conflict_until_a_model_is_deleted(tmp_path: Path) -> None:
    async with open_site(tmp_path, FakePictures(), uploads=UploadConfig(account_models=2)) as site:
        anna = await site.visitor("Anna")
        models = [(await upload(anna)).json()["id"] for _ in range(2)]
        full = await upload(anna)
        assert full.status_code == 409 and "delete one" in full.json()["detail"]
        assert (await upload(await site.visitor("Bert"))).status_code == 201
        await anna.delete(f"/api/models/{models[0]}")
        assert (await upload(anna)).status_code == 201


async def test_quota_holds_for_uploads_at_the_same_time(tmp_path: Path) -> None:
    async with open_site(tmp_path, FakePictures(), uploads=UploadConfig(account_models=2)) as site:
        anna = await site.visitor("Anna")
        answers = await asyncio.gather(*(upload(anna) for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409, 409]
        assert len(folders(site)) == 2


async def test_floods_are_refused(site: Site, pictures: FakePictures) -> None:
    pictures.gate.clear()
    anna = await site.visitor("Anna")
    waiting = [asyncio.create_task(upload(anna)) for _ in range(10)]
    done, held = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 4:
        more, held = await asyncio.wait(held, return_when=asyncio.FIRST_COMPLETED)
        done |= more
    assert {task.result().status_code for task in done} == {429}
    pictures.gate.set()
    assert {(await task).status_code for task in held} == {201}
    assert (await upload(anna)).status_code == 201  # there is room again


async def test_bodies_that_do_not_arrive_keep_nobody_from_uploading(site: Site) -> None:
    begun, never = list[None](), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        begun.append(None)
        yield b"--b\r\n"
        await never.wait()

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    attackers = [await site.visitor(f"attacker-{number}") for number in range(3)]
    held = [
        asyncio.create_task(attacker.post("/upload", content=body(), headers=headers))
        for attacker in attackers
        for _ in range(6)
    ]
    await until(lambda: len(begun) + sum(task.done() for task in held) == len(held))
    assert len(begun) == 8, "an address has half of the places, however many accounts"
    assert (await upload(await site.visitor("Anna", "192.0.2.1"))).status_code == 201
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)


async def test_slow_bodies_end_when_they_take_half_of_the_places(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.web.guards.PACE_S", 0.05)
    monkeypatch.setattr("receiver.web.uploads.LEAST_BYTES_PER_S", 0)

    async def drip(last: asyncio.Event) -> AsyncIterator[bytes]:
        begun.append(None)
        yield b"--b\r\n"
        while not last.is_set():
            await asyncio.sleep(0.01)
            yield b"x"

    async def held(account: int) -> int:
        visitor = await site.visitor(f"slow-{account}", f"192.0.2.{account}")
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = await visitor.post("/api/sessions", content=drip(last), headers=headers)
        return answer.status_code

    begun, last = list[None](), asyncio.Event()
    bodies = [asyncio.create_task(held(number)) for number in range(3)]
    await until(lambda: len(begun) == 3)
    await asyncio.sleep(0.2)
    assert not any(task.done() for task in bodies), "three take less than half of the places"
    bodies.append(asyncio.create_task(held(4)))
    # Whichever of the four is asked first for what it has sent.
    done, _ = await asyncio.wait(bodies, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result() for task in done} == {408}
    last.set()
    await asyncio.gather(*bodies)


async def test_uploads_in_a_minute_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.web.uploads._UPLOADS", "10 per minute")
    async with open_site(tmp_path, FakePictures()) as site:
        anna = await site.visitor("Anna")
        statuses = [(await anna.post("/upload", content=b"no form")).status_code for _ in range(15)]
        assert statuses == [415] * 10 + [429] * 5
        site.clock.advance(60)
        assert (await upload(anna)).status_code == 201


async def test_client_that_leaves_gets_its_model_later(site: Site, pictures: FakePictures) -> None:
    pictures.gate.clear()
    anna = await site.visitor("Anna")
    task = asyncio.create_task(upload(anna))
    while not pictures.received:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    pictures.gate.set()
    await asyncio.gather(*site.service.models._tasks)
    assert len((await anna.get("/api/models")).json()["models"]) == 1
    assert (await upload(anna)).status_code == 201


async def test_stop_gives_up_pictures_in_work_and_leaves_nothing(tmp_path: Path) -> None:
    pictures = FakePictures()
    pictures.gate.clear()
    async with open_site(tmp_path, pictures) as site:
        anna = await site.visitor("Anna")
        task = asyncio.create_task(upload(anna))
        while not pictures.received:
            await asyncio.sleep(0)
    answer = await task
    assert answer.status_code == 503 and "stopping" in answer.json()["detail"]
    async with open_site(tmp_path, pictures) as site:
        assert folders(site) == []


async def test_full_disk_is_reported_and_leaves_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    anna = await site.visitor("Anna")

    def full(*_: object) -> None:
        raise OutputError(f"cannot write {site.out}: No space left on device")

    monkeypatch.setattr(site.service.models.files, "write", full)
    answer = await upload(anna)
    assert answer.status_code == 503 and str(site.out) not in answer.text
    last = json.loads((await upload(anna, headers=JSON_LINES)).text.splitlines()[-1])
    assert last["event"] == "error" and last["status"] == 503
    assert (await anna.get("/api/models")).json() == {"models": []}


async def test_lost_files_are_missing_not_failing(site: Site) -> None:
    anna = await site.visitor("Anna")
    model = (await upload(anna)).json()
    for path in (site.out / "models" / model["id"]).iterdir():
        path.unlink()
    assert (await anna.get(model["picture"])).status_code == 404
    assert (await anna.delete(f"/api/models/{model['id']}")).status_code == 204


async def test_account_that_is_removed_meanwhile_is_told_so_and_keeps_nothing(
    site: Site, pictures: FakePictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, real = await site.visitor("Anna"), pictures.reconstruct

    async def removed_meanwhile(*arguments: Any) -> ReconstructedPicture:
        site.service.accounts.database.write(lambda database: database.execute("DELETE FROM accounts"))
        return await real(*arguments)

    monkeypatch.setattr(pictures, "reconstruct", removed_meanwhile)
    answer = await upload(anna)
    assert (answer.status_code, answer.json()["detail"]) == (409, "the account was removed")
    assert folders(site) == []
