"""All of a batch's people in one pass: the same as part by part, in few operations."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor

from common.arrays import FloatArray
from common.body.anatomy import ATLAS_SIZE, COCO_KEYPOINTS, KEYPOINT_GROUPS, REGIONS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters, KeypointKinematics, skin
from common.body.template import BodyTemplate
from common.clock import SYSTEM_CLOCK, Clock
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import LABEL_SIZE, OPTIONAL_GROUPS, group_slices, split
from common.texture.atlas import LEVEL_SIZES, TILES, AtlasLayout, encode
from receiver.body.skinning import BodySkin
from receiver.engine.engine import PersonAppearance, ReconstructedPerson, ReconstructionRequest, RequestWithdrawn
from receiver.engine.reconstructor import BonesNetwork, LocalEngine, PeopleNetwork, Reconstructor
from receiver.mesh.triangle_mesh import SurfaceMesh, is_watertight
from receiver.outfits.mixture import PLAIN
from receiver.surface.binding import SurfaceCarrying
from receiver.texture.face_features import FaceGeometry
from receiver.texture.received_texture import ReceivedTexture
from tests.support.link.counting_codec import until
from tests.support.receiver.fake_reconstructor import FakeReconstructor, label_frame
from tests.support.training.pretended_gpu import pretended_gpu

PEOPLE = 3


@pytest.fixture(scope="module")
def body() -> BodySkin:
    return BodySkin.from_model(BodyModel.load())


@pytest.fixture(scope="module")
def network(body: BodySkin) -> PeopleNetwork:
    bones = BonesNetwork(LabelSpace.load(), KeypointKinematics(body.model))
    draw = partial(sparse.random, 50, density=0.01, format="csr", random_state=0)
    return PeopleNetwork(bones, body.skinning, SurfaceCarrying(draw(len(body.template)), draw(3 * 52))).eval()


def inputs(body: BodySkin, people: int = PEOPLE) -> tuple[Tensor, ...]:
    """People in random poses, shapes and clothes, without faces; the last one's spans the legs."""
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(0))
    shares = torch.zeros(people, len(body.span.vertices))
    shares[-1] = 0.4
    labels = 0.5 * draw(people, LABEL_SIZE)
    labels[:, group_slices()["face"].start :] = 0
    return labels, 0.02 * draw(people, len(body.template), 3), shares, torch.zeros(people, 0)


