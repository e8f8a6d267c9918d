import numpy as np
import pytest

from common.synthetic.scene.scene import Crops, SceneMaker, scene_maker


@pytest.fixture(scope="session")
def training_scenes() -> SceneMaker:
    """Training scenes with painted clothes; without OpenGL over EGL it fails and names the packages to install."""
    return scene_maker("train", np.random.default_rng(0), backgrounds=6)


@pytest.fixture(scope="session")
def crops(training_scenes: SceneMaker) -> Crops:
    """48 training crops of 128 pixels."""
    return training_scenes.make(seed=77, count=48, size=128)
