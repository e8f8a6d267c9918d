"""Outfits on the template: extents, hems, layers, and cloth that hangs."""

import numpy as np
import pytest

from common.arrays import FloatArray
from common.body.anatomy import REGION_INDEX
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.errors import WeightsError
from receiver.outfits import dressing
from receiver.outfits.dressing import Dresser, Outfit, Shells, Tube
from receiver.outfits.guidance import Outfits
from receiver.outfits.mixture import styles
from tests.unit.receiver.outfits.test_mixture import sample, wears

IDENTITIES = range(12)


@pytest.fixture(scope="module")
def template() -> BodyTemplate:
    return BodyTemplate.from_model(BodyModel.load())


@pytest.fixture(scope="module")
def shells() -> Shells:
    return Shells.load()


@pytest.fixture(scope="module")
def dresser(template: BodyTemplate, shells: Shells) -> Dresser:
    return Dresser(template, shells)


def dressed(dresser: Dresser, identity: int, **kinds: str) -> Outfit:
    return dresser.dress(sample(wears(**{name: {kind: 1.0} for name, kind in kinds.items()}), identity))


def end(outfit: Outfit, along: FloatArray) -> float:
    """How far down a limb its cloth reaches."""
    return float(along[outfit.cloth & (along >= 0)].max(initial=0))


@pytest.mark.parametrize(("sleeve", "low", "high"), [("sleeveless", 0, 0.22), ("short", 0.2, 1.1), ("long", 1.4, 2.07)])
def test_sleeves_end_where_their_kind_says(
    dresser: Dresser, shells: Shells, sleeve: str, low: float, high: float
) -> None:
    ends = [end(dressed(dresser, each, sleeve=sleeve), shells.limb[:, 0]) for each in IDENTITIES]
    assert low <= min(ends) and max(ends) <= high, ends


@pytest.mark.parametrize(
    ("bottom", "low", "high"), [("shorts", 0.1, 0.9), ("knee", 0.75, 1.4), ("trousers", 1.5, 2.07)]
)
def test_legs_end_where_their_kind_says(dresser: Dresser, shells: Shells, bottom: str, low: float, high: float) -> None:
    ends = [end(dressed(dresser, each, bottom=bottom), shells.limb[:, 1]) for each in IDENTITIES]
    assert low <= min(ends) and max(ends) <= high, ends


@pytest.mark.parametrize("name", [name for name, _ in styles("skirt")])
def test_skirts_bridge_the_legs(
    dresser: Dresser, template: BodyTemplate, shells: Shells, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dressing, "styles", lambda part: ((name, 1.0),) if part == "skirt" else styles(part))
    skirt, trousers = (dressed(dresser, 1, bottom=kind).displacement for kind in ("skirt_long", "trousers"))
    inner = (np.abs(shells.limb[:, 1] - 0.8) < 0.1) & (
        template.rest[:, 0] * template.vertex_normals(template.rest)[:, 0] < 0
    )
    gaps = [float(np.abs(template.rest[inner, 0] + field[inner, 0]).mean()) for field in (skirt, trousers)]
    assert gaps[0] < 0.6 * gaps[1]


def test_skirts_of_dresses_are_wider(template: BodyTemplate, shells: Shells) -> None:
    def depth_m(name: str, leg: float) -> float:
        near = np.abs(shells.limb[:, 1] - leg) < 0.1
        return float(np.ptp((template.rest + shells.fields[name])[near, 2]))

    names = [name for name, _ in styles("skirt")]
    assert "skirt" in names and len(names) > 1
    for name in names:
        assert name == "skirt" or depth_m(name, 0.7) > depth_m("skirt", 0.7) + 0.03


def test_hair_has_volume_and_headwear_covers_it(dresser: Dresser, template: BodyTemplate) -> None:
    scalp = template.region == REGION_INDEX["scalp"]
    size = {
        name: float(np.linalg.norm(dressed(dresser, 2, **kinds).displacement[scalp], axis=1).mean())
        for name, kinds in {
            "bald": {"hair": "bald"},
            "short": {"hair": "short"},
            "helmet": {"hair": "hidden", "headwear": "helmet"},
        }.items()
    }
    assert size["bald"] < 0.001 < 0.003 < size["short"] < size["helmet"]


@pytest.mark.parametrize("kind", ["helmet", "hat"])
def test_rims_of_headwear_are_even(dresser: Dresser, template: BodyTemplate, kind: str) -> None:
    """Between the vertices that headwear moves and the others there is a line, which leans from front to back."""
    field = dressed(dresser, 2, hair="hidden", headwear=kind).displacement
    moved = np.linalg.norm(field, axis=1) > 0.005
    edges = template.adjacency.tocoo()
    head = np.isin(template.region, [REGION_INDEX["face"], REGION_INDEX["scalp"]])
    rim = np.unique(edges.row[head[edges.row] & moved[edges.row] & ~moved[edges.col]])
    lean = np.stack([np.ones(len(rim)), template.rest[rim, 2]], 1)
    height_m = (template.rest + field)[rim, 1]
    uneven_m = height_m - lean @ np.linalg.lstsq(lean, height_m, rcond=None)[0]
    assert np.quantile(np.abs(uneven_m), 0.9) < 0.004


