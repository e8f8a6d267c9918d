import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from common.body.anatomy import REGION_INDEX, REGIONS
from common.body.model import BodyParameters
from common.synthetic.assets.appearance import HAIR, SKIN, Borders, sample_appearance, sample_light
from common.synthetic.renderer import Figure, Renderer, RendererUnavailable, View, create_context
from common.synthetic.scene.scene import SceneMaker
from tests.bench.people.shells import ShellMaker

LIGHT = sample_light(np.random.default_rng(0))
APPEARANCE = sample_appearance(np.random.default_rng(0))
VIEW = View(128, 128, 150.0)


@pytest.fixture
def renderer(training_scenes: SceneMaker) -> Renderer:
    return training_scenes.renderer


@pytest.fixture
def standing(training_scenes: SceneMaker) -> FloatArray:
    """(V, 3): a person of mean shape in the rest pose, 3 m in front of the camera."""
    with torch.no_grad():
        return np.asarray(training_scenes.model(BodyParameters.rest(1, 3.0)).vertices[0].numpy())


def test_depth_is_that_of_the_nearest_surface(renderer: Renderer, standing: FloatArray) -> None:
    finish = APPEARANCE.finish.copy()
    finish[:, 2] = 0
    drawn = renderer.render([Figure(standing, replace(APPEARANCE, finish=finish))], VIEW, LIGHT)
    depth = drawn.depth[drawn.part > 0]
    assert depth.min() == pytest.approx(standing[:, 2].min(), abs=0.02)
    assert depth.max() < standing[:, 2].max()


def test_head_is_at_the_top_and_left_hand_on_the_right(renderer: Renderer, standing: FloatArray) -> None:
    drawn = renderer.render([Figure(standing, APPEARANCE)], VIEW, LIGHT)
    rows, columns = np.mgrid[0:128, 0:128]
    scalp, hips = (drawn.part == 1 + REGION_INDEX[name] for name in ("scalp", "hips"))
    left, right = (drawn.part == 1 + REGION_INDEX[f"hand{side}"] for side in (".L", ".R"))
    assert rows[scalp].mean() < rows[hips].mean()
    assert columns[left].mean() > columns[right].mean()


def test_nearer_person_occludes_the_farther_one(renderer: Renderer, standing: FloatArray) -> None:
    behind = standing + np.array([0, 0, 1], np.float32)
    drawn = renderer.render([Figure(standing, APPEARANCE), Figure(behind, APPEARANCE)], VIEW, LIGHT)
    alone = renderer.render([Figure(standing, APPEARANCE)], VIEW, LIGHT)
    front = alone.part > 0
    np.testing.assert_array_equal(drawn.depth[front], alone.depth[front])
    assert drawn.depth[(drawn.part > 0) & ~front].min() > alone.depth[front].min() + 0.5


def test_region_colours_are_those_of_the_materials(renderer: Renderer, standing: FloatArray) -> None:
    base = APPEARANCE.base_colour.copy()
    base[:] = [0.1, 0.2, 0.3, 0]
    base[SKIN] = [0.8, 0.6, 0.5, 0]
    base[HAIR] = [0.9, 0.1, 0.1, 0]
    finish = np.zeros_like(APPEARANCE.finish)
    clothed = Borders(sleeve_end=1.9, neckline=1.0, hairline_front=-0.6)
    painted = replace(APPEARANCE, base_colour=base, finish=finish, borders=clothed)
    colours = ShellMaker(renderer).region_colours(Figure(standing, painted))
    assert colours.shape == (len(REGIONS), 3)
    np.testing.assert_allclose(colours[REGION_INDEX["hand.L"]], [0.8, 0.6, 0.5], atol=0.02)
    np.testing.assert_allclose(colours[REGION_INDEX["forearm.R"]], [0.1, 0.2, 0.3], atol=0.2)
    assert colours[REGION_INDEX["scalp"], 0] > 0.6


def test_two_renderers_are_independent(renderer: Renderer, standing: FloatArray) -> None:
    before = renderer.render([Figure(standing, APPEARANCE)], VIEW, LIGHT)
    second = Renderer(renderer.canvas)
    empty = second.render([], VIEW, LIGHT)
    again = renderer.render([Figure(standing, APPEARANCE)], VIEW, LIGHT)
    assert not empty.part.any()
    assert before.part.any()
    np.testing.assert_array_equal(before.colour, again.colour)


def test_create_context_without_egl_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(**_: object) -> None:
        raise Exception("libEGL.so not loaded")

    monkeypatch.setattr("moderngl.create_context", missing)
    with pytest.raises(RendererUnavailable, match=r"install Debian's libegl1 and libegl-mesa0"):
        create_context()


@pytest.mark.slow
def test_an_optimizer_may_follow_a_renderer() -> None:
    # In a process of its own, since a clash of Triton's LLVM with Mesa's ends it.
    script = """
import torch
from common.synthetic.renderer import create_context
create_context()
torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
"""
    ended = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
