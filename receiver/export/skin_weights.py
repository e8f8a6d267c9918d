"""The skinning weights that a published body leaves out.

A published body has the four largest weights of each vertex, because all readers of glTF accept four. The body model
has up to seven. A published body shows its own pose exactly. A character takes other poses, and needs all weights then.
"""

import functools

import numpy as np

from common.body.model import BodyModel
from receiver.body.skinning import BodySkin
from receiver.mesh.skinned_glb import Skeleton

INFLUENCES = 8
"""Joints per vertex of a character: two sets of glTF's four."""


def full_weights(published: Skeleton) -> Skeleton:
    """The skeleton with all weights of the body model, if it is the body model's; otherwise as it is."""
    return _full_skeleton() if _equal(published, load_body_skin()[1].skeleton) else published


def is_of_body_model(skeleton: Skeleton) -> bool:
    """Whether a skeleton from `full_weights` is the body model's."""
    return _equal(skeleton, _full_skeleton())


@functools.cache
def load_body_skin() -> tuple[BodyModel, BodySkin]:
    """The body model, and its skin as it is published."""
    model = BodyModel.load()
    return model, BodySkin.from_model(model)


@functools.cache
def _full_skeleton() -> Skeleton:
    return load_body_skin()[1].skeleton_with(INFLUENCES)


def _equal(one: Skeleton, other: Skeleton) -> bool:
    return (
        one.names == other.names
        and one.vertex_joints.shape == other.vertex_joints.shape
        and np.array_equal(one.parents, other.parents)
        and np.array_equal(one.vertex_joints, other.vertex_joints)
        and np.allclose(one.vertex_weights, other.vertex_weights, atol=1e-6)
    )
