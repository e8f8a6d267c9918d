import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree

from common.body.anatomy import REGION_INDEX
from common.synthetic.assets.appearance import sample_appearance
from common.synthetic.assets.binding import GarmentBinding, OutfitDisplacer, load_bindings
from common.synthetic.kinds import KindOutfit, KindSampler
from common.synthetic.scene.scene import worn_figure
from tests.bench.people.shells import ShellMaker
from tests.unit.common.synthetic.assets.conftest import Atelier


def test_points_that_were_cut_off_do_not_remain() -> None:
    binding = GarmentBinding(
        np.arange(2),
        np.array([[0, 1, 2], [1, 2, 3]]),
        np.full((2, 3), 1 / 3, np.float32),
        np.zeros((2, 3), np.float32),
    )
    assert binding.remains(None).all()
    assert binding.remains(np.array([-1, -1, -1, 5], np.float32)).tolist() == [True, False]


@pytest.fixture(scope="module")
def displacer(atelier: Atelier) -> OutfitDisplacer:
    return OutfitDisplacer(atelier.model, atelier.renderer, load_bindings())


def outfits(atelier: Atelier, count: int) -> list[KindOutfit]:
    """Outfits without headwear, which is not displaced."""
    sampler, rng = KindSampler(atelier.wardrobe), np.random.default_rng(0)
    drawn = (sampler.sample(rng, sample_appearance(rng)) for _ in range(20 * count))
    return [outfit for outfit in drawn if outfit.kinds["headwear"] == {"none"}][:count]


def test_every_garment_has_a_binding(atelier: Atelier) -> None:
    bindings = load_bindings()
    for garment in atelier.wardrobe.all():
        assert len(bindings[garment.name].vertices) > 80
        assert bindings[garment.name].corners.max() < len(garment.rest)


def test_displaced_template_is_closer_to_the_shell_than_the_skin(atelier: Atelier, displacer: OutfitDisplacer) -> None:
    template, shells = displacer.template, ShellMaker(atelier.renderer)
    bare, clothed = [], []
    for outfit in outfits(atelier, 3):
        shell = shells.make(worn_figure(outfit, atelier.vertices, atelier.skeleton))
        points = trimesh.Trimesh(shell.vertices, shell.faces, process=False).sample(6000)
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
