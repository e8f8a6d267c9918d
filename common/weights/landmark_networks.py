"""Networks of MediaPipe (Apache-2.0), which find faces, landmarks of faces and hands, and outlines of people.

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
    "face_landmark_with_attention",
    "hand_landmark_full",
    "hand_landmark_lite",
    "hand_recrop",
    "selfie_segmentation",
]
"""All take one picture, (1, S, S, 3) RGB, of side S: 128, 192, 224, 224, 256, 256; the first one −1…1, others 0…1."""
NAMES: tuple[Name, ...] = get_args(Name)

# fmt: off
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409, 78, 95, 88, 178, 87,
    14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415, 76, 77, 90, 180, 85, 16, 315, 404, 320,
    307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408, 62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42,
    41, 38, 12, 268, 271, 272, 407,
)
RIGHT_EYE = (
    33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173, 130, 25, 110, 24, 23, 22, 26, 112,
    243, 247, 30, 29, 27, 28, 56, 190, 226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221,
    189, 35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245, 156, 70, 63, 105, 66, 107, 55, 193,
)
LEFT_EYE = (
    263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398, 359, 255, 339, 254, 253, 252,
    256, 341, 463, 467, 260, 259, 257, 258, 286, 414, 446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444,
    443, 442, 441, 413, 265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349, 350, 357, 465, 383, 300, 293,
    334, 296, 336, 285, 417,
)
# fmt: on
"""Points of the face that the network with attention looks at once more, in the order of its outputs: lips, the outer
and the inner border by turns, and the person's right and left eye, of which lids come first."""
_PARTS = ((LIPS, (61, 291)), (RIGHT_EYE, (33, 133)), (LEFT_EYE, (362, 263)))


def load_network(name: Name) -> "CompiledGraph | None":
    """A network, which threads may call at once, on the CPU; None where it is missing or cannot be run."""
    return from_file(DIRECTORY / f"{name}.tflite", name, _PARTS if name == "face_landmark_with_attention" else ())
