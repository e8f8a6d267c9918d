"""Names and sizes of the body: joints, bones, regions, keypoints, their mirror images; paths of its files."""

from pathlib import Path

WEIGHTS_DIRECTORY = Path(__file__).resolve().parent.parent / "weights"
SHAPE_SPACE_FILE = WEIGHTS_DIRECTORY / "shape_space.safetensors"
LABEL_SPACE_FILE = WEIGHTS_DIRECTORY / "label_space.safetensors"
SURFACE_SPACE_FILE = WEIGHTS_DIRECTORY / "surface_space.safetensors"
EXPRESSION_SPACE_FILE = WEIGHTS_DIRECTORY / "expression_space.safetensors"

SHAPE_SIZE = 10
ATLAS_SIZE = 512
"""Texels along a side of the texture atlas."""
LID_LOOPS = 2
"""Loops of an eye's vertices, from the edge of the lids inwards, that are the thickness of the lids."""

JOINTS: tuple[str, ...] = (
    "root",
    "spine05",
    "spine04",
    "spine03",
    "spine02",
    "spine01",
    "neck01",
    "head",
    "clavicle.L",
    "upperarm01.L",
    "lowerarm01.L",
    "wrist.L",
    "clavicle.R",
    "upperarm01.R",
    "lowerarm01.R",
    "wrist.R",
    "upperleg01.L",
    "lowerleg01.L",
    "foot.L",
    "upperleg01.R",
    "lowerleg01.R",
    "foot.R",
)
JOINT_INDEX: dict[str, int] = {name: index for index, name in enumerate(JOINTS)}

FINGER_BONES: tuple[str, ...] = tuple(
    f"finger{finger}-{phalanx}.{side}" for side in "LR" for finger in range(1, 6) for phalanx in range(1, 4)
)
SKELETON: tuple[str, ...] = JOINTS + FINGER_BONES
"""The 52 bones that move: the 22 joints, then the phalanges, which the four curls drive."""

CURLS: tuple[str, ...] = ("fingers.L", "thumb.L", "fingers.R", "thumb.R")

REGIONS: tuple[str, ...] = (
    "face",
    "scalp",
    "chest",
    "hips",
    "upper_arm.L",
    "forearm.L",
    "hand.L",
    "upper_arm.R",
    "forearm.R",
    "hand.R",
    "thigh.L",
    "shin.L",
    "foot.L",
    "thigh.R",
    "shin.R",
    "foot.R",
)
REGION_INDEX: dict[str, int] = {name: index for index, name in enumerate(REGIONS)}

COCO_KEYPOINTS: tuple[str, ...] = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)

KEYPOINT_GROUPS: tuple[str, ...] = (*("head",) * 5, *("left_arm", "right_arm") * 3, *("left_leg", "right_leg") * 3)
"""The label group that moves each COCO keypoint most."""

COCO_BONES: tuple[tuple[int, int], ...] = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12),
    (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip
"""Pairs of connected keypoints; odd indices are on the person's left, even ones except the nose on the right."""


FACIAL_ACTIONS: tuple[str, ...] = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""The blend shapes of ARKit's face tracking: what the person's left side does ends in `Left`."""


def mirror_name(name: str) -> str:
    """Swaps the side in the name of a joint, bone, curl, region (`.L`), keypoint (`left_`) or action (`Left`)."""
    for suffix, mirrored in ((".L", ".R"), (".R", ".L"), ("Left", "Right"), ("Right", "Left")):
        if name.endswith(suffix):
            return name.removesuffix(suffix) + mirrored
    for prefix, mirrored in (("left_", "right_"), ("right_", "left_")):
        if name.startswith(prefix):
            return mirrored + name.removeprefix(prefix)
    return name


def mirror_permutation(names: tuple[str, ...]) -> list[int]:
    """Entry i is the index of the mirror image of entry i; the permutation is its own inverse."""
    return [names.index(mirror_name(name)) for name in names]


# Left-right mirroring, x → −x: indexing an array of the body with these gives the array of its mirror image.
KEYPOINT_INDEX: dict[str, int] = {name: index for index, name in enumerate(COCO_KEYPOINTS)}
MIRRORED_KEYPOINTS = mirror_permutation(COCO_KEYPOINTS)
MIRRORED_JOINTS = mirror_permutation(JOINTS)
MIRRORED_CURLS = mirror_permutation(CURLS)
MIRRORED_REGIONS = mirror_permutation(REGIONS)
MIRRORED_PARTS = [0, *(1 + index for index in MIRRORED_REGIONS)]
"""For part maps, in which 0 is the background and 1 + i is region i."""
MIRROR_SIGNS = (-1.0, 1.0, 1.0)
"""The diagonal of the reflection M: a point p becomes M p, a rotation R becomes M R M."""
MIRROR_TURN_SIGNS = (1.0, -1.0, -1.0)
"""What the components of a rotation vector are multiplied by in the reflection."""
