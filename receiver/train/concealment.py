"""Fits the motion model with which the receiver estimates label groups that did not arrive.

DIR has the folders `cmu`, `deepmimic` and `makehuman/poses` of `python -m common.synthetic.motion.motion_table`.  The
whole motions of the split `train` are used, each as captured and mirrored; the scores are of the split `val`.

Examples:
  python -m receiver.train.concealment --source motions
  python -m receiver.train.concealment --source motions --weights weights
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import torch

from common.arrays import Float64Array
from common.body.label_space import LabelSpace
from common.body.model import BodyParameters
from common.body.rotations import axis_angle_to_matrix
from common.codec.quantiser import to_fixed
from common.errors import SourceError, exit_code_of
from common.synthetic.dataset.split import Split
from common.synthetic.motion.joint_limits import mirror
from common.synthetic.motion.motion_table import Clip, load_table, source_clips
from common.training.flags import parser_of
from common.training.label_sequences import label_clip
from common.weights.loader import WEIGHTS_DIRECTORY, save_weights
from receiver.concealment.motion_model import (
    COORDINATES,
    ENTRY_OF_COORDINATE,
    POSE,
    POSE_SIZE,
    WEIGHTS_NAME,
    MotionModel,
    coordinates_of,
    orientation_of,
)

# Weight of the ridge, relative to the sum of squares of each regressor.
_RIDGE: Final = 1e-3
# Larger velocities, σ per frame, are errors of the tracking.
_MAX_VELOCITY: Final = 0.6
# Largest factor of the pose's and velocity's state from frame to frame, and the steps in which the model is changed.
_MAX_SPECTRAL_RADIUS: Final = 0.998
_PULL_STEP: Final = 5e-4
# Variance that is added to each pose entry, and the curl of fingers and thumbs of poses, radians.
_POSE_VARIANCE: Final = 0.03
_CURL: Final = 0.35
_SEED: Final = 5


def mirrored(clip: Clip) -> Clip:
    """The clip as in a mirror."""
    place = clip.root_translation * np.array([-1.0, 1.0, 1.0], np.float32)
    return replace(clip, rotation_vectors=mirror(clip.rotation_vectors), root_translation=place)


def motions(source: Path, split: Split) -> Iterator[tuple[Float64Array, Float64Array]]:
    """Poses (T, P) and velocities (T, C) of each motion of a split and of its mirror image.

    Raises:
        SourceError: the folder does not have the motions.
    """
    space, generator = LabelSpace.load(), np.random.default_rng(_SEED)
    try:
        for clip in source_clips(source, split):
            for view in (clip, mirrored(clip)):
                fixed = to_fixed(label_clip(space, view, 0.0, generator))
                steps = [
                    coordinates_of(after, orientation_of(before)) - coordinates_of(before, orientation_of(before))
                    for before, after in pairwise(fixed)
                ]
                poses = [coordinates_of(row, orientation_of(row))[POSE] for row in fixed[1:]]
                yield np.array(poses), np.clip(steps, -_MAX_VELOCITY, _MAX_VELOCITY)
    except (OSError, ValueError) as error:
        raise SourceError(f"{source}: cannot read the motions: {error}") from error


def regressors(data: list[tuple[Float64Array, Float64Array]]) -> tuple[Float64Array, Float64Array]:
    """(N, P + C) pose and velocity of each frame that has a successor, and (N, C) the velocity of that."""
    inputs = [np.hstack([poses[:-1], velocities[:-1]]) for poses, velocities in data]
    return np.concatenate(inputs), np.concatenate([velocities[1:] for _, velocities in data])


def fit(data: list[tuple[Float64Array, Float64Array]], poses: Float64Array) -> MotionModel:
    """The model of motions.

    Args:
        data: poses (T, P) and velocities (T, C) of each.
        poses: (P, P) covariance of poses.
    """
    x, y = regressors(data)
    scale = np.sqrt(np.square(x).mean(axis=0)) + 1e-9
    scaled = x / scale
    normal = scaled.T @ scaled + _RIDGE * len(x) * np.eye(x.shape[1])
    regression = (np.linalg.solve(normal, scaled.T @ y) / scale[:, None]).T
    residuals = y - x @ regression.T
    return MotionModel(
        regression=regression,
        noise=residuals.T @ residuals / len(residuals),
        pose=poses,
        velocity=y.T @ y / len(y),
    )


def pose_covariance() -> Float64Array:
    """(P, P) of the diverse poses of the training split, regularised; the mean pose is zero."""
    turns = torch.from_numpy(load_table().poses_of("train"))
    count = len(turns)
    parameters = BodyParameters(
        axis_angle_to_matrix(turns), torch.full((count, 4), _CURL), torch.zeros(count, 10), torch.ones(count, 3)
    )
    poses = LabelSpace.load().encode(parameters).double().numpy()[:, ENTRY_OF_COORDINATE[POSE]]
    return np.asarray(poses.T @ poses / count + _POSE_VARIANCE * np.eye(POSE_SIZE))


def stable(model: MotionModel) -> MotionModel:
    """The model with so much pull of the pose to its mean that a group which never arrives stays bounded."""
    regression = model.regression.copy()
    pose = np.arange(POSE_SIZE)
    while spectral_radius(replace(model, regression=regression)) > _MAX_SPECTRAL_RADIUS:
        regression[POSE.start + pose, pose] -= _PULL_STEP
    return replace(model, regression=regression)


def spectral_radius(model: MotionModel) -> float:
    """Of pose and velocity; orientation and position only add up the velocity."""
    moving = np.arange(2 * COORDINATES) >= POSE.start
    return float(np.abs(np.linalg.eigvals(model.after(1)[0][np.ix_(moving, moving)])).max())


def scores(model: MotionModel, data: list[tuple[Float64Array, Float64Array]]) -> dict[str, float]:
    """How much of the change from frame to frame the model leaves, and of that of the velocity itself."""
    x, y = regressors(data)
    left = np.square(y - x @ model.regression.T).sum()
    constant = np.square(y - x[:, -COORDINATES:]).sum()
    return {
        "frames": float(len(x)),
        "unpredicted_share": float(left / np.square(y).sum()),
        "unpredicted_share_of_constant_velocity": float(constant / np.square(y).sum()),
        "spectral_radius": spectral_radius(model),
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of("python -m receiver.train.concealment", __doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder with the captured motions")
    parser.add_argument(
        "--weights", type=Path, default=WEIGHTS_DIRECTORY, metavar="DIR", help="folder to write to (the package's)"
    )
    options = parser.parse_args(arguments)
    return exit_code_of("python -m receiver.train.concealment", lambda: _train(options.source, options.weights))


def _train(source: Path, weights: Path) -> None:
    data, held_back = list(motions(source, "train")), list(motions(source, "val"))
    model = stable(fit(data, pose_covariance()))
    figures = scores(model, held_back)
    tensors = {
        name: torch.from_numpy(getattr(model, name)).float() for name in ("regression", "noise", "pose", "velocity")
    }
    frames = sum(len(poses) for poses, _ in data)
    recipe = {"command": "python -m receiver.train.concealment --source motions", "frames": frames, "ridge": _RIDGE}
    save_weights(WEIGHTS_NAME, tensors, {"coordinates": COORDINATES}, recipe, figures, half=False, directory=weights)
    print(f"fitted to {frames} frames; on motions held back: {figures}")


if __name__ == "__main__":
    sys.exit(main())
