"""Glasses and gloves on the template."""

import numpy as np
import pytest

from common.arrays import FloatArray
from common.body.anatomy import REGIONS
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.wears import Wears
from receiver.outfits.dressing import Dresser
from receiver.outfits.mixture import PLAIN, chosen_kinds, draw, unfolded
from receiver.outfits.shells import Shells

TEMPLATE = BodyTemplate.from_model(BodyModel.load())
REGION = np.array([name.split(".")[0] for name in REGIONS])[TEMPLATE.region]
NORMALS = TEMPLATE.vertex_normals(TEMPLATE.rest)


@pytest.fixture(scope="module")
def dresser() -> Dresser:
    return Dresser(TEMPLATE, Shells.load())


def worn(dresser: Dresser, **kinds: str) -> FloatArray:
    """(V', 3) of a person in summer clothes."""
    drawn = draw(PLAIN.as_known({"sleeve": "short", **kinds}), 4)
    return dresser.dress(unfolded(drawn, np.zeros(len(drawn.noise)))).displacement


def added(dresser: Dresser, **kinds: str) -> FloatArray:
    return worn(dresser, **kinds) - worn(dresser)


def test_lenses_are_flat_and_before_the_eyes(dresser: Dresser) -> None:
    plain, shaded = (TEMPLATE.rest + worn(dresser, eyewear=kind) for kind in ("none", "sunglasses"))
    moved = np.linalg.norm(shaded - plain, axis=1) > 0.004
    assert (REGION[moved] == "face").all()
    side, _, back = shaded[moved & (plain[:, 2] < plain[REGION == "face", 2].min() + 0.045)].T
    assert (np.abs(np.abs(side).max() - 0.06) < 0.005) and np.ptp(back) < 0.03
    curve = np.polyfit(side**2, back, 1)
    assert np.abs(np.polyval(curve, side**2) - back).max() < 0.001, "one bent pane"
    eyes = moved & ~TEMPLATE.outside
    assert eyes.any() and (shaded[eyes, 2] < plain[eyes, 2]).all(), "nothing looks through"


def test_glasses_leave_the_eyes_free(dresser: Dresser) -> None:
    eyes = (np.abs(added(dresser, eyewear="sunglasses")) > 0).any(axis=1) & ~TEMPLATE.outside
    framed = np.linalg.norm(added(dresser, eyewear="glasses"), axis=1)
    assert framed.max() > 0.01
    assert np.median(framed[eyes]) == 0


def test_gloves_are_on_hands_with_a_cuff_and_end_beneath_sleeves(dresser: Dresser) -> None:
    bare, long = added(dresser, hands="gloves"), worn(dresser, hands="gloves", sleeve="long")
    assert (np.einsum("vd,vd->v", bare, NORMALS)[REGION == "hand"] > 0.002).all()
    cuff = (np.linalg.norm(bare, axis=1) > 0.003) & (REGION == "forearm")
    assert cuff.sum() > 10
    covered = np.linalg.norm(worn(dresser, sleeve="long"), axis=1)[REGION == "forearm"] > 0.003
    difference = np.linalg.norm(long - worn(dresser, sleeve="long"), axis=1)[REGION == "forearm"]
    assert np.median(difference[covered]) == 0


def test_extras_are_worn_by_those_of_whom_they_are_likely() -> None:
    def kinds(share: float) -> dict[str, str]:
        shares = np.array([1 - share, 0, share], np.float32)
        return chosen_kinds(Wears({**PLAIN.posterior, "eyewear": shares}), 0)

    assert kinds(0.45)["eyewear"] == "none" and kinds(0.9)["eyewear"] == "sunglasses"
    unknown = {name: np.full_like(shares, 1 / len(shares)) for name, shares in PLAIN.posterior.items()}
    for identity in range(40):
        chosen = chosen_kinds(Wears(unknown), identity)
        assert (chosen["eyewear"], chosen["hands"]) == ("none", "bare")
