"""A body of a model with other clothes, colours and build over HTTP: what is changed, refused, and whose it is."""

from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from common.arrays import FloatArray
from receiver.export.rigging import load_body_skin
from receiver.mesh.body_file import parse_body
from receiver.mesh.skinned_glb import PosedBody
from tests.support.meshes.checkered_texture import checkered_texture
from tests.support.meshes.posed_templates import pose, templates
from tests.support.motion.recorded_person import body_parameters
from tests.support.pictures.fake_pictures import KINDS, FakePictures, picture
from tests.support.web.web_service import Site


async def upload(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/upload", files={"image": ("a.jpg", picture())})


@pytest.fixture(scope="module")
def textured_body() -> PosedBody:
    """Somebody of the body model, in a pose."""
    _, skin = load_body_skin()
    colours = np.full((len(skin.template.rest), 3), 120, np.uint8)
    body = pose(skin, templates(skin, body_parameters()), 1)
    return replace(body, mesh=replace(body.mesh, colours=colours), texture=checkered_texture())


async def test_body_changes_clothes_colours_and_build(
    site: Site, pictures: FakePictures, textured_body: PosedBody
) -> None:
    pictures.body, pictures.skeleton = textured_body, load_body_skin()[1].skeleton
    anna, bert = await site.visitor("Anna"), await site.visitor("Bert")
    person = (await upload(anna)).json()["people"][1]
    assert person["wears"] == KINDS
    sent = parse_body((await anna.get(person["body"])).content)
    words = {"wear": ["sleeve=short", "layer=dress"], "tint": "hair=#ff0000", "shape": "height=+10cm"}
    answer = await anna.get(person["body"], params=words)
    assert answer.status_code == 200 and answer.headers["content-type"] == "model/gltf-binary"
    edited = parse_body(answer.content)
    assert edited.texture is not None and sent.texture is not None and edited.texture.jpeg != sent.texture.jpeg
    np.testing.assert_allclose(edited.pose.rotations, sent.pose.rotations, atol=1e-5)
    grown_m = (
        np.linalg.norm(edited.pose.translations[1:], axis=1).sum()
        - np.linalg.norm(sent.pose.translations[1:], axis=1).sum()
    )
    assert grown_m > 0.1, "all bones"
    np.testing.assert_allclose(edited.mesh.vertices[:, 1].min(), sent.mesh.vertices[:, 1].min(), atol=0.1)
    again = parse_body((await anna.get(person["body"])).content)
    assert again.texture is not None and again.texture.jpeg == sent.texture.jpeg, "nothing is stored"
    assert (await bert.get(person["body"], params=words)).status_code == 404
    assert (await anna.get(person["obj"], params=words)).status_code == 404


@pytest.mark.parametrize(
    ("words", "detail"),
    [
        ({"wear": "sleeve=wide"}, "wear: sleeve is one of bare, sleeveless, short, long, not 'wide'"),
        ({"tint": "top=blue"}, "tint: 'top=blue' is no colour of a part: give PART=#RRGGBB"),
        ({"shape": "height=+9m"}, "shape: the shape space has no such body: give a smaller change"),
        ({"wear": ["sleeve=long"] * 9}, "query.wear"),
    ],
)
async def test_changes_that_are_not_possible_say_what_is(
    site: Site, pictures: FakePictures, textured_body: PosedBody, words: dict[str, str], detail: str
) -> None:
    pictures.body, pictures.skeleton = textured_body, load_body_skin()[1].skeleton
    anna = await site.visitor("Anna")
    answer = await anna.get((await upload(anna)).json()["people"][1]["body"], params=words)
    assert answer.status_code == 422 and answer.json()["detail"].startswith(detail)


async def test_other_bodies_keep_their_clothes(site: Site) -> None:
    anna = await site.visitor("Anna")
    person = (await upload(anna)).json()["people"]
    answer = await anna.get(person[1]["body"], params={"wear": "sleeve=short"})
    assert answer.status_code == 422 and "the body of this model cannot be read" in answer.json()["detail"]
    assert person[0]["wears"] is None


def posed_bounds(path: Path) -> tuple[FloatArray, FloatArray]:
    """Corners around the skinned mesh of a USDZ file, metres."""
    usd, geometry, skel = (pytest.importorskip(f"pxr.{name}") for name in ("Usd", "UsdGeom", "UsdSkel"))
    stage = usd.Stage.Open(str(path))
    kinds = (skel.Root, skel.Skeleton, geometry.Mesh)
    prims = {kind: next(prim for prim in stage.Traverse() if prim.IsA(kind)) for kind in kinds}
    cache = skel.Cache()
    cache.Populate(skel.Root(prims[skel.Root]), usd.TraverseInstanceProxies())
    points = geometry.Mesh(prims[geometry.Mesh]).GetPointsAttr().Get()
    transforms = cache.GetSkelQuery(skel.Skeleton(prims[skel.Skeleton])).ComputeSkinningTransforms(0)
    assert cache.GetSkinningQuery(prims[geometry.Mesh]).ComputeSkinnedPoints(transforms, points, 0)
    vertices = np.array(points, np.float32)
    return vertices.min(axis=0), vertices.max(axis=0)


async def test_body_stands_in_a_room_as_usdz(
    site: Site, pictures: FakePictures, textured_body: PosedBody, tmp_path: Path
) -> None:
    pictures.body, pictures.skeleton = textured_body, load_body_skin()[1].skeleton
    anna, bert = await site.visitor("Anna"), await site.visitor("Bert")
    without, person = (await upload(anna)).json()["people"]
    assert without["usdz"] is None and person["usdz"].endswith("/person-1.body.usdz")
    answer = await anna.get(person["usdz"])
    assert answer.status_code == 200 and answer.headers["content-type"] == "model/vnd.usdz+zip"
    assert answer.headers["content-disposition"].endswith("a-person-2-body.usdz")
    (tmp_path / "a.usdz").write_bytes(answer.content)
    low, high = posed_bounds(tmp_path / "a.usdz")
    assert abs(low[1]) < 0.01 and 1.2 < high[1] < 2.3 and np.abs(low + high)[[0, 2]].max() < 0.02, "on the floor"
    assert (await bert.get(person["usdz"])).status_code == 404
    assert (await anna.get(person["usdz"].replace("person-1", "person-0"))).status_code == 404


async def test_who_is_taken_out_of_a_model_is_gone_until_brought_back(site: Site) -> None:
    anna, bert = await site.visitor("Anna"), await site.visitor("Bert")
    before = (await upload(anna)).json()
    path = f"/api/models/{before['id']}"
    files = [[person[kind] for kind in ("obj", "textured", "body") if person[kind]] for person in before["people"]]
    assert (await bert.patch(path, json={"hidden": [1]})).status_code == 404
    for hidden in ([2], [-1], ["1"], None, [0] * 300):
        assert (await anna.patch(path, json={"hidden": hidden})).status_code == 422, hidden
    changed = (await anna.patch(path, json={"hidden": [1]})).json()
    assert changed == {**before, "people": before["people"][:1], "hidden": [1]}
    assert (await anna.get(path)).json() == changed
    assert [model["people"] for model in (await anna.get("/api/models")).json()["models"]] == [1]
    statuses = [[(await anna.get(file)).status_code for file in own] for own in files]
    assert statuses == [[200], [404] * 3]
    assert (await anna.get(files[1][-1], params={"wear": "sleeve=short"})).status_code == 404
    # Somebody before the others: they keep their numbers, by which their files are named.
    last = (await anna.patch(path, json={"hidden": [0]})).json()
    assert last["people"] == before["people"][1:] and last["people"][0]["number"] == 1
    assert (await anna.patch(path, json={"hidden": []})).json() == before
    assert (await anna.get(files[1][0])).status_code == 200
