"""The garments that a person can be given: where they are, and what they leave alone."""

from pathlib import Path

import numpy as np
import pytest

from common.arrays import FloatArray
from common.body import garments
from common.body.anatomy import GARMENTS, REGIONS
from common.body.garments import GarmentTable
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.errors import WeightsError

TABLE = GarmentTable.load()
TEMPLATE = BodyTemplate.from_model(BodyModel.load())
REGION = np.array([name.split(".")[0] for name in REGIONS])[TEMPLATE.region]
SHOULD_BE_THERE = {
    **dict.fromkeys(("t-shirt", "shirt", "pullover", "coat"), "chest"),
    **dict.fromkeys(
        ("trousers", "wide-trousers", "shorts", "skirt", "long-skirt", "dress", "suit", "work-suit"), "thigh"
    ),
    **dict.fromkeys(("shoes",), "foot"),
    **dict.fromkeys(("short-hair", "bob", "long-hair", "afro"), "scalp"),
}
LEAVES = {
    "chest": ("face", "scalp", "hand", "foot"),
    "thigh": ("face", "scalp", "hand"),
    "foot": ("chest", "scalp", "hips"),
    "scalp": ("hips", "thigh", "shin", "foot", "forearm"),
}


def worn_before(seed: int = 0) -> FloatArray:
    """(V', 3) displacements of what somebody wears, smooth only by chance."""
    noise = np.random.default_rng(seed).normal(0, 0.01, (len(TEMPLATE), 3))
    return np.asarray(TEMPLATE.vertex_normals(TEMPLATE.rest) * 0.02 + noise, np.float32)


@pytest.mark.parametrize(("garment", "region"), SHOULD_BE_THERE.items())
def test_garment_is_outside_of_the_skin_and_leaves_other_regions(garment: str, region: str) -> None:
    bare = np.zeros((len(TEMPLATE), 3), np.float32)
    outwards = np.einsum("vd,vd->v", TABLE.worn(garment, bare), TEMPLATE.vertex_normals(TEMPLATE.rest))
    assert outwards[region == REGION].mean() > 0.005
    before = worn_before()
    left = np.isin(REGION, LEAVES[region])
    # Around its borders a garment is blended with what is there.
    moved = np.linalg.norm(TABLE.worn(garment, before) - before, axis=1)
    assert np.mean(moved[left] > 1e-6) < 0.15
    assert moved[region == REGION].mean() > 0.005


def test_weights_tell_where_a_garment_changes_anything() -> None:
    before = worn_before(1)
    for number, garment in enumerate(GARMENTS):
        untouched = TABLE.weights[number] == 0
        np.testing.assert_array_equal(TABLE.worn(garment, before)[untouched], before[untouched])
        assert 0.02 < np.mean(~untouched) < 0.95


@pytest.mark.parametrize(("garment", "region"), [("bald", "scalp"), ("bare-feet", "foot")])
def test_bare_parts_are_bare(garment: str, region: str) -> None:
    worn = np.linalg.norm(TABLE.worn(garment, worn_before()), axis=1)
    inside = TABLE.weights[GARMENTS.index(garment)] == 255
    assert np.median(worn[inside & (region == REGION)]) < 0.003


def test_long_garments_reach_further_down() -> None:
    def lowest(garment: str) -> float:
        """Height of the lowest vertex that is 3 cm off the skin, y down."""
        worn = np.linalg.norm(TABLE.worn(garment, np.zeros((len(TEMPLATE), 3), np.float32)), axis=1)
        return float(TEMPLATE.rest[(worn > 0.03) & (REGION != "foot"), 1].max())

    assert lowest("long-skirt") > lowest("skirt") + 0.1


def test_damaged_table_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (None, b"", b"PK\x03\x04 cut", b"x" * 100):
        path = tmp_path / "garments.npz"
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        monkeypatch.setattr(garments, "GARMENTS_FILE", path)
        with pytest.raises(WeightsError, match="reinstall bodywire"):
            GarmentTable.load()
