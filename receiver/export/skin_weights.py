"""The skinning weights of the body model, for bodies that have fewer.

Published bodies once had the four largest weights of each vertex, in the pose of their frame. The body model has up to
seven, and a character, which takes other poses, needs them.
"""

import functools
from typing import TYPE_CHECKING

import numpy as np

from common.arrays import FloatArray
from receiver.mesh.skinned_glb import Skeleton

if TYPE_CHECKING:
    from common.body.model import BodyModel
    from receiver.body.skinning import BodySkin


def full_weights(published: Skeleton) -> Skeleton:
    """The skeleton with all weights of the body model, if it is the body model's; otherwise as it is."""
    skin = load_body_skin()[1]
    if not _equal_but_for_span(published, skin.skeleton_with(published.vertex_joints.shape[1])):
        return published
    return spanning_skeleton(skin.span.shares_of(published))


def is_of_body_model(skeleton: Skeleton) -> bool:
    """Whether a skeleton from `full_weights` is the body model's."""
    return _equal_but_for_span(skeleton, load_body_skin()[1].skeleton)


def spanning_skeleton(shares: FloatArray) -> Skeleton:
    """All weights of a body of which hips and legs (L,) follow the other leg by these shares."""
    skin = load_body_skin()[1]
    return skin.skeleton.reweighted(skin.span.reweighted(shares)) if shares.any() else skin.skeleton


@functools.cache
def load_body_skin() -> "tuple[BodyModel, BodySkin]":
    """The body model, and its skin as it is published."""
    # The networks' library takes seconds, which exports without a mesh need not wait for.
    from common.body.model import BodyModel
    from receiver.body.skinning import BodySkin

    model = BodyModel.load()
    return model, BodySkin.from_model(model)


def _equal_but_for_span(one: Skeleton, other: Skeleton) -> bool:
    """Whether joints are equal, and the weights of all vertices that clothes cannot change."""
    if one.names != other.names or not np.array_equal(one.parents, other.parents):
        return False
    if one.vertex_joints.shape != other.vertex_joints.shape:
        return False
    kept = np.ones(len(one.vertex_joints), np.bool_)
    kept[load_body_skin()[1].span.vertices] = False
    return np.array_equal(one.vertex_joints[kept], other.vertex_joints[kept]) and np.allclose(
        one.vertex_weights[kept], other.vertex_weights[kept], atol=1e-6
    )
