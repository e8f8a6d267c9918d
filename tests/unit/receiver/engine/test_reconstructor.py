"""The reconstructor with the networks that ship: textures reach both meshes."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from common.body.anatomy import ATLAS_SIZE, COCO_KEYPOINTS, KEYPOINT_GROUPS, REGIONS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters
from common.body.template import BodyTemplate
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import OPTIONAL_GROUPS, split
from common.texture.atlas import LEVEL_SIZES, TILES, AtlasLayout, encode
from receiver.engine.engine import PersonAppearance, ReconstructedPerson, ReconstructionRequest
from receiver.engine.reconstructor import LocalEngine, Reconstructor
from receiver.mesh.triangle_mesh import SurfaceMesh, is_watertight
from receiver.outfits.mixture import PLAIN
from receiver.texture.face_features import FaceGeometry
from receiver.texture.received_texture import ReceivedTexture
from tests.support.training.pretended_gpu import pretended_gpu


@pytest.fixture(scope="module")
def reconstructor() -> Reconstructor:
    return Reconstructor.load()


def labels_at_rest() -> dict[str, FloatArray]:
    """Of the mean person, in plain green."""
    green = torch.tensor([0.2, 0.6, 0.2]).expand(1, len(REGIONS), 3)
    return dict(split(LabelSpace.load().encode(BodyParameters.rest(), green)[0].numpy()))


def frame(*identities: int) -> LabelFrame:
    """People at rest in plain green; those with an odd identity have no `appearance`."""
    labels = labels_at_rest()
    plain = {name: entries for name, entries in labels.items() if name != "appearance"}
    shown = tuple(PersonLabels(identity, 1.0, plain if identity % 2 else labels) for identity in identities)
    return LabelFrame(0, "test", 0.0, Camera(640, 480, 600.0), shown)


def people(
    reconstructor: Reconstructor, labels: LabelFrame, textures: Mapping[int, ReceivedTexture] | None = None
) -> tuple[ReconstructedPerson, ...]:
    appearance = {identity: PersonAppearance(texture) for identity, texture in (textures or {}).items()}
    return reconstructor.reconstruct(ReconstructionRequest("account", "test", labels, appearance)).people


def flat(colour: tuple[int, int, int]) -> ReceivedTexture:
    """A body in one colour, known all over."""
    colours = np.broadcast_to(np.array(colour, np.uint8), (ATLAS_SIZE, ATLAS_SIZE, 3))
    return ReceivedTexture().with_tile(TILES[0], encode(TILES[0], colours, np.ones((ATLAS_SIZE,) * 2, np.bool_)))


def small_face(colour: tuple[int, int, int]) -> ReceivedTexture:
    """A body in one colour, known all over but the eyeballs, as of a face that is small in its picture."""
    body, texture = BodyModel.load(), ReceivedTexture()
    layout, template = AtlasLayout.from_body(body), BodyTemplate.from_model(body)
    eyes = FaceGeometry(body, template).eye_vertices[template.place[layout.corners]].any(axis=1)
    colours, known = np.full((ATLAS_SIZE, ATLAS_SIZE, 3), colour, np.uint8), np.ones((ATLAS_SIZE,) * 2, np.bool_)
    known.reshape(-1)[layout.texel[eyes]] = False
    for tile in TILES:
        if LEVEL_SIZES[tile.level] == ATLAS_SIZE:
            texture = texture.with_tile(tile, encode(tile, colours, known))
    return texture


def off_by(person: ReconstructedPerson, plain: ReconstructedPerson) -> tuple[float, float]:
    """Mean difference of the colours of surface and body, 0…255."""
    return _difference(person.surface, plain.surface), _difference(person.body.mesh, plain.body.mesh)


def _difference(one: SurfaceMesh, other: SurfaceMesh) -> float:
    assert one.colours is not None and other.colours is not None
    return float(np.abs(one.colours.astype(float) - other.colours).mean())


def test_surface_and_body_have_eyes_and_lips(reconstructor: Reconstructor) -> None:
    """A person in one colour: whatever differs from it is drawn."""
    person = people(reconstructor, frame(0), {0: small_face((210, 170, 145))})[0]
    nose = person.joints_3d[COCO_KEYPOINTS.index("nose")]
    for mesh in (person.surface, person.body.mesh):
        assert mesh.colours is not None
        around = mesh.colours[np.linalg.norm(mesh.vertices - nose, axis=1) < 0.08].astype(float)
        assert around.min() < 70, "pupils, lashes or brows"
        assert (around[:, 0] / around[:, 1]).max() > 1.4, "lips"
        assert len(around) > 300


def test_face_moves_its_person_and_nobody_else(reconstructor: Reconstructor) -> None:
    shown = frame(0)
    (neutral,) = shown.people
    absent = replace(
        neutral, labels={name: each for name, each in neutral.labels.items() if name not in OPTIONAL_GROUPS}
    )
    wide = {"face": np.full(12, 1.5, np.float32), "eyes": np.array([0.0, 2.0, 0.0, 0.0], np.float32)}
    expressive = replace(neutral, labels={**neutral.labels, **wide})
    alone, unmoved, moved = (
        people(reconstructor, replace(shown, people=(each,)))[0] for each in (absent, neutral, expressive)
    )
    one, _ = people(reconstructor, replace(shown, people=(absent, replace(expressive, identity=1))))
    assert np.array_equal(unmoved.body.mesh.vertices, alone.body.mesh.vertices)
    assert np.array_equal(unmoved.surface.vertices, alone.surface.vertices)
    np.testing.assert_allclose(one.body.mesh.vertices, alone.body.mesh.vertices, atol=1e-5)
    assert one.body.activations is None and moved.body.activations is not None
    for mesh, still in ((moved.body.mesh, alone.body.mesh), (moved.surface, alone.surface)):
        distance_m = np.linalg.norm(mesh.vertices - still.vertices, axis=1)
        assert 0.003 < distance_m.max() < 0.05 and np.median(distance_m) < 1e-5
    assert is_watertight(moved.surface.faces, len(moved.surface.vertices))


def test_textures_belong_to_one_identity_and_leave_the_geometry_unchanged(reconstructor: Reconstructor) -> None:
    plain = people(reconstructor, frame(0, 2))
    coloured = people(reconstructor, frame(0, 2), {2: flat((255, 0, 200))})
    assert off_by(coloured[0], plain[0]) == (0, 0) and min(off_by(coloured[1], plain[1])) > 60
    for one, other in zip(coloured, plain, strict=True):
        np.testing.assert_array_equal(one.surface.vertices, other.surface.vertices)
        np.testing.assert_array_equal(one.body.mesh.vertices, other.body.mesh.vertices)


def test_keypoints_outside_of_the_picture_or_behind_the_camera_are_not_seen(reconstructor: Reconstructor) -> None:
    """The picture is cut off at the hips: legs whose confidence is 0.6 have places, but nobody has seen them."""
    whole = frame(0)
    sure = replace(whole.people[0], confidence=dict.fromkeys(set(KEYPOINT_GROUPS), 0.6))
    (person,) = people(reconstructor, replace(whole, people=(sure,)))
    assert (person.keypoints_2d[:, 2] == np.float32(0.6)).all()
    hips = float(person.keypoints_2d[COCO_KEYPOINTS.index("left_hip"), 1])
    # The picture's centre stays where it is: a lower picture is cut off above and below.
    low = int(2 * (hips - 240)) + 8
    (cut,) = people(reconstructor, replace(whole, people=(sure,), camera=Camera(640, low, 600.0)))
    seen = {name for name, (_, y, score) in zip(COCO_KEYPOINTS, cut.keypoints_2d, strict=True) if score > 0}
    assert "left_hip" in seen and not seen & {"left_knee", "right_knee", "left_ankle", "right_ankle"}
    np.testing.assert_allclose(cut.keypoints_2d[:, 1] - low / 2, person.keypoints_2d[:, 1] - 240, atol=1e-3)


async def test_frame_that_is_split_is_what_it_is_in_one_batch(reconstructor: Reconstructor) -> None:
    request = ReconstructionRequest("account", "a", frame(*range(5)), still=True)
    alone = reconstructor.reconstruct(request)
    for batch_people in (1, 2, 8):
        engine = LocalEngine(reconstructor, batch_people=batch_people)
        other = asyncio.ensure_future(engine.reconstruct(ReconstructionRequest("other", "b", frame(5, 6))))
        result = await engine.reconstruct(request)
        await other
        await engine.close()
        assert [one.labels.identity for one in result.people] == [0, 1, 2, 3, 4]
        for one, same in zip(result.people, alone.people, strict=True):
            # Matrix products round differently in batches of another size; 0.1 mm, as between sessions.
            np.testing.assert_allclose(one.body.mesh.vertices, same.body.mesh.vertices, atol=1e-5)
            np.testing.assert_allclose(one.joints_3d, same.joints_3d, atol=1e-5)
            # The surface's resolution depends on the number of people in the whole frame.
            assert len(one.surface.vertices) == pytest.approx(len(same.surface.vertices), rel=0.02)


def test_result_does_not_depend_on_earlier_frames(reconstructor: Reconstructor) -> None:
    labels = labels_at_rest()
    for sequence in range(3):
        pose = {**labels, "left_arm": np.full(len(labels["left_arm"]), 0.2 * sequence, np.float32)}
        pose["surface"] = np.full(24, 0.1 * sequence, np.float32)
        shown = replace(frame(), sequence=sequence, people=(PersonLabels(0, 1.0, pose),))
        streamed = reconstructor.reconstruct(ReconstructionRequest("account", "stream", shown)).people[0]
    alone = Reconstructor.load().reconstruct(ReconstructionRequest("account", "alone", shown)).people[0]
    np.testing.assert_array_equal(streamed.body.mesh.vertices, alone.body.mesh.vertices)
    np.testing.assert_array_equal(streamed.surface.vertices, alone.surface.vertices)


def test_surface_of_a_still_is_solved_in_its_pose(reconstructor: Reconstructor) -> None:
    request = ReconstructionRequest("account", "a", frame(0, 2))
    first, second = (person.surface for person in reconstructor.reconstruct(request).people)
    assert first.faces is second.faces
    (still, _) = (person.surface for person in reconstructor.reconstruct(replace(request, still=True)).people)
    assert len(still.faces) != len(first.faces)


def test_clothes_belong_to_one_identity(reconstructor: Reconstructor) -> None:
    labels = labels_at_rest()
    dressed = {**labels, "surface": np.full(24, 2.0, np.float32)}
    both = (PersonLabels(0, 1.0, labels), PersonLabels(2, 1.0, dressed))
    plain, clothed = people(reconstructor, replace(frame(), people=both))
    alone = people(reconstructor, frame(0))[0]
    np.testing.assert_allclose(plain.body.mesh.vertices, alone.body.mesh.vertices, atol=1e-5)
    assert np.abs(clothed.body.mesh.vertices - plain.body.mesh.vertices).max() > 1e-3
    np.testing.assert_allclose(clothed.joints_3d, plain.joints_3d, atol=1e-5)


def test_people_are_posed_on_the_gpu(reconstructor: Reconstructor, monkeypatch: pytest.MonkeyPatch) -> None:
    skirt = PLAIN.as_known({"bottom": "skirt_long", "layer": "top"})
    request = ReconstructionRequest("account", "test", frame(0, 2), {0: PersonAppearance(worn=skirt)})
    with pretended_gpu(monkeypatch) as gpu:
        there = Reconstructor.load(device=gpu).reconstruct(request).people
    here = reconstructor.reconstruct(request).people
    assert [person.body.reweighted is None for person in here] == [False, True], "only the first wears a skirt"
    for one, other in zip(there, here, strict=True):
        np.testing.assert_allclose(one.body.mesh.vertices, other.body.mesh.vertices, atol=1e-4)
        np.testing.assert_allclose(one.surface.vertices, other.surface.vertices, atol=1e-4)


def red_left_blue_right() -> ReceivedTexture:
    """The halves of a body, known all over."""
    body = BodyModel.load()
    layout = AtlasLayout.from_body(body)
    side = np.einsum("tc,tc->t", layout.barycentric, body.rest_vertices[0, :, 0].numpy()[layout.corners])
    atlas = np.zeros((ATLAS_SIZE**2, 3), np.uint8)
    atlas[layout.texel] = np.where(side[:, None] < 0, [255, 0, 0], [0, 0, 255])
    whole = layout.extended(atlas.reshape(ATLAS_SIZE, ATLAS_SIZE, 3))
    received, everywhere = ReceivedTexture(), np.ones((ATLAS_SIZE, ATLAS_SIZE), np.bool_)
    for tile in TILES[-16:]:
        received = received.with_tile(tile, encode(tile, whole, everywhere))
    return received


@pytest.mark.parametrize("identity", [0, 1], ids=["with appearance", "before any appearance"])
def test_texture_reaches_surface_and_body(reconstructor: Reconstructor, identity: int) -> None:
    person = people(reconstructor, frame(identity), {identity: red_left_blue_right()})[0]
    assert person.body.texture is not None
    for mesh in (person.surface, person.body.mesh):
        assert mesh.colours is not None
        low, high = np.percentile(mesh.vertices[:, 0], [20, 80])
        for half, colour in (
            (mesh.vertices[:, 0] < low, [255, 0, 0]),
            (mesh.vertices[:, 0] > high, [0, 0, 255]),
        ):
            np.testing.assert_allclose(np.median(mesh.colours[half], axis=0), colour, atol=8)
