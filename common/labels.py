"""The vocabulary of semantic labels: which groups exist, how long they are, what they drive.

A label group is a vector whose entries are ordered from coarse to fine, each standardised to zero mean and unit
variance over the training poses (`common.body.label_space` holds the transforms).  Any prefix of a group decodes, and
any subset of groups decodes to the best body it can: a missing entry is zero, the mean.

Adding a label touches this file and a training run.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from common.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class LabelGroup:
    """One named group of the vocabulary.

    Args:
        name: the field's name on the wire, in metrics and in `frames.jsonl`.
        size: number of entries, coarse to fine.
        fast: sent with every frame; slow groups are sent when they change.
    """

    name: str
    size: int
    fast: bool


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
    # Two wrists (6) and the curl of fingers and thumb of either hand (4).
    LabelGroup("hands", 10, fast=True),
    # Colours of the body regions (`common.body.regions`).
    LabelGroup("appearance", 24, fast=False),
)

GROUP_BY_NAME: Mapping[str, LabelGroup] = {group.name: group for group in GROUPS}
GROUP_NAMES: tuple[str, ...] = tuple(group.name for group in GROUPS)
FAST_GROUPS: tuple[str, ...] = tuple(group.name for group in GROUPS if group.fast)
LABEL_SIZE: int = sum(group.size for group in GROUPS)


def group_slices() -> dict[str, slice]:
    """Where each group stands in the concatenated vector of `LABEL_SIZE` entries."""
    slices, start = {}, 0
    for group in GROUPS:
        slices[group.name] = slice(start, start + group.size)
        start += group.size
    return slices


def concatenate(labels: Mapping[str, FloatArray]) -> FloatArray:
    """Groups (or prefixes of them, or a subset) as one vector of `LABEL_SIZE`; what is absent is zero.

    Raises:
        ValueError: a name is not in the vocabulary, or a vector is longer than its group.
    """
    vector = np.zeros(LABEL_SIZE, dtype=np.float32)
    slices = group_slices()
    for name, values in labels.items():
        if name not in slices:
            raise ValueError(f"unknown label group {name!r}; the vocabulary has {', '.join(GROUP_NAMES)}")
        if len(values) > GROUP_BY_NAME[name].size:
            raise ValueError(f"label group {name!r} holds {GROUP_BY_NAME[name].size} entries, got {len(values)}")
        start = slices[name].start
        vector[start : start + len(values)] = values
    return vector


def split(vector: FloatArray) -> dict[str, FloatArray]:
    """The inverse of `concatenate` for a whole vector of shape (LABEL_SIZE,)."""
    if vector.shape != (LABEL_SIZE,):
        raise ValueError(f"expected a vector of {LABEL_SIZE} entries, got shape {vector.shape}")
    return {name: np.ascontiguousarray(vector[where], dtype=np.float32) for name, where in group_slices().items()}