def test_people_are_posed_as_the_body_model_poses_them(body: BodySkin, network: PeopleNetwork) -> None:
    labels, displacement, shares, activations = inputs(body)
    space, kinematics = LabelSpace.load(), KeypointKinematics(body.model)
    with torch.inference_mode():
        vertices, positions, rotations, keypoints, colours, _ = network(labels, displacement, shares, activations)
        parameters = space.decode(labels)
        posed = body.template.posed(body.model, parameters, displacement)
        legs = body.span.vertices
        rest, joints = body.model.rest(parameters.shape)
        moved = rest[:, body.template.kept][:, legs] + displacement[:, legs]
        change = skin(moved, joints, posed.joint_positions, posed.joint_rotations, body.span.change)
        posed.vertices[:, legs] += shares[..., None] * change
        expected = posed.vertices, posed.joint_positions, posed.joint_rotations, kinematics(parameters)[0]
        for one, other in zip((vertices, positions, rotations, keypoints), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
        torch.testing.assert_close(colours, space.decode_colours(labels))


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
    plain, clothed = people(reconstructor, frame(0, 2))
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


@asynccontextmanager
async def running(
    reconstructor: FakeReconstructor, batch_people: int = 8, clock: Clock = SYSTEM_CLOCK
) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(reconstructor, batch_people, clock)  # type: ignore[arg-type]
    try:
        yield engine
    finally:
        reconstructor.gate.set()
        reconstructor.surface_gate.set()
        await engine.close()


def request(
    session: str, sequence: int = 0, people: int = 1, source: str = "clip.mp4", account: str | None = None
) -> ReconstructionRequest:
    """A request whose session has an account of its own unless one is given."""
    frame = label_frame(sequence, *range(people), source=source)
    return ReconstructionRequest(session if account is None else account, session, frame)


def sessions(reconstructor: FakeReconstructor) -> list[list[str]]:
    return [[str(each.session) for each in batch] for batch in reconstructor.batches]


async def submit(engine: LocalEngine, *requests: ReconstructionRequest) -> list[asyncio.Task[object]]:
    """Tasks whose requests are in the engine's queue, in this order."""
    tasks: list[asyncio.Task[object]] = []
    for each in requests:
        tasks.append(asyncio.ensure_future(engine.reconstruct(each)))
        await asyncio.sleep(0)
    return tasks


async def test_reconstruct_returns_people_in_order_and_times_of_all_stages() -> None:
    async with running(FakeReconstructor()) as engine:
        result = await engine.reconstruct(request("a", people=3))
    assert [person.labels.identity for person in result.people] == [0, 1, 2]
    assert result.stages_ms.keys() == {"queue", "decode", "surface"}
    assert result.stages_ms["queue"] >= 0


async def test_requests_wait_until_the_reconstructor_is_prepared() -> None:
    async with running(reconstructor := FakeReconstructor()) as engine:
        reconstructor.gate.clear()
        preparing = asyncio.ensure_future(engine.prepare())
        (task,) = await submit(engine, request("a"))
        await asyncio.sleep(0)
        assert not preparing.done() and not reconstructor.batches
        reconstructor.gate.set()
        await task
        assert preparing.done()


async def test_frame_without_people_needs_no_pass() -> None:
    reconstructor = FakeReconstructor()
    async with running(reconstructor) as engine:
        assert (await engine.reconstruct(request("a", people=0))).people == ()
    assert reconstructor.batches == []


@asynccontextmanager
async def busy(reconstructor: FakeReconstructor, engine: LocalEngine) -> AsyncIterator[None]:
    """Holds the networks back until the end of the block, with one person of session z in them."""
    reconstructor.gate.clear()
    first = await submit(engine, request("z"))
    await until(lambda: not engine._queue)
    yield
    reconstructor.gate.set()
    await asyncio.gather(*first)


async def test_requests_that_wait_are_batched_across_sessions() -> None:
    reconstructor = FakeReconstructor()
    async with running(reconstructor, batch_people=4) as engine:
        async with busy(reconstructor, engine):
            rest = await submit(engine, *(request(name) for name in "abcde"))
        await asyncio.gather(*rest)
    assert sessions(reconstructor) == [["z"], ["a", "b", "c", "d"], ["e"]]


async def test_people_of_one_frame_fill_the_batches_of_a_single_session() -> None:
    reconstructor = FakeReconstructor()
    async with running(reconstructor, batch_people=4) as engine:
        await engine.reconstruct(request("a", people=10))
    assert sessions(reconstructor) == [["a"] * 4, ["a"] * 4, ["a"] * 2]


async def test_large_frame_does_not_delay_another_account() -> None:
    reconstructor = FakeReconstructor()
    async with running(reconstructor) as engine:
        reconstructor.gate.clear()
        crowds = await submit(engine, *(request(f"crowd {n}", people=32, account="hostile") for n in range(8)))
        await until(lambda: len(engine._queue) < 8 * 32)
        live = await submit(engine, request("live"))
        reconstructor.gate.set()
        await asyncio.gather(*live)
        assert not any(task.done() for task in crowds)
        await asyncio.gather(*crowds)
    order = [name for batch in sessions(reconstructor) for name in batch]
    # One pass was on its way; in the next one, both accounts have one person.
    assert order.index("live") <= 8 + 1


@pytest.mark.parametrize("account", [None, "studio"])
async def test_active_session_leaves_room_in_the_pass_for_others(account: str | None) -> None:
    reconstructor = FakeReconstructor()
    async with running(reconstructor) as engine:
        await engine.reconstruct(request("live", account=account))
        await engine.reconstruct(request("crowd", people=3, account=account))
    assert sessions(reconstructor)[:2] == [["live"], ["crowd"]]


async def test_others_do_not_fill_the_pass_behind_one_that_took_long() -> None:
    reconstructor = FakeReconstructor()
    a_second_each = replace(SYSTEM_CLOCK, monotonic=lambda: float(len(reconstructor.batches)))
    async with running(reconstructor, clock=a_second_each) as engine:
        async with busy(reconstructor, engine):
            rest = await submit(engine, request("live"), request("crowd", people=12))
        await asyncio.gather(*rest)
    assert sessions(reconstructor)[1:3] == [["live", "crowd"], ["crowd"]]


async def test_account_does_not_fill_the_engine_while_another_is_active() -> None:
    reconstructor = FakeReconstructor()
    async with running(reconstructor) as engine:
        await engine.reconstruct(request("live"))
        reconstructor.surface_gate.clear()
        crowds = await submit(engine, *(request(f"crowd {n}", people=3, account="hostile") for n in range(3)))
        await until(lambda: len(reconstructor.batches) == 2 and not engine._changed.is_set())
        assert len(engine._begun) == 1
        live = await submit(engine, request("live", 1))
        await until(lambda: len(reconstructor.batches) == 3)
        assert sessions(reconstructor)[2] == ["live"]
        reconstructor.surface_gate.set()
        await asyncio.gather(*live, *crowds)
        assert not engine._begun


async def test_bad_person_fails_the_frame_and_frees_its_place() -> None:
    reconstructor = FakeReconstructor(bad_source="bad.mp4")
    async with running(reconstructor, batch_people=2) as engine:
        bad, good = await submit(engine, request("b", people=32, source="bad.mp4"), request("a", people=2))
        with pytest.raises(ValueError, match="too long"):
            await bad
        await good
        assert not engine._queue and not engine._frames
    assert sum(batch.count("b") for batch in sessions(reconstructor)) < 8


async def test_withdrawn_and_cancelled_requests_are_not_reconstructed() -> None:
    reconstructor = FakeReconstructor()
    async with running(reconstructor) as engine:
        async with busy(reconstructor, engine):
            withdrawn = request("b", people=4)
            waiting, kept, cancelled = await submit(engine, withdrawn, request("c"), request("d", people=32))
            engine.withdraw(request("c"))
            engine.withdraw(withdrawn)
            with pytest.raises(RequestWithdrawn):
                await waiting
            cancelled.cancel()
            await asyncio.gather(cancelled, return_exceptions=True)
            assert len(engine._queue) == 1
        await kept
    assert sessions(reconstructor) == [["z"], ["c"]]


async def test_request_whose_reconstruction_has_begun_is_finished() -> None:
    reconstructor = FakeReconstructor()
    async with running(reconstructor, batch_people=2) as engine:
        reconstructor.gate.clear()
        begun = request("a", people=6)
        (task,) = await submit(engine, begun)
        await until(lambda: len(engine._queue) == 4)
        engine.withdraw(begun)
        reconstructor.gate.set()
        result = await engine.reconstruct(request("b"))
        assert len(result.people) == 1
        await task
    assert sum(batch.count("a") for batch in sessions(reconstructor)) == 6


async def test_close_finishes_accepted_requests_and_refuses_new_ones() -> None:
    reconstructor = FakeReconstructor()
    engine = LocalEngine(reconstructor)  # type: ignore[arg-type]
    tasks = await submit(engine, *(request("a", number) for number in range(5)))
    await engine.close()
    assert all(task.done() and task.exception() is None for task in tasks)
    with pytest.raises(RuntimeError, match="closed"):
        await engine.reconstruct(request("a"))


async def test_close_without_any_request() -> None:
    await LocalEngine(FakeReconstructor()).close()  # type: ignore[arg-type]
