"""Codes of numbers, pictures, video and meshes: what is encoded comes back, and coarser is smaller."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from common.arrays import FloatArray, Image
from common.body.label_space import LabelSpace
from common.labels import LABEL_SIZE, group_slices
from common.training.label_sequences import label_sequences
from tests.bench.rivals.bodies import Bodies, Posed, Reference
from tests.bench.rivals.meshes import RangeDeltas, ZstdDeltas, missing_draco, through_deltas, through_draco
from tests.bench.rivals.parameter_coders import (
    Coder,
    PlainCoder,
    RangeCoder,
    StaticTables,
    ZstdCoder,
    least_squares_taps,
    training_clips,
)
from tests.bench.rivals.parameters import (
    FAST_SIZE,
    SLOW_SIZES,
    Numbers,
    fast_steps,
    fast_vectors,
    quantised,
    received,
    slow_step,
    unwrapped,
)
from tests.bench.rivals.stills import FORMATS, Still, through_stills
from tests.bench.rivals.stills import missing as missing_format
from tests.bench.rivals.video import CODECS, VideoCodec, through_video

_SIDE = 24


@pytest.fixture(scope="module")
def labels() -> FloatArray:
    rows, clip = label_sequences("test", 5)
    return np.asarray(rows[clip == 1][:40])


def numbers(labels: FloatArray, bits: int) -> list[Numbers]:
    parameters = LabelSpace.load().decode(torch.from_numpy(labels))
    return quantised(labels, unwrapped(fast_vectors(parameters)), bits)


def sizes_through(make: Callable[[], Coder], frames: list[Numbers]) -> list[int]:
    """Sizes of the frames, each of which is checked to come back."""
    encoder, decoder = make(), make()
    sizes = []
    for frame in frames:
        data = encoder.encode(frame)
        assert decoder.decode(data).same(frame)
        sizes.append(len(data))
    return sizes


def test_every_code_returns_the_numbers_and_prediction_saves_bytes(labels: FloatArray) -> None:
    clips, frames = training_clips(), numbers(labels, 10)
    delta, linear = (StaticTables.fit(clips, 10, order) for order in (1, 2))
    rng = np.random.default_rng(0)
    extreme = [
        Numbers(
            rng.integers(-3000, 3000, FAST_SIZE),
            {name: rng.integers(-500, 500, size) for name, size in SLOW_SIZES.items() if number % 2},
        )
        for number in range(6)
    ]
    totals = []
    for make in (ZstdCoder, lambda: RangeCoder(delta), lambda: RangeCoder(linear)):
        sizes_through(make, extreme)
        totals.append(sum(sizes_through(make, frames)))
    assert max(totals[1:]) < totals[0] < len(frames) * FAST_SIZE * 10 // 8
    plain = sizes_through(lambda: PlainCoder(10), frames)
    assert (plain[0], min(plain)) == (
        1 + -(-10 * (FAST_SIZE + sum(SLOW_SIZES.values())) // 8),
        1 + -(-10 * FAST_SIZE // 8),
    )
    assert least_squares_taps([np.stack([np.arange(30.0), np.arange(30.0) + 7], 1)])[:, 0] == pytest.approx([2, -1])


def test_received_bodies_are_exact_to_a_step_and_still_slow_numbers_are_sent_once(labels: FloatArray) -> None:
    parameters = LabelSpace.load().decode(torch.from_numpy(labels))
    found = received(numbers(labels, 12), 12)
    assert (found.translation - parameters.translation).abs().max() <= 0.51 * fast_steps(12)[-1]
    assert (found.rotations - parameters.rotations).abs().max() < 2 * fast_steps(12)[0]
    assert (found.shape[0] - parameters.shape[0]).abs().max() <= 0.51 * slow_step(12)
    still = np.repeat(np.random.default_rng(0).normal(size=(1, LABEL_SIZE)), 20, axis=0).astype(np.float32)
    assert [sorted(frame.slow) for frame in numbers(still, 8)] == [sorted(SLOW_SIZES)] + 19 * [[]]


@pytest.mark.parametrize("name", FORMATS)
def test_finer_picture_costs_bytes_and_is_more_exact(name: str) -> None:
    if missing_format(name):
        pytest.skip(str(missing_format(name)))
    noisy = np.random.default_rng(0).normal(128, 30, (96, 96, 3)).clip(0, 255).astype(np.uint8)
    coarse, fine = (through_stills(Still(name, 1, quality), [noisy]) for quality in (10, 90))
    assert coarse.sizes[0] < fine.sizes[0]
    errors = [float(np.abs(sent.pictures[0].astype(int) - noisy).mean()) for sent in (coarse, fine)]
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

    def error(decoded: tuple[Image, ...]) -> list[float]:
        return [float(np.abs(found.astype(int) - old).mean()) for found, old in zip(decoded, pictures, strict=True)]

    fine, coarse = (through_video(codec, pictures, 30, crf) for crf in (10, 50))
    assert max(error(fine.pictures)) < 3
    # In another order the moving square would be elsewhere.
    assert min(error(fine.pictures[::-1])[:2]) > 5
    assert sum(fine.sizes) > 1.3 * sum(coarse.sizes)
    flat = [np.full((48, 64, 3), 128, np.uint8)] * 2
    # The signatures of x264 and x265 alone have more than 600 bytes.
    assert sum(through_video(codec, flat, 30, 30).sizes) < 200
    sizes = through_video(codec, [np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)] * 40, 30, 20).sizes
    assert max(sizes[1:]) < sizes[0] / 4


def test_meshes_come_back() -> None:
    u, v = np.meshgrid(np.linspace(0, 1, _SIDE), np.linspace(0, 1, _SIDE))
    sheets = [np.stack([u, v, np.sin(2 * u + shift) * v / 3], -1).reshape(-1, 3) for shift in (0.0, 0.02)]
    skins = np.stack(sheets).astype(np.float32)
    training = np.rint((skins[1:] - skins[:1]) / 0.001).astype(np.int64)
    for coder in (ZstdDeltas(), RangeDeltas(training, _SIDE * _SIDE)):
        sent = through_deltas(skins[[0, 0]], skins, 0.001, coder)
        assert np.abs(sent.skins - skins).max() <= 0.00051
        assert sent.sizes[1] < sent.sizes[0] < 2 * skins[0].size
    far = skins + np.array([0.0, 2.0], np.float32)[:, None, None]
    coder = RangeDeltas(np.zeros((1, *skins[0].shape), np.int64), _SIDE * _SIDE)
    assert np.abs(through_deltas(skins[[0, 0]], far, 0.001, coder).skins - far).max() <= 0.00051
    if missing_draco() is None:
        number = np.arange(_SIDE * _SIDE).reshape(_SIDE, _SIDE)
        a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]
        faces = np.concatenate([np.stack(corners, -1).reshape(-1, 3) for corners in ((a, b, c), (b, d, c))])
        coarse, fine = (through_draco(skins, faces.astype(np.int32), bits) for bits in (9, 12))
        assert np.abs(fine.skins - skins).max() < 0.6 / 2**12
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