def test_long_hair_hangs_lower_than_short_hair(dresser: Dresser, template: BodyTemplate) -> None:
    bald = dressed(dresser, 2, hair="bald").displacement
    lowest = {}
    for hair in ("short", "long"):
        field = dressed(dresser, 2, hair=hair).displacement
        moved = np.linalg.norm(field - bald, axis=1) > 0.005
        lowest[hair] = float((template.rest + field)[moved, 1].max())
    assert lowest["long"] > lowest["short"] + 0.05


def test_people_stand_on_their_soles(dresser: Dresser, template: BodyTemplate) -> None:
    ground = {
        kind: float((template.rest + dressed(dresser, 3, shoes=kind).displacement)[:, 1].max())
        for kind in ("barefoot", "shoes")
    }
    assert 0.005 < ground["shoes"] - ground["barefoot"] < 0.03


def test_cloth_lies_over_the_skin(dresser: Dresser, template: BodyTemplate) -> None:
    normals = template.vertex_normals(template.rest)
    for layer in ("top", "jacket", "coat", "dress", "vest"):
        outfit = dressed(dresser, 5, layer=layer)
        height = np.einsum("vd,vd->v", outfit.displacement, normals)[outfit.cloth]
        assert np.isfinite(outfit.displacement).all() and float((height > 0).mean()) > 0.9, layer


@pytest.fixture(scope="module")
def outfits(template: BodyTemplate) -> Outfits:
    return Outfits.load(template)


def test_strangers_of_equal_labels_differ(outfits: Outfits) -> None:
    ends = {outfits.latent(wears(sleeve={"short": 1.0}), each).z_prime["sleeve"]["sleeve_end"] for each in IDENTITIES}
    assert len(ends) == len(IDENTITIES)


def test_a_coat_covers_the_trousers(dresser: Dresser, template: BodyTemplate, shells: Shells) -> None:
    coat = dressed(dresser, 4, layer="coat", bottom="trousers").displacement
    inner = (shells.limb[:, 1] > 0.1) & (shells.limb[:, 1] < 0.3) & (np.abs(template.rest[:, 0]) < 0.06)
    across = np.abs((template.rest + coat)[inner, 0])
    assert float(across.max()) < 0.09 and float(np.ptp((template.rest + coat)[inner, 2])) > 0.15


def test_missing_and_damaged_shells_are_an_error(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(dressing, "SHELLS_FILE", tmp_path / "shells.npz")
    with pytest.raises(WeightsError, match="reinstall"):
        Shells.load()
    (tmp_path / "shells.npz").write_bytes(b"PK nothing")
    with pytest.raises(WeightsError, match="reinstall"):
        Shells.load()


_ROWS, _AROUND = 41, 24
_TOP_M, _BOTTOM_M, _NARROWING = 0.10, 0.05, 0.04


def cone() -> tuple[FloatArray, FloatArray, FloatArray]:
    """(V', 3) places, (V', 3) normals and (V',) how far down of a limb that narrows downwards, in rows from the top."""
    down, angle = np.meshgrid(np.linspace(0, 1, _ROWS), np.arange(_AROUND) / _AROUND * 2 * np.pi, indexing="ij")
    unit = np.stack([np.cos(angle), np.zeros_like(angle), np.sin(angle)], -1)
    places = (_TOP_M + (_BOTTOM_M - _TOP_M) * down)[..., None] * unit
    places[..., 1] = 0.5 * down
    rest, normals = (each.reshape(-1, 3).astype(np.float32) for each in (places, unit))
    return rest, normals, down.ravel().astype(np.float32)


@pytest.fixture(scope="module")
def tube() -> Tube:
    rest, normals, along = cone()
    return Tube(rest, normals, np.ones(len(rest), np.bool_), along, _NARROWING)


def radii(places: FloatArray) -> FloatArray:
    """(rows, directions) distance from the axis."""
    return np.asarray(np.linalg.norm(places[:, [0, 2]], axis=1).reshape(_ROWS, _AROUND), np.float32)


def test_cloth_is_held_at_the_top_and_falls_from_there(tube: Tube) -> None:
    rest, _, along = cone()
    hung = radii(rest + tube.hung(rest, along >= 0, 1.0))
    assert np.abs(hung[0] - _TOP_M).max() < 0.002
    assert np.abs(hung[-1] - _TOP_M * (1 - _NARROWING)).max() < 0.004


def test_nothing_moves_inwards_or_along_the_limb(tube: Tube) -> None:
    rest, normals, along = cone()
    rough = rest + normals * np.random.default_rng(3).uniform(0, 0.02, (len(rest), 1)).astype(np.float32)
    moved = tube.hung(rough, along >= 0, 1.0)
    assert np.einsum("vd,vd->v", moved, normals).min() >= 0
    assert np.abs(moved[:, 1]).max() < 1e-6


def test_cloth_clings_as_the_amount_says(tube: Tube) -> None:
    rest, _, along = cone()
    freely, half, clinging = (tube.hung(rest, along >= 0, amount) for amount in (1.0, 0.5, 0.0))
    assert np.allclose(half, freely / 2) and not clinging.any() and np.linalg.norm(freely, axis=1).max() > 0.03


def test_skin_below_a_hem_stays(tube: Tube) -> None:
    rest, _, along = cone()
    cloth = along <= 0.5
    moved = tube.hung(rest, cloth, 1.0)
    assert moved[cloth].any() and not moved[~cloth].any()


def test_cloth_that_widens_downwards_stays(tube: Tube) -> None:
    rest, normals, along = cone()
    flared = rest + normals * (0.1 * along[:, None])
    assert np.linalg.norm(tube.hung(flared, along >= 0, 1.0), axis=1).max() < 0.004
