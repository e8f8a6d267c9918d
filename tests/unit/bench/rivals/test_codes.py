"""Codes of pictures, video and meshes: what is encoded comes back, and coarser is smaller."""

import numpy as np
import pytest

from common.arrays import Image
from common.labels import LABEL_SIZE, group_slices
from tests.bench.rivals.bodies import Bodies, Posed, Reference
from tests.bench.rivals.codes import CODECS, VideoCodec, missing_draco, through_draco, through_stills, through_video

_SIDE = 24


@pytest.mark.parametrize("name", ["JPEG", "WEBP"])
def test_finer_picture_costs_bytes_and_is_more_exact(name: str) -> None:
    noisy = np.random.default_rng(0).normal(128, 30, (96, 96, 3)).clip(0, 255).astype(np.uint8)
    coarse, fine = (through_stills(name, quality, [noisy]) for quality in (10, 90))
    assert coarse.sizes[0] < fine.sizes[0]
    errors = [float(np.abs(sent.decoded[0].astype(int) - noisy).mean()) for sent in (coarse, fine)]
    assert errors[1] < errors[0] < 40


def moving_squares(count: int) -> list[Image]:
    """A bright square that moves over a gradient."""
    pictures = []
    for number in range(count):
        picture = np.repeat(np.linspace(40, 120, 64)[None, :, None], 48, axis=0).repeat(3, axis=2)
        picture[16:32, 4 * number : 4 * number + 16] = 220
        pictures.append(picture.astype(np.uint8))
    return pictures


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_video_comes_back_in_order_without_signatures_and_with_one_key_frame(codec: VideoCodec) -> None:
    pictures = moving_squares(8)
    fine, coarse = (through_video(codec, pictures, 30, crf) for crf in (10, 50))
    errors = [np.abs(found.astype(int) - old).mean() for found, old in zip(fine.decoded, pictures, strict=True)]
    # In another order the moving square would be elsewhere.
    assert max(errors) < 3
    assert sum(fine.sizes) > 1.3 * sum(coarse.sizes)
    flat = [np.full((48, 64, 3), 128, np.uint8)] * 2
    # The signature of x264 alone has more than 600 bytes.
    assert sum(through_video(codec, flat, 30, 30).sizes) < 200
    sizes = through_video(codec, [np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)] * 40, 30, 20).sizes
    assert max(sizes[1:]) < sizes[0] / 4


@pytest.mark.skipif(missing_draco() is not None, reason="Draco is not installed")
def test_meshes_come_back_in_order() -> None:
    u, v = np.meshgrid(np.linspace(0, 1, _SIDE), np.linspace(0, 1, _SIDE))
    skins = np.stack([u, v, np.sin(2 * u) * v / 3], -1).reshape(1, -1, 3).astype(np.float32)
    number = np.arange(_SIDE * _SIDE).reshape(_SIDE, _SIDE)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]
    faces = np.concatenate([np.stack(corners, -1).reshape(-1, 3) for corners in ((a, b, c), (b, d, c))])
    coarse, fine = (through_draco(skins, faces.astype(np.int32), bits) for bits in (9, 12))
    assert np.abs(np.stack(fine.decoded) - skins).max() < 0.6 / 2**12
    assert sum(coarse.sizes) < sum(fine.sizes)


def test_errors_are_of_joints_and_skin_without_position_and_without_frames_that_show_nobody() -> None:
    bodies = Bodies()
    rows = np.random.default_rng(0).normal(0, 0.5, (4, LABEL_SIZE)).astype(np.float32)
    rows[:, group_slices()["root"]] = [1 / 0.6, 0, 0, 0, 1 / 0.6, 0, 0, 0, 0]
    # The nose is 10 mm off in each direction.
    truth = bodies.pose(bodies.parameters(rows)).joints.copy()
    truth[:, 0] += 0.01
    reference = Reference(bodies, rows, truth)
    posed = reference.posed
    exact = reference.errors(posed)
    assert (exact["added_joint_error_mm"], exact["added_chamfer_mm"]) == pytest.approx((0, 0), abs=0.01)
    assert exact["mpjpe_mm"] == pytest.approx(10 * 3**0.5 / 17, rel=1e-3)
    joints = posed.joints + np.float32(0.5)
    joints[1] = np.nan
    moved = Posed(joints, posed.skins + np.float32(0.5))
    assert reference.errors(moved)["added_joint_error_mm"] == pytest.approx(0, abs=1e-3)
    noise = np.random.default_rng(1).normal(0, 0.02, posed.skins.shape).astype(np.float32)
    rough = reference.mesh_errors(posed.skins + noise)
    assert reference.mesh_errors(posed.skins)["mpjpe_mm"] == pytest.approx(exact["mpjpe_mm"])
    assert rough["added_joint_error_mm"] > 0.1 and rough["added_chamfer_mm"] > 1
