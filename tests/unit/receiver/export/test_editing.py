"""Other clothes on a recorded person: what changes, what stays, and where the floor is."""

from pathlib import Path

import numpy as np
import pytest
import torch

from common.body.anatomy import GARMENTS, REGIONS
from common.body.garments import GarmentTable
from common.body.surface_space import SurfaceSpace
from receiver.export.animated_glb import encode_characters
from receiver.export.character import Character
from receiver.export.editing import bare_skin, dressed
from receiver.export.skin_weights import load_body_skin
from receiver.mesh.mesh_files import Y_UP
from tests.support.gltf_validator import validation_issues
from tests.support.recorded_person import recorded_person

TEMPLATE = load_body_skin()[1].template
REGION = np.array([name.split(".")[0] for name in REGIONS])[TEMPLATE.region]
WORN = SurfaceSpace.load().decode(torch.randn(1, 24, generator=torch.Generator().manual_seed(3)))


@pytest.fixture(scope="module")
def character(tmp_path_factory: pytest.TempPathFactory) -> Character:
    """Somebody of random shape in random clothes."""
    return recorded_person(tmp_path_factory.mktemp("meshes"), displacement=WORN)


def displacement(character: Character) -> np.ndarray:
    """(V', 3) camera axes, metres."""
    return np.asarray((character.mesh.vertices - bare_skin(character)) * Y_UP)


def test_shape_is_told_by_the_joints(character: Character) -> None:
    np.testing.assert_allclose(displacement(character), WORN[0].numpy(), atol=5e-4)


@pytest.mark.parametrize("garment", ["skirt", "coat", "shirt", "long-hair", "shoes"])
def test_garment_changes_its_places_only(character: Character, garment: str) -> None:
    other = dressed(character, (garment,))
    weight = GarmentTable.load().weights[GARMENTS.index(garment)]
    moved_m = np.linalg.norm(displacement(other) - displacement(character), axis=1)
    assert moved_m[weight == 0].max() < 1e-5
    assert moved_m[weight == 255].mean() > 0.005
    np.testing.assert_array_equal(other.mesh.faces, character.mesh.faces)


def test_skirt_keeps_head_and_arms(character: Character) -> None:
    moved_m = np.linalg.norm(displacement(dressed(character, ("skirt",))) - displacement(character), axis=1)
    assert moved_m[np.isin(REGION, ["face", "scalp", "upper_arm", "forearm", "hand"])].max() < 1e-5


def test_none_leaves_the_skin(character: Character, tmp_path: Path) -> None:
    bare, expected = dressed(character, ("none",)), recorded_person(tmp_path)
    assert np.linalg.norm(bare.mesh.vertices - expected.mesh.vertices, axis=1).max() < 1e-3
    assert np.abs(displacement(bare)).max() < 1e-6


def test_garments_are_put_on_in_their_order(character: Character) -> None:
    step_by_step = dressed(dressed(character, ("none",)), ("shorts",))
    both = dressed(character, ("none", "shorts"))
    np.testing.assert_allclose(both.mesh.vertices, step_by_step.mesh.vertices, atol=1e-5)
    assert np.abs(displacement(dressed(character, ("shorts", "none")))).max() < 1e-6


def test_dressed_character_stands_on_the_floor(character: Character) -> None:
    for garment in ("none", "shoes", "long-skirt"):
        other = dressed(character, (garment,))
        assert other.mesh.vertices[:, 1].min() == pytest.approx(0.0, abs=1e-6)
        np.testing.assert_array_equal(other.offsets[1:], character.offsets[1:])
        np.testing.assert_array_equal(other.motion.root_positions, character.motion.root_positions)


def test_validator_accepts_other_clothes(character: Character) -> None:
    content = encode_characters([dressed(character, ("dress", "afro"))], "session-1")
    assert validation_issues(content) == []
