from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.testing as npt
import pytest
import torch

from common.arrays import FloatArray
from common.frames import Camera
from sender.perception.crop import CropBox, ray_rotation, to_frame
from sender.semantics.bodies import CROSS, ENTRIES, orientation, pelvis_in_crop
from sender.semantics.lifting_network import (
    FITTED,
    KEYPOINT_SCALE,
    MOVED,
    SEEN,
    LiftingConfig,
    LiftingNetwork,
    Observations,
    WindowCamera,
    attention_mask,
    crop_in_focal_lengths,
    lags_of,
    mean_crop,
)
from sender.semantics.lifting_network import tokens as tokens_in

_PLACES = slice(0, 34)
_CAMERA = Camera(640, 480, 700.0)
_CROPS = (CropBox(300, 120, 260), CropBox(20, -40, 300, 0.3), CropBox(330, 100, 240, -0.2))


def observations() -> Observations:
    """One person in the three crops, with the predicted entries of each."""
    frames, rng = len(_CROPS), np.random.default_rng(3)
    entries = rng.normal(0, 0.4, (1, frames, ENTRIES)).astype(np.float32) + np.eye(ENTRIES, dtype=np.float32)[0]
    boxes = [crop_in_focal_lengths(crop, _CAMERA) for crop in _CROPS]
    per_keypoint = rng.uniform(0.1, 0.9, (1, frames, 17)).astype(np.float32)
    return Observations(
        time_s=np.arange(frames)[None] / 30,
        centre=np.stack([centre for centre, _ in boxes])[None],
        side=np.array([[side for _, side in boxes]], np.float32),
        roll=np.array([[crop.roll for crop in _CROPS]], np.float32),
        seen=np.ones((1, frames), bool),
        view=np.array([[0, 1, 0.5]], np.float32),
        keypoints=rng.uniform(0, 1, (1, frames, 17, 2)).astype(np.float32),
        sigma=per_keypoint,
        visible=per_keypoint,
        entries=entries,
        log_sigma=np.zeros((1, frames, ENTRIES), np.float32),
        smoothed=entries + rng.normal(0, 0.1, entries.shape).astype(np.float32),
        joints_3d=rng.normal(0, 0.5, (1, frames, 17, 3)).astype(np.float32),
        joints_log_variance=per_keypoint,
        joint_depth=per_keypoint,
        depth_log_variance=np.zeros((1, frames), np.float32),
    )


def tokens(window: Observations, counted: Sequence[bool] = (True, True, True)) -> tuple[FloatArray, WindowCamera]:
    """In the camera of the mean crop of some frames."""
    centre, side = mean_crop(window, np.array([counted]))
    camera = WindowCamera.through(centre, side)
    return tokens_in(window, camera, side), camera


def test_keypoints_of_any_crop_are_where_their_pixels_are() -> None:
    """The same pixels, read in other crops, give the same token, and the window camera projects to them."""
    window = observations()
    pixels = np.random.default_rng(0).uniform(100, 400, (17, 2)).astype(np.float32)
    keypoints = np.stack([crop.to_units(pixels) for crop in _CROPS])[None]
    found, camera = tokens(replace(window, keypoints=keypoints), (False, True, False))
    places = found[0, :, _PLACES].reshape(3, 17, 2) / KEYPOINT_SCALE + 0.5
    npt.assert_allclose(places, np.broadcast_to(places[:1], places.shape), atol=1e-4)
    depth = np.linspace(2, 5, 17)[:, None]
    points = np.concatenate([(pixels - [320, 240]) / 700 * depth, depth], 1) @ camera.rotation[0]
    npt.assert_allclose(places[0], 0.5 + camera.focal[0] * points[:, :2] / points[:, 2:], atol=1e-4)


@pytest.mark.parametrize("name", ["entries", "smoothed"])
def test_predicted_bodies_are_where_each_crop_has_them(name: str) -> None:
    """The entries of a token, taken from the window camera to the frame, are those taken there from the crop."""
    window = observations()
    found, camera = tokens(window)
    entries = found[0, :, FITTED] + (found[0, :, MOVED] if name == "smoothed" else 0)
    every = WindowCamera(np.repeat(camera.rotation, 3, 0), np.repeat(camera.focal, 3))
    turns, pelvises = every.in_frame(entries)
    npt.assert_allclose(every.entries_of(turns, pelvises), entries[:, :9], atol=1e-4)
    for row, crop in enumerate(_CROPS):
        own = getattr(window, name)[0, row : row + 1]
        pelvis = pelvis_in_crop(own, np.full((1, 1), _CAMERA.focal_px / crop.side, np.float32))
        turn, place = to_frame(orientation(own, CROSS)[0], pelvis[0], ray_rotation(crop, _CAMERA))
        npt.assert_allclose(turns[row], turn, atol=1e-4)
        npt.assert_allclose(pelvises[row], place, atol=2e-3)


_LAGS = lags_of(torch.arange(6).expand(2, -1) / 30)


def _network() -> LiftingNetwork:
    torch.manual_seed(0)
    return LiftingNetwork(LiftingConfig(width=24, layers=2, heads=2, latent=4, hidden=16)).eval()


def _tokens(network: LiftingNetwork) -> torch.Tensor:
    tokens = torch.randn(2, 6, network.config.tokens, generator=torch.Generator().manual_seed(1))
    tokens[..., SEEN] = 1
    return tokens


@torch.no_grad()
def test_a_causal_frame_sees_none_after_it() -> None:
    network = _network()
    for parameter in network.decoder.leave.parameters():
        torch.nn.init.normal_(parameter)
    tokens, present = _tokens(network), torch.ones(2, 6, dtype=torch.bool)
    later = tokens.clone()
    later[:, 4:, SEEN + 1 :] += 1
    for causal in (True, False):
        mask = attention_mask(present, causal=causal)
        before, after = network(tokens, _LAGS, mask), network(later, _LAGS, mask)
        equal = [torch.equal(one[:, :4], other[:, :4]) for one, other in zip(before, after, strict=True)]
        assert all(equal) if causal else not any(equal)


@torch.no_grad()
def test_frames_that_are_not_there_change_nothing() -> None:
    """A window that is filled up gives what the shorter one gives, and is finite."""
    network = _network()
    tokens, present = _tokens(network), torch.ones(2, 6, dtype=torch.bool)
    present[:, :4] = False
    whole = network(tokens, _LAGS, attention_mask(present))
    short = network(tokens[:, 4:], _LAGS[:, 4:, 4:], attention_mask(present[:, 4:]))
    for one, other in zip(whole, short, strict=True):
        assert torch.isfinite(one).all()
        torch.testing.assert_close(one[:, 4:], other)
    assert (whole.sigma > 0).all()
