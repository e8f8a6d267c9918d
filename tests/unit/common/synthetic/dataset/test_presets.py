"""Dataset presets."""

from dataclasses import replace

import numpy as np
import pytest

from common.body.anatomy import JOINT_INDEX
from common.synthetic.dataset import WIDE
from common.synthetic.motion.poses import PoseSampler


def test_seated_poses_bend_the_legs_and_keep_the_arms() -> None:
    standing = replace(WIDE, recipes=(1.0, 0.0, 0.0, 0.0))
    poses, seated = (
        PoseSampler("train", 3, preset=preset).sample(300).rotation_vectors
        for preset in (standing, replace(standing, seated=1.0))
    )
    legs = [JOINT_INDEX[name] for name in ("upperleg01.L", "upperleg01.R", "lowerleg01.L", "lowerleg01.R")]
    seated_angle, angle = (np.median(np.linalg.norm(batch[:, legs], axis=-1)) for batch in (seated, poses))
    assert seated_angle > 1.2 > angle
    # Seating shifts the random stream, so only the distribution of the arms can be compared.
    arms = [JOINT_INDEX["lowerarm01.L"], JOINT_INDEX["lowerarm01.R"]]
    assert seated[:, arms].std() == pytest.approx(poses[:, arms].std(), rel=0.1)
