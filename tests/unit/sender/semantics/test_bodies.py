import numpy as np
import numpy.testing as npt

from common.frames import Camera
from sender.perception.crop import CropBox
from sender.semantics.bodies import ENTRIES, entries_in_crops, entries_in_frame


def test_bodies_go_from_crops_to_the_frame_and_back() -> None:
    camera = Camera(640, 480, 700.0)
    crops = [CropBox(300, 120, 260), CropBox(20, -40, 300, 0.3), CropBox(330, 100, 240, -0.2)]
    entries = np.random.default_rng(0).normal(0, 0.3, (3, ENTRIES)).astype(np.float32)
    entries[:, :6] = np.array([1, 0, 0, 0, 1, 0])
    in_frame = entries_in_frame(entries, crops, camera)
    npt.assert_allclose(in_frame[:, 9:], entries[:, 9:])
    scaled = entries_in_crops(in_frame, crops, camera)
    npt.assert_allclose(scaled[:, 6:], entries[:, 6:], atol=1e-5)
    npt.assert_allclose(scaled[:, :6] / np.linalg.norm(scaled[:, :3], axis=1, keepdims=True), entries[:, :6], atol=1e-5)
