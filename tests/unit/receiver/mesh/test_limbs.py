import numpy as np

from common.labels import LIMBS
from receiver.mesh.limbs import NO_LIMB, limbs_of_vertices
from receiver.mesh.skinned_glb import skeleton_from_dense

BONES = ("root", "spine05", "head", "clavicle.L", "upperarm01.L", "wrist.L", "finger1-1.L", "upperleg01.R", "foot.R")
PARENTS = np.array([-1, 0, 1, 1, 3, 4, 5, 0, 7])


def test_vertices_belong_to_the_limb_whose_bones_alone_they_follow() -> None:
    each = np.eye(len(BONES), dtype=np.float32)
    between = (each[0] + each[7]) / 2, (each[4] + each[6]) / 2
    limbs = limbs_of_vertices(skeleton_from_dense(BONES, PARENTS, np.stack([*each, *between])))
    named = [None if limb == NO_LIMB else LIMBS[limb] for limb in limbs]
    assert named == [None, None, "head", None, *["left_arm"] * 3, *["right_leg"] * 2, None, "left_arm"]
