"""The skinning weights that a published body leaves out.

A published body has the four largest weights of each vertex, because all readers of glTF accept four. The body model
has up to seven. A published body shows its own pose exactly. A character takes other poses, and needs all weights then.
"""

import functools
from typing import TYPE_CHECKING

import numpy as np

from common.arrays import FloatArray
from receiver.mesh.skinned_glb import Skeleton

if TYPE_CHECKING:
    from common.body.model import BodyModel
    from receiver.body.skinning import BodySkin

INFLUENCES = 8
"""Joints per vertex of a character: two sets of glTF's four."""


def full_weights(published: Skeleton) -> Skeleton:
    """The skeleton with all weights of the body model, if it is the body model's; otherwise as it is."""
    skin = load_body_skin()[1]
    if not _equal_but_for_span(published, skin.skeleton):
        return published
    return spanning_skeleton(skin.span.shares_of(published))


def is_of_body_model(skeleton: Skeleton) -> bool:
    """Whether a skeleton from `full_weights` is the body model's."""
    return _equal_but_for_span(skeleton, _full_skeleton())


def spanning_skeleton(shares: FloatArray) -> Skeleton:
    """All weights of a body of which hips and legs (L,) follow the other leg by these shares."""
    if not shares.any():
        return _full_skeleton()
    return _full_skeleton().reweighted(load_body_skin()[1].span.reweighted(shares, INFLUENCES))


@functools.cache
def load_body_skin() -> "tuple[BodyModel, BodySkin]":
    """The body model, and its skin as it is published."""
    # The networks' library takes seconds, which exports without a mesh need not wait for.
    from common.body.model import BodyModel
    from receiver.body.skinning import BodySkin

    model = BodyModel.load()
    return model, BodySkin.from_model(model)


@functools.cache
def _full_skeleton() -> Skeleton:
    return load_body_skin()[1].skeleton_with(INFLUENCES)


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
