"""The light is estimated from what body regions, and mirror points, have in common."""

import dataclasses

import numpy as np
import pytest
import torch

from common.arrays import FloatArray, Int32Array, IntArray
from common.body.anatomy import ATLAS_SIZE
from common.body.model import BodyModel, axis_angle_to_matrix
from common.frames import Camera
from common.synthetic.assets.appearance import Appearance
from common.synthetic.motion.poses import PoseSampler
from common.synthetic.renderer import Renderer
from common.texture.atlas import AtlasLayout
from sender.texture.atlas import AtlasCamera, AtlasMemory, AtlasView, LightEstimate, Observation, view_cosine
from tests.support.pictures.synthetic_observation import CAMERA, RenderedPerson, render_person

_COUNT = 4000
_MIRROR = np.arange(_COUNT, dtype=np.int32) ^ 1
_NO_MIRROR = np.full(_COUNT, -1, np.int32)


def sphere(seed: int = 0) -> FloatArray:
    """Unit normals (N, 3), of which each second one mirrors the one before it; all face the camera."""
    normals = np.random.default_rng(seed).normal(size=(_COUNT // 2, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    normals[:, 2] = -np.abs(normals[:, 2])
    return np.stack([normals, normals * [-1, 1, 1]], axis=1).reshape(-1, 3).astype(np.float32)


def shaded(
    albedo: FloatArray, normals: FloatArray, direction: tuple[float, float, float], strength: float
) -> FloatArray:
    """Colours (N, 3) under even light and a lamp."""
    towards = np.array(direction) / np.linalg.norm(direction)
    shading = (1 - strength) + strength * np.maximum(normals @ towards, 0)
    return np.asarray(albedo * shading[:, None], np.float32)


def observation(
    direction: tuple[float, float, float], strength: float
) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
    """Albedo, shaded colours and normals of a person with 8 regions of different colours, and the regions."""
    rng, normals = np.random.default_rng(0), sphere()
    region = rng.integers(0, 8, _COUNT)
    albedo = (rng.uniform(40, 200, (8, 3))[region] * rng.normal(1, 0.08, (_COUNT, 1))).astype(np.float32)
    return albedo, shaded(albedo, normals, direction, strength), normals, region


def observed(colours: FloatArray, normals: FloatArray, region: IntArray, mirror: Int32Array) -> LightEstimate:
    """The light after one observation of all texels."""
    light = LightEstimate(region, mirror)
    light.observe(np.arange(_COUNT), colours, normals, np.ones(_COUNT, np.float32))
    return light


def spread(colours: FloatArray, albedo: FloatArray) -> float:
    """Mean relative error of brightness, whatever the brightness of the light."""
    ratio = colours.mean(axis=1) / albedo.mean(axis=1)
    return float(np.abs(ratio / np.median(ratio) - 1).mean())


@pytest.mark.parametrize("direction", [(1.0, -0.5, -0.5), (-0.3, -1.0, -0.2), (0.0, 0.0, -1.0)])
def test_shading_is_divided_out(direction: tuple[float, float, float]) -> None:
    albedo, colours, normals, region = observation(direction, 0.6)
    light = observed(colours, normals, region, _NO_MIRROR)
    unlit = colours / light.shading(normals)[:, None]
    assert spread(unlit, albedo) < 0.35 * spread(colours, albedo)


def test_mirror_points_tell_light_from_colour() -> None:
    """Dark patches that are seen on one side only are no light: where both sides are seen, they are alike."""
    normals = sphere()
    dark = np.repeat(np.random.default_rng(1).random(_COUNT // 2) < 0.4, 2)
    colours = np.where(dark[:, None], 100, np.full((_COUNT, 3), 150, np.float32)).astype(np.float32)
    seen = np.flatnonzero(~dark | (normals[:, 0] < 0))
    uneven = []
    for mirror in (_NO_MIRROR, _MIRROR):
        light = LightEstimate(np.zeros(_COUNT, np.int64), mirror)
        light.observe(seen, colours[seen], normals[seen], np.ones(len(seen), np.float32))
        uneven.append(np.ptp(light.shading(np.array([[-1, 0, 0], [1, 0, 0]], np.float32))))
    assert uneven[1] < 0.4 * uneven[0]


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.6])
def test_people_are_a_little_brighter_than_their_pictures(strength: float) -> None:
    """Whatever the light: its brightness cannot be told from theirs."""
    _, colours, normals, region = observation((1.0, -0.5, -0.5), strength)
    unlit = colours / observed(colours, normals, region, _NO_MIRROR).shading(normals)[:, None]
    assert 1.03 < unlit.mean() / colours.mean() < 1.2


def test_shading_is_limited() -> None:
    albedo = np.full((_COUNT, 3), 200, np.float32)
    normals, region = sphere(), np.zeros(_COUNT, np.int64)
    shading = observed(shaded(albedo, normals, (1.0, 0.0, 0.0), 1.0), normals, region, _MIRROR).shading(normals)
    assert shading.max() / shading.min() <= 4.001


@pytest.fixture(scope="module")
def poses(renderer: Renderer, model: BodyModel, appearance: Appearance) -> list[RenderedPerson]:
    sampled = axis_angle_to_matrix(torch.from_numpy(PoseSampler("test", 20_000_001).sample(6).rotation_vectors))
    yaws = np.linspace(0, 2 * np.pi, len(sampled), endpoint=False)
    return [render_person(renderer, model, appearance, yaw, pose=pose) for yaw, pose in zip(yaws, sampled, strict=True)]


def test_agrees_with_exact_depth(poses: list[RenderedPerson]) -> None:
    predicted = np.stack([view_cosine(person.points, person.normals, CAMERA) > 0.35 for person in poses])
    true = np.stack([person.truly_visible() for person in poses])
    assert (predicted & true).sum() > 0.95 * predicted.sum()
    assert (predicted & true).sum() > 0.85 * true.sum()


def test_cosine_is_to_the_direction_of_the_camera() -> None:
    points = np.array([[1.0, 0, 1.0]], np.float32)
    normals = np.array([[0, 0, -1.0]], np.float32)
    assert view_cosine(points, normals, Camera(640, 480, 200.0))[0] == pytest.approx(np.sqrt(0.5))


def test_point_outside_image_is_not_visible() -> None:
    normal = np.array([[0, 0, -1.0]], np.float32)
    for position in ([0, 0, -2.0], [0, 0, 0.0], [3.0, 0, 2.0]):
        assert not view_cosine(np.array([position], np.float32), normal, CAMERA).any()


def test_hand_occludes_face() -> None:
    grid = np.stack(np.meshgrid(np.arange(-10, 11), np.arange(-10, 11)), -1).reshape(-1, 2) * 0.02
    face = np.column_stack([grid, np.full(len(grid), 2.0)])
    hand = np.column_stack([0.3 * grid, np.full(len(grid), 1.8)])
    points = np.concatenate([face, hand]).astype(np.float32)
    normals = np.tile(np.array([0, 0, -1.0], np.float32), (len(points), 1))
    visible = view_cosine(points, normals, CAMERA) > 0
    assert visible[len(face) :].all()
    covered = (np.abs(grid) < 0.05).all(axis=1)
    assert not visible[: len(face)][covered].any() and visible[: len(face)][(np.abs(grid) > 0.12).any(axis=1)].all()


def vertices_of(person: RenderedPerson, model: BodyModel) -> np.ndarray:
    return np.asarray(model(person.parameters).vertices[0].detach().numpy())


def view_of(
    person: RenderedPerson, model: BodyModel, atlas_camera: AtlasCamera, camera: Camera = CAMERA, blind: bool = False
) -> AtlasView:
    observed = person.observed()
    observation = Observation.from_output(observed.crop, observed.output)
    if blind:
        observation = dataclasses.replace(observation, mask_weight=np.zeros_like(observation.mask_weight))
    return atlas_camera.view(person.image, observed.crop, observation, vertices_of(person, model), camera)


def test_visible_texels_face_the_camera(front: RenderedPerson, model: BodyModel, atlas_camera: AtlasCamera) -> None:
    view = view_of(front, model, atlas_camera)
    assert len(view.texels) > 10_000 and (view.weights > 0).all() and view.weights.max() <= 1
    assert (view.normals[:, 2] < 0).mean() > 0.98
    layout = atlas_camera.layout
    positions = np.einsum(
        "tc,tcd->td", layout.barycentric[view.texels], vertices_of(front, model)[layout.corners[view.texels]]
    )
    pixels = CAMERA.project(positions.astype(np.float32)).astype(int)
    on_person = front.part[pixels[:, 1], pixels[:, 0]] > 0
    near = np.abs(front.depth[pixels[:, 1], pixels[:, 0]] - positions[:, 2]) < 0.04
    assert on_person.mean() > 0.99 and near[on_person].mean() > 0.98


def test_nothing_is_seen_outside_the_mask(front: RenderedPerson, model: BodyModel, atlas_camera: AtlasCamera) -> None:
    assert len(view_of(front, model, atlas_camera, blind=True).texels) == 0


def test_distant_person_weighs_less(front: RenderedPerson, model: BodyModel, atlas_camera: AtlasCamera) -> None:
    """Twice as large and twice as far away, a person looks the same, but each pixel covers twice as much of them."""
    observed = front.observed()
    observation = Observation.from_output(observed.crop, observed.output)
    vertices = vertices_of(front, model)
    near, far = (
        atlas_camera.view(front.image, observed.crop, observation, size, CAMERA)
        for size in (vertices, vertices + vertices)
    )
    ratio = np.median(far.weights) / np.median(near.weights)
    assert 0.15 < ratio < 0.5


def flat_view(layout: AtlasLayout, colour: float, weight: float = 0.5) -> AtlasView:
    """Every texel in one colour, as from the front."""
    count = len(layout.texel)
    normals = np.tile(np.array([0, 0, -1], np.float32), (count, 1))
    colours = np.full((count, 3), colour, np.float32)
    return AtlasView(np.arange(count), colours, np.full(count, weight, np.float32), normals)


def test_texels_have_the_colours_of_the_picture(
    front: RenderedPerson, model: BodyModel, atlas_camera: AtlasCamera
) -> None:
    memory = AtlasMemory(atlas_camera.layout, 0.01, remove_light=False)
    view = view_of(front, model, atlas_camera)
    memory.add(view)
    texture = memory.texture
    known = texture.known.ravel()[atlas_camera.layout.texel[view.texels]]
    found = texture.colours.reshape(-1, 3)[atlas_camera.layout.texel[view.texels]]
    assert known.mean() > 0.9
    assert np.abs(found[known] - view.colours[known]).mean() < 4


@pytest.mark.parametrize(
    ("views", "least", "most"),
    [
        ([(100, 0.5)] * 10 + [(250, 0.5)], 99, 106),
        ([(40, 0.5)] * 10 + [(220, 0.5)] * 120, 180, 220),
        ([(100, 0.9)] + [(130, 0.1)] * 10, 100, 104),
    ],
    ids=["a passing occluder changes little", "other clothes replace the first", "a worse view does not blur"],
)
def test_mean_of_views(layout: AtlasLayout, views: list[tuple[float, float]], least: float, most: float) -> None:
    memory = AtlasMemory(layout, remove_light=False)
    for colour, weight in views:
        memory.add(flat_view(layout, colour, weight))
    texture = memory.texture
    assert least <= texture.colours.reshape(-1, 3)[layout.texel].mean() <= most
    assert texture.known.all() and texture.known.shape == (ATLAS_SIZE, ATLAS_SIZE), "it extends beyond the skin"


@pytest.mark.parametrize(
    ("before", "unlike", "restarts"),
    [(6, 3, 1), (6, 2, 0), (60, 10, 0), (60, 12, 1)],
    ids=["dark at first", "a blink", "of somebody long known", "other light"],
)
def test_what_all_observations_contradict_is_given_up(
    layout: AtlasLayout, before: int, unlike: int, restarts: int
) -> None:
    memory = AtlasMemory(layout, remove_light=False)
    for colour in [60.0] * before + [200.0] * unlike:
        memory.add(flat_view(layout, colour, 0.5))
    assert memory.restarts == restarts and memory.known.all()
    assert (memory.means.mean() == pytest.approx(200, abs=1)) == bool(restarts)
