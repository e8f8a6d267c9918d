import numpy as np
import pytest

from common.synthetic.scene.scene import Crops, SceneMaker, scene_maker


@pytest.fixture(scope="session")
def training_scenes() -> SceneMaker:
    """Fails, and says what to install, where there is no OpenGL over EGL."""
    return scene_maker("train", np.random.default_rng(0), backgrounds=6)


@pytest.fixture(scope="session")
def crops(training_scenes: SceneMaker) -> Crops:
    """48 training crops."""
    return training_scenes.make(seed=77, count=48, size=128)
