"""The vocabulary of semantic labels: groups, sizes, and what they control.

A label group is a vector whose entries are ordered from coarse to fine, each standardised to zero mean and unit
variance over the training poses (`common.body.label_space` has the transforms).  Any prefix of a group and any subset
of groups can be decoded: a missing entry is zero, which is the mean, or of `OPTIONAL_GROUPS` the neutral state.

A new label needs a change in this file and a training run.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from common.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class LabelGroup:
    """One named group of the vocabulary.

    Args:
        name: its name in messages, metrics and `frames.jsonl`.
        size: number of entries, coarse to fine.
        fast: whether it is sent with every frame; slow groups are sent when they change.
    """

    name: str
    size: int
    fast: bool


ROTATION_SCALE = 0.6
"""The orientation entries of `root` are entries of a rotation matrix divided by this."""

GROUPS: tuple[LabelGroup, ...] = (
    # Orientation as the first two columns of the rotation matrix (6), then x/z, y/z and log z of the pelvis (3).
    LabelGroup("root", 9, fast=True),
    LabelGroup("shape", 10, fast=False),
    LabelGroup("torso", 9, fast=True),
    LabelGroup("head", 6, fast=True),
    LabelGroup("left_arm", 9, fast=True),
    LabelGroup("right_arm", 9, fast=True),
    LabelGroup("left_leg", 9, fast=True),
    LabelGroup("right_leg", 9, fast=True),
    # Both wrists (6), and the curls of fingers and thumb of both hands (4).
    LabelGroup("hands", 10, fast=True),
    # Colours of the body regions (`common.body.anatomy.REGIONS`).
    LabelGroup("appearance", 24, fast=False),
    # Clothes, hair and shoes, which no sender sends now: displacement of the skin (`common.body.label_space`).
    LabelGroup("surface", 24, fast=False),
    # Jaw, cheeks, nose and eyes, beyond those of `shape` (`common.body.model`).
    LabelGroup("head_shape", 16, fast=False),
    # Facial actions, lids and gaze, and each hand's fingers beyond its curl (`common.body.faces`).
    LabelGroup("face", 12, fast=True),
    LabelGroup("eyes", 4, fast=True),
    LabelGroup("left_fingers", 8, fast=True),
    LabelGroup("right_fingers", 8, fast=True),
)

OPTIONAL_GROUPS: tuple[str, ...] = ("face", "eyes", "left_fingers", "right_fingers")
"""The groups of what is read only from near by: zero is a neutral face and evenly curled fingers, as when absent."""

LIMBS: tuple[str, ...] = ("head", "left_arm", "right_arm", "left_leg", "right_leg")
"""The groups of which nobody may see anything (`common.frames.unseen_limbs`), …"""
MAY_BE_UNSEEN: tuple[str, ...] = (*LIMBS, "hands", *OPTIONAL_GROUPS)
"""… and what goes with them: the confidence of an unseen group is 0."""

GROUP_BY_NAME: Mapping[str, LabelGroup] = {group.name: group for group in GROUPS}
GROUP_NAMES: tuple[str, ...] = tuple(group.name for group in GROUPS)
FAST_GROUPS: tuple[str, ...] = tuple(group.name for group in GROUPS if group.fast)
LABEL_SIZE: int = sum(group.size for group in GROUPS)


def group_slices() -> dict[str, slice]:
    """The slice of each group in the concatenated vector of `LABEL_SIZE` entries."""
    slices, start = {}, 0
    for group in GROUPS:
        slices[group.name] = slice(start, start + group.size)
        start += group.size
    return slices


def concatenate(labels: Mapping[str, FloatArray]) -> FloatArray:
    """Joins groups, or prefixes or a subset of them, to a vector (LABEL_SIZE,); absent entries are zero.

    Raises:
        ValueError: a name is not in the vocabulary, or a vector is longer than its group.
    """
    vector = np.zeros(LABEL_SIZE, dtype=np.float32)
    slices = group_slices()
    for name, values in labels.items():
        if name not in slices:
            raise ValueError(f"unknown label group {name!r}; the vocabulary has {', '.join(GROUP_NAMES)}")
        if len(values) > GROUP_BY_NAME[name].size:
            raise ValueError(f"label group {name!r} has {GROUP_BY_NAME[name].size} entries, got {len(values)}")
        start = slices[name].start
        vector[start : start + len(values)] = values
    return vector


def split(vector: FloatArray) -> dict[str, FloatArray]:
    """The inverse of `concatenate`, for a vector (LABEL_SIZE,). Raises ValueError if the vector has another shape."""
    if vector.shape != (LABEL_SIZE,):
        raise ValueError(f"expected a vector of {LABEL_SIZE} entries, got shape {vector.shape}")
    return {name: np.ascontiguousarray(vector[group], dtype=np.float32) for name, group in group_slices().items()}
