"""Batches for the lifting network: windows of observations with the truth in their cameras.

Shapes: B windows, T frames, K = 17 keypoints, E = 80 entries, F columns of a token.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.arrays import BoolArray, FloatArray
from sender.semantics.crop_labels import PELVIS, entries_of_pelvis, pelvis_in_crop
from sender.semantics.lifting.network import lags_of
from sender.semantics.lifting.window import Observations, WindowCamera, mean_crop, tokens
from sender.train.lifting.motions import Moving
from sender.train.lifting.observed import assumed_focal, lessened, observe
from sender.train.lifting.recorded import RecordedClips


@dataclass(frozen=True, slots=True)
class Windows:
    """What the network is fed, and the truth in the window camera.

    Args:
        tokens: (B, T, F).
        causal: whether frames do not see later ones.
        lags: (B, T, T) by how much each frame (last axis) is later than another, seconds.
        focal: (B,) of the window camera, in widths of its crop.
        entries: (B, T, E).
        keypoints: (B, T, K, 3) from the pelvis, metres.
        places, inside: (B, T, K, 2) of the keypoints in the window's crop, 0…1, and (B, T, K) whether in the picture.
        contacts: (B, T, 4).
        seen: (B, T) whether the person was found.
        still: (B,) whether the camera stands still.
    """

    tokens: Tensor
    causal: bool
    lags: Tensor
    focal: Tensor
    entries: Tensor
    keypoints: Tensor
    places: Tensor
    inside: Tensor
    contacts: Tensor
    seen: Tensor
    still: Tensor


def windows_of(
    moving: Moving, observed: Observations, focal: FloatArray, counted: BoolArray, *, causal: bool
) -> Windows:
    """Of people who move and what is observed of them.

    Where the assumed focal length is wrong, the person's turn and distance are those that the crop shows, and the
    keypoints' places those where the assumed camera has the pixels.

    Args:
        focal: (B,) the assumed focal length, in widths of the picture.
        counted: (B, T) frames whose mean crop is the window camera's.
    """
    (count, frames), ratio = moving.time_s.shape, focal / moving.focal
    centre, side = mean_crop(observed, counted)
    camera, true = WindowCamera.through(centre, side), WindowCamera.through(centre * ratio[:, None], side * ratio)
    fed = tokens(observed, camera, side)
    every = WindowCamera(true.rotation.repeat(frames, 0), true.focal.repeat(frames))
    root = every.entries_of(moving.turn.reshape(-1, 3, 3), moving.pelvis.reshape(-1, 3)).reshape(count, frames, -1)
    # Where the pixel of the pelvis is, at the distance that the crop shows.
    pixel = moving.pelvis[..., :2] / np.maximum(moving.pelvis[..., 2:], 0.05) / ratio[:, None, None]
    place = camera.places(np.asarray(pixel, np.float32))
    shown = pelvis_in_crop(root.reshape(-1, root.shape[-1]), camera.focal.repeat(frames)[:, None])
    shown[:, :2] = (place.reshape(-1, 2) - 0.5) / camera.focal.repeat(frames)[:, None] * shown[:, 2:]
    root[..., PELVIS] = entries_of_pelvis(shown, camera.focal.repeat(frames)[:, None]).reshape(count, frames, 3)
    keypoints = moving.keypoints @ true.rotation[:, None]
    places = camera.places((moving.places / focal[:, None, None, None]).reshape(count, -1, 2))
    return Windows(
        torch.from_numpy(fed),
        causal,
        lags_of(torch.from_numpy(moving.time_s)),
        *map(
            torch.from_numpy,
            (
                camera.focal,
                np.concatenate([root, moving.body], -1).astype(np.float32),
                keypoints,
                places.reshape(moving.places.shape),
                moving.inside,
                moving.contacts.astype(np.float32),
                observed.seen,
                moving.still,
            ),
        ),
    )


def drawn(
    clips: RecordedClips,
    count: int,
    frames: int,
    rng: np.random.Generator,
    *,
    causal: bool,
    fps: float | None = None,
) -> Windows:
    """`count` windows of as many frames of clips, with what was seen of them.

    Args:
        causal: whether frames do not see later ones.
        fps: other than none is the clips', to judge by: then all is as it was seen; else rate and errors are random.
    """
    moving, boxes, errors, seen = clips.draw(count, frames, rng, fps, causal=causal)
    focal = assumed_focal(moving, rng)
    observed = observe(moving, boxes, focal, errors if fps else lessened(errors, rng), seen, rng)
    return windows_of(moving, observed, focal, _counted(observed.seen, rng, fps), causal=causal)


def _counted(seen: BoolArray, rng: np.random.Generator, fps: float | None) -> BoolArray:
    """(B, T) the frames of the mean crop: those that are seen, or some of them that follow each other."""
    frames = np.arange(seen.shape[1])
    first, last = np.sort(rng.integers(len(frames), size=(2, len(seen), 1)), 0)
    some = seen & (frames >= first) & (frames <= last)
    return np.where(some.any(1, keepdims=True) & (fps is None), some, seen)
