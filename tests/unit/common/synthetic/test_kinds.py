"""Outfits of known kinds: every value occurs, and geometry is what the kind says."""

import numpy as np
import pytest

from common.body.model import BodyModel
from common.synthetic.assets.appearance import sample_appearance
from common.synthetic.assets.garments import Canvas, Outfit
from common.synthetic.assets.wardrobe import Wardrobe
from common.synthetic.kinds import KindSampler
from common.wear_kinds import VALUES
from common.wears import possible


@pytest.fixture(scope="module")
def outfits() -> list[Outfit]:
    sampler = KindSampler(Wardrobe.load(Canvas.from_model(BodyModel.load())))
    rng = np.random.default_rng(0)
    return [sampler.sample(rng, sample_appearance(rng)) for _ in range(120)]


def test_every_value_occurs_and_is_known(outfits: list[Outfit]) -> None:
    for name, values in VALUES.items():
        seen = {value for outfit in outfits for value in outfit.kinds[name]}
        assert seen == set(values), name
    for outfit in outfits:
        assert (possible(outfit.kinds) > 0).all()
        assert outfit.kinds["layer"] != {"none"} or outfit.kinds["sleeve"] == {"bare"}


def test_garments_end_where_the_kind_says(outfits: list[Outfit]) -> None:
    ends: dict[str, list[float]] = {}
    for outfit in outfits:
        (bottom,) = outfit.kinds["bottom"]
        garment = outfit.garments[0][0]
        ends.setdefault(bottom, []).append(float(garment.limb[garment.faces, 1].max()))
    assert max(ends["shorts"]) < 0.8 < min(ends["knee"]) and max(ends["knee"]) < 1.4 < min(ends["trousers"])
    assert max(ends["skirt_short"]) < 1.0 < min(ends["skirt_long"])
    assert max(ends["brief"]) < 0.2


def test_headwear_is_worn_on_the_head(outfits: list[Outfit]) -> None:
    for outfit in outfits:
        made = [garment for garment, _ in outfit.garments if garment.name.startswith(("made_", "fedora"))]
        hats = [garment for garment in made if garment.limb[:, 3].min() == 1]
        assert bool(hats) == (outfit.kinds["headwear"] != frozenset({"none"}))
