from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from common.body.anatomy import REGION_INDEX
from common.body.triangles import random_points
from common.synthetic.assets.appearance import sample_appearance
from common.synthetic.assets.outfit import Outfit
from common.synthetic.assets.tailored_outfit import sample_outfit
from common.synthetic.clothed.binding import load_bindings
from common.synthetic.clothed.displacement import OutfitDisplacer
from common.synthetic.clothed.outfit_code import OutfitCode
from common.synthetic.clothed.shell import ShellMaker
from common.synthetic.dataset.presets import WARDROBE
from common.synthetic.scene.scene import worn_figure
from tests.unit.common.synthetic.clothed.conftest import Atelier

PRESET = replace(WARDROBE, dressed=1.0)


@pytest.fixture(scope="module")
def displacer(atelier: Atelier) -> OutfitDisplacer:
    return OutfitDisplacer(atelier.model, atelier.renderer, load_bindings())


def outfits(atelier: Atelier, count: int) -> list[Outfit]:
    generators = [np.random.default_rng(seed) for seed in range(count)]
    return [sample_outfit(rng, atelier.wardrobe, sample_appearance(rng), PRESET) for rng in generators]


def test_every_garment_has_a_binding(atelier: Atelier) -> None:
    bindings = load_bindings()
    for garment in atelier.wardrobe.all():
        assert len(bindings[garment.name].vertices) > 80
        assert bindings[garment.name].corners.max() < len(garment.rest)


def test_displaced_template_is_closer_to_the_shell_than_the_skin(atelier: Atelier, displacer: OutfitDisplacer) -> None:
    template, shells = displacer.template, ShellMaker(atelier.renderer)
    bare, clothed = [], []
    for outfit in outfits(atelier, 6):
        shell = shells.make(worn_figure(outfit, atelier.vertices, atelier.skeleton))
        points = random_points(shell.vertices, shell.faces, 6000, np.random.default_rng(0)).points
        field = displacer.displace(outfit, atelier.skeleton.shape).displacement
        moved = template.posed(atelier.model, atelier.parameters, torch.from_numpy(field)[None]).vertices[0].numpy()
        bare.append(cKDTree(atelier.vertices[template.kept]).query(points)[0].mean())
        clothed.append(cKDTree(moved).query(points)[0].mean())
    assert np.mean(clothed) < 0.55 * np.mean(bare)


def test_hands_and_bare_skin_stay(atelier: Atelier, displacer: OutfitDisplacer) -> None:
    hands = np.isin(displacer.template.region, [REGION_INDEX["hand.L"], REGION_INDEX["hand.R"]])
    for outfit in outfits(atelier, 6):
        field = displacer.displace(outfit, atelier.skeleton.shape).displacement
        assert np.abs(field[hands]).max() < 0.001
        assert np.isfinite(field).all()
        assert np.linalg.norm(field, axis=1).max() < 0.25, "no spikes"


def test_code_of_an_outfit_gives_the_same_displacement(atelier: Atelier, displacer: OutfitDisplacer) -> None:
    code = OutfitCode(atelier.wardrobe)
    for outfit in outfits(atelier, 6):
        again = code.decode(code.encode(outfit))
        assert [garment.name for garment, _ in again.garments] == [garment.name for garment, _ in outfit.garments]
        first, second = (displacer.displace(item, atelier.skeleton.shape) for item in (outfit, again))
        np.testing.assert_allclose(first.displacement, second.displacement, atol=1e-6)
        np.testing.assert_array_equal(first.material, second.material)
