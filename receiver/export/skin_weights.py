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
    four, full = _model_skeletons()
    same = (
        published.names == four.names
        and published.vertex_joints.shape == four.vertex_joints.shape
        and np.array_equal(published.parents, four.parents)
        and np.allclose(published.vertex_weights, four.vertex_weights, atol=1e-6)
        and np.array_equal(published.vertex_joints, four.vertex_joints)
    )
    return full if same else published


@functools.cache
def _model_skeletons() -> tuple[Skeleton, Skeleton]:
    """The body model's skeleton as it is published, and with all weights."""
    model = BodyModel.load()
    skin = BodySkin.of(model)
    return skin.skeleton, skin.skeleton_with(model, INFLUENCES)
