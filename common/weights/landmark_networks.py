"""Networks of MediaPipe (Apache-2.0), which find landmarks of faces, irises and hands.

`setup.py` takes them from the package `mediapipe` when Bodywire is built, and lays them beside the weights with licence
and notice.  An installation lacks them where the package index did, or where OpenVINO cannot be used.
"""

from typing import TYPE_CHECKING, Literal, get_args

from common.weights.inference import from_file
from common.weights.manifest import WEIGHTS_DIRECTORY

if TYPE_CHECKING:
    from common.weights.graph import CompiledGraph

DIRECTORY = WEIGHTS_DIRECTORY / "mediapipe"

Name = Literal[
    "face_detection_short_range",
    "face_landmark",
    "iris_landmark",
    "hand_landmark_full",
    "hand_landmark_lite",
    "hand_recrop",
]
"""All take one picture, (1, S, S, 3) RGB, of side S: 128, 192, 64, 224, 224, 256; the first one −1…1, others 0…1."""
NAMES: tuple[Name, ...] = get_args(Name)


def load_network(name: Name) -> "CompiledGraph | None":
    """A network, which threads may call at once, on the CPU; None where it is missing or cannot be run."""
    return from_file(DIRECTORY / f"{name}.tflite", name)
