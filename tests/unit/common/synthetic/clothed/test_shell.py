from dataclasses import replace

import numpy as np
import pytest

from common.body.anatomy import REGION_INDEX
from common.synthetic.assets.appearance import HAIR, SKIN, TOP, Appearance, sample_appearance, sample_light
from common.synthetic.assets.garment_files import Kind
from common.synthetic.assets.outfit import Outfit, paint, undressed
from common.synthetic.clothed.shell import Shell, ShellMaker, visible_from_camera
from common.synthetic.renderer.renderer import View
from common.synthetic.scene.scene import worn_figure
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
    hips = REGION_INDEX["hips"]
    cloth = dressed.faces[(dressed.faces >= body).all(1)]
    assert (dressed.region[skin] == hips).all(1).sum() < 0.1 * (dressed.region[cloth] == hips).all(1).sum()


def test_samples_lie_on_the_shell_and_face_outwards(atelier: Atelier, dressed: Shell) -> None:
    samples = dressed.sample(4000, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(samples.normals, axis=1), 1, atol=1e-4)
    assert set(np.unique(samples.material)) >= {SKIN, TOP}
    assert samples.albedo.min() >= 0 and samples.albedo.max() <= 1
    front = (samples.material == TOP) & (samples.points[:, 2] < np.median(samples.points[:, 2]) - 0.08)
    assert samples.normals[front, 2].mean() < -0.5


def test_camera_sees_the_front_only(atelier: Atelier, dressed: Shell) -> None:
    view = View(512, 512, 700.0)
    figure = worn_figure(Outfit(person(0.0), ()), atelier.vertices, atelier.skeleton)
    depth = atelier.renderer.render([figure], view, sample_light(np.random.default_rng(0))).depth
    samples = shell_of(atelier, Outfit(person(0.0), ())).sample(4000, np.random.default_rng(0))
    seen = visible_from_camera(samples.points, depth, view)
    assert 0.3 < seen.mean() < 0.6
    assert samples.normals[seen, 2].mean() < -0.3 < 0.3 < samples.normals[~seen, 2].mean()
    assert not visible_from_camera(samples.points + np.array([9, 0, 0], np.float32), depth, view).any()


def test_hair_is_part_of_the_shell(atelier: Atelier) -> None:
    painted = person(0.0)
    hair = atelier.wardrobe.garments[Kind.HAIR][4]
    shell = shell_of(atelier, Outfit(painted, ((hair, paint(painted, Kind.HAIR)),)))
    used = np.unique(shell.faces)
    assert (shell.material[used[used >= len(atelier.vertices)]] == HAIR).mean() > 0.95
