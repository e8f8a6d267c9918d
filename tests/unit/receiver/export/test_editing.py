"""Other builds: the wanted measures, a body of the shape space, feet on the floor."""

import numpy as np
import pytest
import torch

from common.body.model import BodyModel, BodyParameters
from common.errors import UsageError
from receiver.body.skinning import BodySkin
from receiver.export.animated_glb import encode_characters
from receiver.export.character import Character
from receiver.export.editing import BODY_DENSITY_KG_M3, ShapeChange, reshaped
from receiver.mesh.mesh_files import Y_UP, to_y_up
from receiver.mesh.triangle_mesh import signed_volume_m3
from tests.support.meshes.glb_reader import Glb
from tests.support.meshes.posed_templates import pose, templates
from tests.support.motion.recorded_person import FRAMES, body_parameters, recorded_person

MODEL = BodyModel.load()
SKIN = BodySkin.from_model(MODEL)


@pytest.fixture(scope="module")
def character(tmp_path_factory: pytest.TempPathFactory) -> Character:
    return recorded_person(tmp_path_factory.mktemp("meshes"))


def height_m(character: Character) -> float:
    return float(np.ptp(character.mesh.vertices[:, 1]))


def weight_kg(character: Character) -> float:
    return BODY_DENSITY_KG_M3 * signed_volume_m3(character.mesh.vertices, character.mesh.faces)


@pytest.mark.parametrize(
    ("change", "taller_m", "heavier_kg"),
    [
        (ShapeChange(height_m=0.05), 0.05, None),
        (ShapeChange(height_m=-0.1), -0.1, None),
        (ShapeChange(weight_kg=8.0), 0.0, 8.0),
        (ShapeChange(height_m=0.05, weight_kg=-4.0), 0.05, -4.0),
    ],
)
def test_measures_are_those_that_were_asked_for(
    character: Character, change: ShapeChange, taller_m: float, heavier_kg: float | None
) -> None:
    other = reshaped(character, change)
    assert height_m(other) - height_m(character) == pytest.approx(taller_m, abs=1e-3)
    if heavier_kg is not None:
        assert weight_kg(other) - weight_kg(character) == pytest.approx(heavier_kg, abs=0.1)
    assert other.mesh.vertices[:, 1].min() == pytest.approx(0.0, abs=1e-6)


def test_taller_people_are_heavier_unless_said_otherwise(character: Character) -> None:
    assert weight_kg(reshaped(character, ShapeChange(height_m=0.1))) > weight_kg(character) + 2


def test_other_body_is_the_body_models(character: Character) -> None:
    """The body model with the changed coefficients has the vertices of the reshaped animation."""
    other = reshaped(character, ShapeChange(height_m=0.08, weight_kg=5.0))
    directions = (MODEL.rest_vertices[1:, SKIN.template.kept].numpy() * Y_UP).reshape(10, -1, 3)
    # The meshes are moved to the origin; differences between vertices are not.
    moved = (other.mesh.vertices - character.mesh.vertices).astype(np.float64)
    centred = directions - directions.mean(axis=1, keepdims=True)
    change = np.linalg.lstsq(centred.reshape(10, -1).T, (moved - moved.mean(axis=0)).ravel(), rcond=None)[0]
    known, glb = body_parameters(), Glb(encode_characters([other], "session-1"))
    root = torch.from_numpy(to_y_up(other.motion.root_positions))
    shape = known.shape + torch.from_numpy(change).float()
    output = templates(SKIN, BodyParameters(known.rotations, known.curl, shape, root))
    for number in range(FRAMES):
        glb.show_key(number)
        expected = to_y_up(pose(SKIN, output, number).mesh.vertices)
        assert np.linalg.norm(glb.skinned_vertices() - expected, axis=1).max() < 1e-3


def test_lowest_joint_keeps_its_height(character: Character) -> None:
    glbs = [Glb(encode_characters([one], "x")) for one in (character, reshaped(character, ShapeChange(height_m=0.1)))]
    for number in range(FRAMES):
        lowest = []
        for glb in glbs:
            glb.show_key(number)
            world, joints = glb.joint_matrices(), glb.document["skins"][0]["joints"]
            lowest.append(min(world[joint][1, 3] for joint in joints))
        assert lowest[1] == pytest.approx(lowest[0], abs=1e-5)


@pytest.mark.parametrize(
    "change", [ShapeChange(height_m=2.0), ShapeChange(height_m=-1.2), ShapeChange(weight_kg=-500.0)]
)
def test_impossible_build_is_refused(character: Character, change: ShapeChange) -> None:
    with pytest.raises(UsageError, match="give a smaller change"):
        reshaped(character, change)


@pytest.mark.parametrize(
    ("texts", "change"),
    [
        (["height=+5cm"], ShapeChange(height_m=0.05)),
        (["height=-0.1m"], ShapeChange(height_m=-0.1)),
        (["weight=+7.5kg", "height=+5cm"], ShapeChange(0.05, 7.5)),
    ],
)
def test_changes_are_parsed(texts: list[str], change: ShapeChange) -> None:
    parsed = ShapeChange.parse(texts)
    assert parsed.height_m == pytest.approx(change.height_m) and parsed.weight_kg == pytest.approx(change.weight_kg)
