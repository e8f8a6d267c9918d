from dataclasses import replace

import numpy as np
import pytest

from common.body.anatomy import REGION_INDEX
from common.body.triangles import random_points
from common.synthetic.assets.appearance import Appearance, sample_appearance
from common.synthetic.assets.garment_files import Kind
from common.synthetic.assets.outfit import Outfit, paint, undressed
from common.synthetic.clothed.shell import Shell, ShellMaker
from common.synthetic.scene.dressing import worn_figure
from tests.unit.common.synthetic.clothed.conftest import Atelier


def person(looseness_m: float) -> Appearance:
    appearance = sample_appearance(np.random.default_rng(5))
    finish = appearance.finish.copy()
    finish[:, 2] = looseness_m
    return replace(appearance, finish=finish, fold_mix=np.zeros(4, np.float32))


def shell_of(atelier: Atelier, outfit: Outfit) -> Shell:
    return ShellMaker(atelier.renderer).make(worn_figure(outfit, atelier.vertices, atelier.skeleton))


@pytest.fixture(scope="module")
def dressed(atelier: Atelier) -> Shell:
    suit = next(item for item in atelier.wardrobe.garments[Kind.SUIT] if item.name == "male_casualsuit03")
    painted = person(0.0)
    return shell_of(atelier, Outfit(undressed(painted), ((suit, paint(painted, Kind.SUIT)),)))


def test_shell_of_a_bare_person_is_the_skin(atelier: Atelier) -> None:
    shell = shell_of(atelier, Outfit(person(0.0), ()))
    np.testing.assert_allclose(shell.vertices, atelier.vertices, atol=1e-6)
    assert len(shell.faces) > 0.85 * len(atelier.renderer.canvas.faces)


def test_loose_painted_clothes_are_offset(atelier: Atelier) -> None:
    shell = shell_of(atelier, Outfit(person(0.02), ()))
    skin = np.unique(atelier.renderer.canvas.faces)
    distance = np.linalg.norm(shell.vertices - atelier.vertices, axis=1)[skin]
    np.testing.assert_allclose(distance, 0.02, atol=1e-4)


def test_skin_beneath_a_suit_is_left_out(atelier: Atelier, dressed: Shell) -> None:
    body = len(atelier.vertices)
    skin = dressed.faces[(dressed.faces < body).all(1)]
    assert len(skin) > 5000, "head and hands are bare"
    canvas = atelier.renderer.canvas
    on_hips = canvas.region == REGION_INDEX["hips"]
    assert on_hips[skin].all(1).sum() < 0.1 * on_hips[canvas.faces].all(1).sum()


def test_shell_faces_outwards(atelier: Atelier, dressed: Shell) -> None:
    points, normals, *_ = random_points(dressed.vertices, dressed.faces, 4000, np.random.default_rng(0))
    front = points[:, 2] < np.median(points[:, 2]) - 0.08
    assert normals[front, 2].mean() < -0.5
