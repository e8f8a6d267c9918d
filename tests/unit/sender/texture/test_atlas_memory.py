"""The atlas of a person, from rendered pictures."""

import numpy as np
import pytest

from common.body.anatomy import ATLAS_SIZE
from common.body.model import BodyModel
from common.synthetic.assets.appearance import Appearance
from common.synthetic.renderer.renderer import Renderer
from common.texture.atlas import AtlasLayout
from sender.texture.atlas_memory import AtlasMemory
from sender.texture.atlas_view import AtlasCamera, AtlasView
from sender.texture.observation import Observation
from tests.support.synthetic_observation import BACKGROUND, CAMERA, RenderedPerson, render_person


@pytest.fixture(scope="module")
def layout(model: BodyModel) -> AtlasLayout:
    return AtlasLayout.of(model)


@pytest.fixture(scope="module")
def atlas_camera(layout: AtlasLayout, model: BodyModel) -> AtlasCamera:
    return AtlasCamera(layout, model.faces.numpy(), model.vertex_region.numpy())


@pytest.fixture(scope="module")
def front(renderer: Renderer, model: BodyModel, appearance: Appearance) -> RenderedPerson:
    return render_person(renderer, model, appearance)


@pytest.fixture(scope="module")
def back(renderer: Renderer, model: BodyModel, appearance: Appearance) -> RenderedPerson:
    return render_person(renderer, model, appearance, np.pi)


def view_of(person: RenderedPerson, model: BodyModel, atlas_camera: AtlasCamera) -> AtlasView:
    observed = person.observed()
    vertices = model(person.parameters).vertices[0].detach().numpy()
    observation = Observation.from_output(person.image, observed.crop, observed.output)
    return atlas_camera.view(person.image, observed.crop, observation, vertices, CAMERA)


def flat_view(layout: AtlasLayout, colour: float, weight: float = 0.5) -> AtlasView:
    """Every texel in one colour, as from the front."""
    count = len(layout.texel)
    normals = np.tile(np.array([0, 0, -1], np.float32), (count, 1))
    colours = np.full((count, 3), colour, np.float32)
    return AtlasView(np.arange(count), colours, np.full(count, weight, np.float32), normals)


def test_front_and_back_complete_each_other(
    front: RenderedPerson, back: RenderedPerson, model: BodyModel, atlas_camera: AtlasCamera
) -> None:
    views = [view_of(person, model, atlas_camera) for person in (front, back)]
    shares = [len(view.texels) / len(atlas_camera.layout.texel) for view in views]
    assert min(shares) > 0.15 and len(np.intersect1d(views[0].texels, views[1].texels)) < 1000
    background = np.abs(np.concatenate([view.colours for view in views]) - BACKGROUND).max(axis=1) < 20
    assert background.mean() < 0.01


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


def test_passing_occluder_changes_little(layout: AtlasLayout) -> None:
    memory = AtlasMemory(layout, remove_light=False)
    for _ in range(10):
        memory.add(flat_view(layout, 100))
    memory.add(flat_view(layout, 250))
    assert np.abs(memory.texture.colours.reshape(-1, 3)[layout.texel] - 100.0).max() < 6


def test_other_clothes_replace_the_first(layout: AtlasLayout) -> None:
    memory = AtlasMemory(layout, remove_light=False)
    for colour, count in ((40, 10), (220, 120)):
        for _ in range(count):
            memory.add(flat_view(layout, colour))
    assert memory.texture.colours.reshape(-1, 3)[layout.texel].mean() > 180


def test_much_worse_view_does_not_blur_a_good_one(layout: AtlasLayout) -> None:
    memory = AtlasMemory(layout, remove_light=False)
    memory.add(flat_view(layout, 100, 0.9))
    for _ in range(10):
        memory.add(flat_view(layout, 130, 0.1))
    assert memory.texture.colours.reshape(-1, 3)[layout.texel].mean() < 104


def test_light_noise_is_not_sent_again(layout: AtlasLayout) -> None:
    memory, rng = AtlasMemory(layout, remove_light=False), np.random.default_rng(0)
    sent = []
    for _ in range(60):
        memory.add(flat_view(layout, 100 + rng.normal(0, 3)))
        sent.append(len(list(memory.updates())))
    assert sum(count > 0 for count in sent) == 1


def test_texture_extends_beyond_the_skin(layout: AtlasLayout) -> None:
    memory = AtlasMemory(layout, remove_light=False)
    memory.add(flat_view(layout, 100))
    assert memory.texture.known.all() and memory.texture.known.shape == (ATLAS_SIZE, ATLAS_SIZE)


def test_nothing_seen_is_nothing_known(layout: AtlasLayout) -> None:
    memory, empty = AtlasMemory(layout), np.zeros((0, 3), np.float32)
    memory.add(AtlasView(np.zeros(0, np.int64), empty, empty[:, 0], empty))
    assert not memory.known.any() and list(memory.updates()) == []
