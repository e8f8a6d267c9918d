"""Learns the mixture of poses (`receiver.motion.mixture`): π_k, μ_k and L_k of eq. 20, by expectation maximisation.

Each mode of what a body does has components of its own, which begin at poses of their own, by legs and tilt.  Poses
and their mirror images count alike.  People before cameras stand, sit and gesture more than the captured ones do: the
shares of kinds of motion are set.

Examples:
  python -m receiver.train.poses --windows windows30 --export
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import logsumexp, softmax

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.body.anatomy import JOINT_INDEX
from common.body.label_space import LabelSpace
from common.errors import exit_code_of
from common.synthetic.dataset import Split
from common.synthetic.motion.windows import MotionWindows, open_windows
from common.training.run import parser_of_fit, save_fit
from receiver.motion.mixture import (
    ARCHITECTURE,
    DOWN,
    ENTRIES,
    MODES,
    SIZE,
    SPEED_S,
    WEIGHTS_NAME,
    PoseMixture,
    speed_of,
)

COMPONENTS: Mapping[str, int] = {"stand": 8, "stride": 7, "sit": 8, "crouch": 6, "lie": 3}
SHARES: Mapping[str, float] = {
    "sit": 0.36, "stand_talk": 0.12, "gesture": 0.14, "reach": 0.12, "walk": 0.1, "sport": 0.08, "crouch_lie": 0.05,
    "dance": 0.02, "run": 0.005, "other": 0.005,
}  # fmt: skip
"""Of each kind of motion among the people that cameras see."""
SEED = 1
LYING = MODES.index("lie")
_STRIDE = 3  # every so many frames
FPS = 30.0
# Of hands whose fingers were not captured, radians.
_CURL = (0.3, 0.3, 0.3, 0.3)
_STEPS = 40
# Least standard deviation of an entry within a component.
_FLOOR = 0.06
# Poses that the covariance of the mode counts as in that of a component.
_PRIOR_POSES = 20.0
# Cosine between the pelvis and the vertical, and its height over the ankles, metres.
_LYING, _CROUCHING_M = 0.5, 0.35
# The thighs are bent from that share of their length downwards on; a stride parts the ankles, or the thighs.
_BENT, _APART_M, _PARTED = 0.72, 0.42, 0.12
# By which components are told apart at first, and what these entries count.
_LEGS = np.concatenate([ENTRIES["left_leg"], ENTRIES["right_leg"], np.arange(SIZE)[DOWN]])
_LEG_WEIGHTS = np.where(np.isin(_LEGS, np.arange(SIZE)[DOWN]), 3.0, 1.0)


class Poses:
    """Poses of one split, and their mirror images.

    Attributes:
        x: (N, D) of the mixture.
        weights: (N,) that add up to 1.
        modes: (N,) index into `MODES`.
        clips: how many they are of.
    """

    def __init__(self, windows: MotionWindows, split: Split, stride: int = _STRIDE) -> None:
        before = round(SPEED_S * windows.fps)
        rows, clips = windows.starts(split, 1 + before, stride)
        speed = speed_of(np.asarray(windows.root[rows + before] - windows.root[rows], np.float64))
        rows = rows + before
        kinds, self.clips = np.array(windows.kinds)[clips], len(np.unique(clips))
        modes = modes_of(np.asarray(windows.joints[rows]), kinds == "sit")
        counts = {kind: float((kinds == kind).sum()) for kind in SHARES}
        weights = np.array([SHARES[kind] / counts[kind] for kind in kinds.tolist()])
        one = windows.bodies(rows, _CURL)
        bodies = type(one).concatenate([one, one.mirrored()])
        self.weights, self.modes = np.tile(weights / weights.sum() / 2, 2), np.tile(modes, 2)
        pose = LabelSpace.load().encode_pose(bodies.rotations, bodies.curl).double().numpy()
        # Few captured people lie, and none on the side: they are rolled about the trunk.
        angle = np.random.default_rng(SEED).uniform(0, 2 * np.pi, len(pose)) * (self.modes == LYING)
        x, y, z = bodies.rotations[:, 0, 1].double().numpy().T
        down = np.stack([np.cos(angle) * x + np.sin(angle) * z, y, np.cos(angle) * z - np.sin(angle) * x], axis=1)
        self.x = np.concatenate([pose, down, np.tile(speed, 2)[:, None]], axis=1)


def modes_of(joints: FloatArray, may_sit: BoolArray) -> IntArray:
    """(N,) index into `MODES` of joints (N, 22, 3) in the world; a low pose of who may sit is a seated one."""
    hips, knees, ankles = (
        joints[:, [JOINT_INDEX[f"{stem}.{side}"] for side in "LR"]] for stem in ("upperleg01", "lowerleg01", "foot")
    )
    thigh = knees - hips
    drop = thigh[..., 1] / np.linalg.norm(thigh, axis=-1)
    spine = joints[:, JOINT_INDEX["spine01"]] - joints[:, 0]
    upright = -spine[:, 1] / np.linalg.norm(spine, axis=1)
    height = ankles[..., 1].max(1) - joints[:, 0, 1]
    apart = np.linalg.norm((ankles[:, 0] - ankles[:, 1])[:, ::2], axis=1)
    bent = drop.mean(1) < _BENT
    modes = np.where((apart > _APART_M) | (np.abs(drop[:, 0] - drop[:, 1]) > _PARTED), 1, 0)
    modes[bent] = np.where(may_sit & (height > _CROUCHING_M), 2, 3)[bent]
    modes[upright < _LYING] = LYING
    return modes


class Fitted(NamedTuple):
    """A mixture of K components: (K,) shares, (K, D) means and (K, D, D) covariances."""

    shares: Float64Array
    means: Float64Array
    covariances: Float64Array


def fitted(x: Float64Array, weights: Float64Array, count: int, rng: np.random.Generator) -> Fitted:
    """The most likely mixture of `count` components of poses x (N, D), by expectation maximisation."""
    whole, legs = np.cov(x.T, aweights=weights, ddof=0), x[:, _LEGS] * _LEG_WEIGHTS
    # First by the nearest of so many poses.
    centres = legs[rng.choice(len(x), count, replace=False, p=weights / weights.sum())]
    shares_NK = np.eye(count)[np.square(legs[:, None] - centres).sum(2).argmin(1)]
    for _ in range(_STEPS):
        weights_NK = weights[:, None] * shares_NK + 1e-18
        totals = weights_NK.sum(0)
        # Poses follow each other closely: the effective number of them is what their weights say.
        poses = totals**2 / np.square(weights_NK).sum(0)
        covariances = [
            kept * np.cov(x.T, aweights=own, ddof=0) + (1 - kept) * whole + _FLOOR**2 * np.eye(SIZE)
            for kept, own in zip(poses / (poses + _PRIOR_POSES), weights_NK.T, strict=True)
        ]
        mixture = Fitted(totals / totals.sum(), weights_NK.T @ x / totals[:, None], np.stack(covariances))
        shares_NK = softmax(log_densities(x, mixture), axis=1)
    return mixture


def log_densities(x: Float64Array, mixture: Fitted) -> Float64Array:
    """(N, K) log π_k N(x; μ_k, Σ_k), up to a constant."""
    columns = []
    for share, mean, covariance in zip(*mixture, strict=True):
        whitening = np.linalg.inv(np.linalg.cholesky(covariance))
        white = (x - mean) @ whitening.T
        columns.append(np.log(share) + np.log(np.diag(whitening)).sum() - 0.5 * np.square(white).sum(1))
    return np.stack(columns, axis=1)


def learned(poses: Poses, seed: int = SEED) -> tuple[Fitted, IntArray]:
    """The mixture of all modes, and the mode of each component."""
    rng = np.random.default_rng(seed)
    parts, modes = [], []
    for mode, count in enumerate(COMPONENTS.values()):
        own = poses.modes == mode
        part = fitted(poses.x[own], poses.weights[own], count, rng)
        parts.append(part._replace(shares=part.shares * poses.weights[own].sum()))
        modes += [mode] * count
    shares, means, covariances = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Fitted(shares / shares.sum(), means, covariances), np.array(modes)


def scores(poses: Poses, mixture: Fitted, modes: IntArray) -> dict[str, float]:
    """Of other poses whose legs nobody sees: how often the mode is right, and its mean log probability."""
    factors = np.asarray(np.linalg.cholesky(mixture.covariances), np.float64)
    model = PoseMixture(mixture.shares, mixture.means, factors, modes)
    given = model.given(frozenset(("left_leg", "right_leg")), frozenset())
    shares_NK = softmax(np.stack([given.log_shares(x) for x in poses.x]), axis=1)
    shares_NM = shares_NK @ (modes[:, None] == np.arange(len(MODES)))
    true = shares_NM[np.arange(len(poses.x)), poses.modes]
    return {
        "mode_right": float(poses.weights @ (shares_NM.argmax(1) == poses.modes)),
        "mode_nats": float(poses.weights @ -np.log(np.maximum(true, 1e-9))),
        "pose_nats": float(poses.weights @ -logsumexp(log_densities(poses.x, mixture), axis=1)),
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of_fit("receiver.train.poses", __doc__ or "")
    folder = "folder of common.synthetic.motion.windows, 30 frames a second"
    parser.add_argument("--windows", type=Path, required=True, help=folder)
    return parser.parse_args(arguments)


def train(options: argparse.Namespace) -> None:
    """The whole fit, top to bottom."""
    windows = open_windows(options.windows, FPS)
    poses = Poses(windows, "train")
    mixture, modes = learned(poses)
    tensors = {
        "shares": torch.from_numpy(mixture.shares).float(),
        "means": torch.from_numpy(mixture.means).half(),
        "factors": torch.from_numpy(np.linalg.cholesky(mixture.covariances)).half(),
        "modes": torch.from_numpy(modes),
    }
    recipe = {"clips": poses.clips, "components": COMPONENTS, "shares": SHARES, "seed": SEED}
    measured = scores(Poses(windows, "val"), mixture, modes)
    save_fit(options, WEIGHTS_NAME, tensors, ARCHITECTURE, recipe, measured, storage="exact")


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m receiver.train.poses", lambda: train(parse())))
