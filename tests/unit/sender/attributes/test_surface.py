"""Evidence of clothes where perception is perfect and the body is known exactly."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from common.body.anatomy import POINTS, TOKENS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.body.surface_space import SURFACE_SIZE
from common.frames import PersonLabels
from common.synthetic.assets.appearance import sample_appearance
from common.synthetic.assets.garments import Canvas
from common.synthetic.renderer import Renderer
from sender.attributes.surface import (
    FEATURES,
    PLACES_M,
    PROBES_M,
    SURFACE_PX,
    SurfaceMemory,
    SurfaceNet,
    SurfaceNetConfig,
    SurfaceReader,
    SurfaceViews,
    evidence,
)
from sender.perception.perception_network import FEATURE_SIZE, PerceptionOutput
from sender.perception.track import ObservedPerson
from tests.support.pictures.synthetic_observation import CAMERA, CROP, RenderedPerson, render_person
from tests.support.pictures.tracked_people import TrackedPeople

COSINE, NEARER, VALID, MASK = 0, 1, 2, slice(3, 3 + len(PROBES_M))
DEPTH_UNIT_M = 0.05


@pytest.fixture(scope="module")
def person() -> RenderedPerson:
    model = BodyModel.load()
    tight = sample_appearance(np.random.default_rng(0))
    finish = tight.finish.copy()
    finish[:, 2] = 0
    return render_person(Renderer(Canvas.from_model(model)), model, replace(tight, finish=finish))


def features(person: RenderedPerson, output: PerceptionOutput, grown_m: float = 0.0) -> FloatArray:
    """Of the true body, or one that is thinner than the picture by `grown_m`."""
    points = person.points - grown_m * person.normals
    picture = np.divide(CROP.cut(person.image, 128), 255, dtype=np.float32)
    root_m = float(person.parameters.translation[0, 2])
    return evidence(points, person.normals, root_m, picture, output, CROP, CAMERA)


def seen(table: FloatArray) -> FloatArray:
    """The rows of points that face the camera."""
    return table[(table[:, VALID] > 0) & (table[:, COSINE] > 0.7)]


def test_a_bare_body_shows_no_clothes(person: RenderedPerson) -> None:
    table = features(person, person.observed().output)
    assert table.shape == (2048, FEATURES) and np.isfinite(table).all()
    assert len(seen(table)) > 300
    assert abs(float(np.median(seen(table)[:, NEARER]))) * DEPTH_UNIT_M < 0.01


def test_a_surface_in_front_of_the_skin_is_nearer(person: RenderedPerson) -> None:
    rows = seen(features(person, person.observed().output, grown_m=0.04))
    # Points that face the camera are behind the surface by the distance over the cosine.
    assert float(np.median(rows[:, NEARER])) * DEPTH_UNIT_M == pytest.approx(0.04, abs=0.015)


def test_the_mask_reaches_as_far_as_the_surface(person: RenderedPerson) -> None:
    output = person.observed().output
    bare, grown = features(person, output), features(person, output, grown_m=0.06)
    outline = np.abs(bare[:, COSINE]) == 0
    probe = MASK.start + PROBES_M.index(0.06)
    assert float(grown[outline, probe].mean()) > float(bare[outline, probe].mean()) + 0.02


E = 24
TRUTH = np.linspace(-2, 2, E).astype(np.float32)


def view_of(truth: FloatArray, error: float, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Posterior mean and variance of a view whose measurement has a standard deviation of `error`."""
    variance = 1 / (1 + error**-2)
    mean = variance * (truth + error * rng.normal(size=E)) / error**2
    return mean.astype(np.float32), np.full(E, variance, np.float32)


def test_views_from_all_directions_beat_one_view() -> None:
    rng, errors = np.random.default_rng(1), []
    for count in (1, 8):
        squared = []
        for _ in range(50):
            memory, truth = SurfaceMemory(), rng.normal(size=E).astype(np.float32)
            for turn in range(count):
                memory.add(*view_of(truth, 1.0, rng), turn * math.pi / 4)
            squared.append(float(np.square(memory.estimate[0] - truth).mean()))
        errors.append(np.mean(squared))
    # Mean squares 0.5 and 0.15.
    assert errors[1] < 0.4 * errors[0]


@pytest.mark.parametrize("strangers", [1, 3])
def test_other_clothes_replace_the_memory_if_several_views_show_them(strangers: int) -> None:
    rng, memory = np.random.default_rng(2), SurfaceMemory()
    for turn in range(8):
        memory.add(*view_of(TRUTH, 0.3, rng), turn * math.pi / 4)
    for _ in range(strangers):
        memory.add(*view_of(-TRUTH, 0.3, rng), 0.0)
    nearer = np.abs(memory.estimate[0] + TRUTH).mean() < np.abs(memory.estimate[0] - TRUTH).mean()
    assert nearer == (strangers == 3)


TINY = SurfaceNetConfig(width=32, heads=2, depth=1)
HALF = SURFACE_PX // 2


def views(count: int = 2, scale: float = 1.0) -> SurfaceViews:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return scale * torch.randn(count, *shape, generator=generator)

    return SurfaceViews(
        random(POINTS, FEATURES),
        torch.rand(count, TOKENS, len(PLACES_M), 2, generator=generator),
        random(3, SURFACE_PX, SURFACE_PX),
        random(2, HALF, HALF),
        random(FEATURE_SIZE),
    )


def network() -> SurfaceNet:
    torch.manual_seed(0)
    return SurfaceNet(TINY).eval()


