"""Which part of a person each place belongs to, by place and colour."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from common.arrays import BoolArray, ByteArray
from common.body.anatomy import REGIONS
from common.texture.atlas import AtlasLayout
from receiver.export.clothing_parts import PARTS, SurfacePlaces, segment
from receiver.export.skin_weights import load_body_skin

TEMPLATE = load_body_skin()[1].template
PLACES = SurfacePlaces.from_vertices(TEMPLATE)
HEIGHT_M = -PLACES.positions[:, 1]
RGB = {
    "skin": (200, 150, 120),
    "hair": (40, 25, 20),
    "top": (210, 210, 215),
    "bottom": (30, 30, 60),
    "shoes": (90, 40, 20),
}


def within(*regions: str) -> BoolArray:
    names = [number for number, name in enumerate(REGIONS) if name.split(".")[0] in regions]
    return np.asarray(np.isin(PLACES.region, names))


def dressed(waist_m: float, bare_arms: bool = False) -> tuple[ByteArray, np.ndarray]:
    """Colours (N, 3) with noise, and the true part (N,) of each place, of a person with the waist at a height."""
    truth = np.where(waist_m < HEIGHT_M, PARTS.index("top"), PARTS.index("bottom"))
    truth[within("upper_arm", "forearm")] = PARTS.index("skin" if bare_arms else "top")
    for part, regions in (("skin", ("face", "hand")), ("hair", ("scalp",)), ("shoes", ("foot",))):
        truth[within(*regions)] = PARTS.index(part)
    noise = np.random.default_rng(0).normal(0, 6, (len(truth), 3))
    return (np.array([RGB[part] for part in PARTS])[truth] + noise).clip(0, 255).astype(np.uint8), truth


@pytest.mark.parametrize("offset_m", [-0.12, 0.0, 0.12])
@pytest.mark.parametrize("bare_arms", [False, True])
def test_borders_are_where_colours_change(offset_m: float, bare_arms: bool) -> None:
    """Not where the body's regions end."""
    waist_m = float(np.median(HEIGHT_M[within("hips")])) + offset_m
    colours, truth = dressed(waist_m, bare_arms)
    share = segment(PLACES, colours)
    assert np.mean(share.argmax(axis=1) == truth) > 0.97
    away = np.abs(HEIGHT_M - waist_m) > 0.03
    trunk = within("chest", "hips", "thigh") & away & (np.median(HEIGHT_M[within("chest")]) > HEIGHT_M)
    assert np.mean(share[trunk].argmax(axis=1) == truth[trunk]) > 0.99


def test_shares_are_a_partition() -> None:
    share = segment(PLACES, dressed(0.0)[0])
    np.testing.assert_allclose(share.sum(axis=1), 1, atol=1e-5)
    assert share.min() >= 0


def test_parts_of_one_colour_are_split_by_distance() -> None:
    share = segment(PLACES, np.full((len(PLACES.index), 3), 120, np.uint8))
    for part, regions in (("top", ("upper_arm",)), ("bottom", ("thigh",)), ("shoes", ("foot",)), ("skin", ("hand",))):
        assert share[within(*regions), PARTS.index(part)].mean() > 0.8


def test_texels_and_vertices_have_the_same_parts() -> None:
    """Sampled at the vertices, the segmentation of an atlas is that of the vertices."""
    texels = SurfacePlaces.from_texels(TEMPLATE, AtlasLayout.from_body(load_body_skin()[0]))
    nearest = cKDTree(PLACES.positions).query(texels.positions)[1]
    colours, truth = dressed(0.0)
    assert np.mean(segment(texels, colours[nearest]).argmax(axis=1) == truth[nearest]) > 0.97
