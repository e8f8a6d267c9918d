"""Labels that a valid peer may send, however absurd: finite bodies and surfaces, and files that an export can read."""

from pathlib import Path

import numpy as np
import pytest

from common.arrays import FloatArray
from common.body.anatomy import ATLAS_SIZE
from common.codec.frame_codec import FrameCodec
from common.frames import MAX_FOCAL_PX, MAX_SIDE_PX, MIN_FOCAL_PX, Camera, LabelFrame, PersonLabels
from common.labels import GROUP_BY_NAME, LABEL_SIZE, OPTIONAL_GROUPS, split
from common.texture.atlas import TILES, encode
from receiver.engine.engine import PersonAppearance, ReconstructionRequest
from receiver.engine.reconstructor import Reconstructor
from receiver.export.recorded_session import BodyAt
from receiver.export.rigging import LeftOut, rig
from receiver.mesh.mesh_files import encode_mesh
from receiver.mesh.skinned_glb import encode_body
from receiver.texture.received_texture import ReceivedTexture
from tests.support.motion.label_motion import FINE_RHO, MODEL_HASH

CAMERAS = (Camera(1, 1, MIN_FOCAL_PX), Camera(MAX_SIDE_PX, MAX_SIDE_PX, MAX_FOCAL_PX), Camera(640, 480, 600.0))
NOISE = np.random.default_rng(0)


@pytest.fixture(scope="module")
def reconstructor() -> Reconstructor:
    return Reconstructor.load()


@pytest.fixture(scope="module")
def texture() -> ReceivedTexture:
    """Noise of which every second texel is known."""
    colours = NOISE.integers(0, 256, (ATLAS_SIZE, ATLAS_SIZE, 3)).astype(np.uint8)
    tile = TILES[0]
    return ReceivedTexture().with_tile(tile, encode(tile, colours, NOISE.random((ATLAS_SIZE, ATLAS_SIZE)) < 0.5))


def decoded(labels: FloatArray, confidence: float, camera: Camera) -> LabelFrame:
    """A frame as its receiver decodes it."""
    groups = split(labels)
    person = PersonLabels(5, 1.0, groups, confidence=dict.fromkeys(groups, confidence))
    payload = FrameCodec(MODEL_HASH).encode(LabelFrame(0, "clip.mp4", 1e9, camera, (person,)), FINE_RHO).payload
    return FrameCodec(MODEL_HASH).decode(payload, 0).frame


@pytest.mark.parametrize(("confidence", "still"), [(0.0, True), (1.0, False)])
@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(np.full(LABEL_SIZE, 32.0), id="highest, which is 400 m away"),
        pytest.param(np.full(LABEL_SIZE, -32.0), id="lowest, at the lens"),
        pytest.param(NOISE.choice([-32.0, 32.0], LABEL_SIZE), id="noise"),
        pytest.param(np.tile([1.0, 0.0, 0.0], LABEL_SIZE)[:LABEL_SIZE], id="orientation without a second column"),
    ],
)
def test_absurd_labels_become_bodies_that_can_be_exported(
    reconstructor: Reconstructor,
    texture: ReceivedTexture,
    tmp_path: Path,
    labels: FloatArray,
    confidence: float,
    still: bool,
) -> None:
    for number, camera in enumerate(CAMERAS):
        frame = decoded(labels.astype(np.float32), confidence, camera)
        request = ReconstructionRequest("a", "s", frame, {5: PersonAppearance(texture)}, still=still)
        (person,) = reconstructor.reconstruct(request).people
        lacking = set() if confidence else {*OPTIONAL_GROUPS}
        assert person.scale is not None and GROUP_BY_NAME.keys() - lacking == person.labels.labels.keys()
        scale = (person.scale.height_m, person.scale.height_sigma_m, person.scale.distance_sigma_m)
        for finite in (
            person.body.mesh.vertices,
            person.surface.vertices,
            person.keypoints_2d,
            person.joints_3d,
            scale,
        ):
            assert np.isfinite(finite).all()
        assert encode_mesh(person.surface, "glb", person.surface_texture)
        path = tmp_path / f"{number:06d}.body.glb"
        path.write_bytes(encode_body(person.body, reconstructor.skeleton))
        character = rig(5, [BodyAt(0.0, path)], LeftOut())
        assert len(character.mesh.vertices) == len(person.body.mesh.vertices)
        assert np.isfinite(character.mesh.vertices).all()