@pytest.mark.parametrize("name", ["evidence", "places", "picture", "maps", "features"])
def test_every_input_affects_mean_and_variance(name: str) -> None:
    given = getattr(views(), name).requires_grad_()
    estimate = network()(replace(views(), **{name: given}))
    for output in (estimate.mean, estimate.log_variance):
        assert output.shape == (2, SURFACE_SIZE)
        (gradient,) = torch.autograd.grad(output.sum(), [given], retain_graph=True)
        assert gradient.abs().sum() > 0


def test_places_outside_the_crop_show_nothing_of_the_picture() -> None:
    net = network()
    # Features of the whole picture do not depend on the places.
    net.person[0].get_parameter("weight").data[:, FEATURE_SIZE:] = 0
    inside = views()
    outside = replace(inside, places=torch.full((2, TOKENS, len(PLACES_M), 2), 2.0))
    for shown, changes in ((inside, True), (outside, False)):
        with torch.no_grad():
            one, other = net(shown), net(replace(shown, picture=1 - shown.picture))
        assert torch.equal(one.mean, other.mean) != changes
        assert torch.equal(one.log_variance, other.log_variance) != changes


def test_views_are_concatenated_in_order() -> None:
    one, two = views(1), views(1, scale=2.0)
    both = SurfaceViews.concatenate([one, two])
    assert len(both) == 2
    assert torch.equal(both.evidence[:1], one.evidence) and torch.equal(both.features[1:], two.features)


class ScriptedStage(SurfaceReader):
    """Reads constants and records who was read."""

    def __init__(self, space: LabelSpace, body: BodyModel) -> None:
        super().__init__(SurfaceNet(SurfaceNetConfig(width=32, heads=2, depth=1)), space, body)
        self.read_people: list[int] = []

    def _read(self, view, person, wearer) -> None:  # type: ignore[no-untyped-def]
        self.read_people.append(person.seen.identity)
        super()._read(view, person, wearer)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def rendered(body: BodyModel) -> RenderedPerson:
    return render_person(Renderer(Canvas.from_model(body)), body, sample_appearance(np.random.default_rng(0)))


@pytest.fixture
def stage(body: BodyModel, monkeypatch: pytest.MonkeyPatch) -> ScriptedStage:
    monkeypatch.setattr(PerceptionOutput, "features", lambda self: torch.zeros(1, FEATURE_SIZE))
    return ScriptedStage(LabelSpace.load(), body)


def observed(rendered: RenderedPerson, *identities: int) -> tuple[list[ObservedPerson], list[PersonLabels]]:
    space = LabelSpace.load()
    return [rendered.observed(one) for one in identities], [rendered.labels(space, one) for one in identities]


class Clip(TrackedPeople):
    """What the stage says of people from frame to frame."""

    def __init__(self, stage: ScriptedStage) -> None:
        super().__init__()
        self.stage = stage

    def label(self, rendered: RenderedPerson, *identities: int) -> list[PersonLabels]:
        return self.read(self.stage, rendered.image, CAMERA, *observed(rendered, *identities))


@pytest.fixture
def clip(stage: ScriptedStage) -> Clip:
    return Clip(stage)


def test_people_who_appear_are_read_at_once(clip: Clip, rendered: RenderedPerson) -> None:
    people = clip.label(rendered, 3, 5)
    assert clip.stage.read_people == [3, 5]
    for person in people:
        assert person.labels["surface"].shape == person.sigma["surface"].shape == (SURFACE_SIZE,)
        assert np.isfinite(person.labels["surface"]).all() and 0 <= person.confidence["surface"] <= 1


def test_later_one_person_a_frame_is_read_and_each_in_every_fifth(clip: Clip, rendered: RenderedPerson) -> None:
    for _ in range(11):
        clip.label(rendered, 3, 5)
    assert clip.stage.read_people == [3, 5, 3, 5, 3]


def test_side_that_is_known_is_read_more_rarely(clip: Clip, rendered: RenderedPerson) -> None:
    read = []
    for _ in range(60):
        clip.label(rendered, 3)
        read.append(len(clip.stage.read_people))
    assert [frame for frame in range(60) if frame == 0 or read[frame] > read[frame - 1]] == [0, 5, 10, 15, 30, 45]


def test_heading_is_the_angle_from_the_camera_to_the_front(stage: ScriptedStage, body: BodyModel) -> None:
    renderer, painted = Renderer(Canvas.from_model(body)), sample_appearance(np.random.default_rng(1))
    headings = []
    for yaw in (0.0, 0.5 * np.pi):
        turned = render_person(renderer, body, painted, yaw)
        people, labels = observed(turned, 0)
        headings.append(stage.view(turned.image, CAMERA, people[0], labels[0].labels)[1])
    assert headings[0] == pytest.approx(0, abs=0.01)
    assert abs(headings[1]) == pytest.approx(np.pi / 2, abs=0.02)


def test_propagated_masks_are_not_read(clip: Clip, rendered: RenderedPerson) -> None:
    people, labels = observed(rendered, 3)
    for frame in range(30):
        propagated = [replace(people[0], is_propagated=frame > 0)]
        clip.read(clip.stage, rendered.image, CAMERA, propagated, labels, frame / 30)
    assert len(clip.stage.read_people) == 1


@pytest.mark.parametrize("fps", [5, 240])
def test_readings_are_as_frequent_at_any_frame_rate(clip: Clip, rendered: RenderedPerson, fps: int) -> None:
    people, labels = observed(rendered, 3)
    for frame in range(2 * fps):
        clip.read(clip.stage, rendered.image, CAMERA, people, labels, frame / fps)
    assert len(clip.stage.read_people) == pytest.approx(7, abs=1)
