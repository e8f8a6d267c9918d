import numpy as np

from common.body.anatomy import REGION_INDEX
from common.synthetic.dataset import DRESSED, WIDE
from common.synthetic.scene.scene import CLOSEUP, WHOLE, frame_people


def people(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Point clouds of a person's size, 1.8 m high, and the regions of their points."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (count, 300, 3)).astype(np.float32) * np.array([0.3, 0.9, 0.15], np.float32)
    height = points[0, :, 1]
    region = np.where(height < -0.6, REGION_INDEX["face"], np.where(height < 0, REGION_INDEX["chest"], 11))
    points[:, :, 1] = height
    return points, region


def test_complete_people_fit_their_crops() -> None:
    points, region = people(200)
    framing = frame_people(np.random.default_rng(1), points, region)
    placed = points + framing.translation[:, None]
    image = framing.focal[:, None, None] * placed[..., :2] / placed[..., 2:] + 0.5
    whole = framing.kind == WHOLE
    size = (image.max(1) - image.min(1)).max(1)[whole]
    centre = ((image.max(1) + image.min(1)) / 2)[whole]
    assert whole.sum() > 80
    assert size.min() > 1 / 1.53
    assert size.max() < 1 / 1.08
    assert np.abs(centre - 0.5).max() < 0.13


def test_truncated_people_extend_beyond_their_crops() -> None:
    points, region = people(200)
    framing = frame_people(np.random.default_rng(1), points, region)
    placed = points + framing.translation[:, None]
    lowest = (framing.focal[:, None] * placed[..., 1] / placed[..., 2] + 0.5).max(1)
    assert (lowest[framing.kind == 1] > 1).all()


def test_only_dressed_people_have_closeups() -> None:
    points, region = people(400)
    framing = frame_people(np.random.default_rng(1), points, region, DRESSED)
    close = framing.kind == CLOSEUP
    assert close.sum() > 5
    placed = points + framing.translation[:, None]
    image = framing.focal[:, None] * placed[..., 1] / placed[..., 2] + 0.5
    assert np.median((image[close] < 1).mean(1)) < 0.35
    assert not (frame_people(np.random.default_rng(1), points, region, WIDE).kind == CLOSEUP).any()


def test_minimum_distance_to_the_camera() -> None:
    points, region = people(200)
    framing = frame_people(np.random.default_rng(2), points, region)
    assert (points[..., 2] + framing.translation[:, None, 2]).min() > 0.2
