"""Fits what `sender.hands` knows of hands: the prior of finger angles, and where landmarks lie on our hand.

The prior's mean is that of Rocketbox's animations, its covariance theirs and that of fingers curled on their own.
Landmarks: MediaPipe's network reads rendered hands; each landmark gets the place at its bone that is nearest to all of
its positions in the pictures, by iteratively reweighted least squares.

Examples:
  python -m sender.train.hands.fit_prior --motions motion/rocketbox --export
"""

import argparse
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from common.arrays import Float64Array
from common.body.model import BodyModel
from common.errors import UsageError, exit_code_of
from common.io.command_line import parser_of
from common.synthetic.motion.fingers import recorded_fingers
from common.training.flags import add_export_flags
from common.weights.loader import save_weights
from sender.hands.fit import KIND, WEIGHTS_NAME
from sender.hands.landmarks import HandReader, Place, SeenHand, crop_of_landmarks
from sender.hands.skeleton import ANGLES, FINGERS, LANDMARKS, HandSkeleton
from sender.hands.stage import MIN_SCORE
from sender.train.hands.pictures import FOCAL_PX, HandPicture, HandPictures, TrueHand

_SEED = 20_000
_SIZE = (320, 240)
_STEPS = 12
# A landmark that is farther off, in lengths of the palm, weighs less.
_ROBUST = 0.05
# Standard deviations that the recordings lack, radians: of the flexion of a finger as a whole, by joint, of each joint
# alone, of spread and twist, and of the angles of the thumb.
_CURL = 0.9 * np.array([0, 0.7, 0, 1, 0.7])
_ALONE = np.array([0.1, 0.2, 0.03, 0.2, 0.2])
_THUMB = 0.2


def fit_prior(motions: Path, skeleton: HandSkeleton, body: BodyModel) -> tuple[Float64Array, Float64Array]:
    """Mean (A,) and precision (A, A) of the angles."""
    angles = skeleton.angles(recorded_fingers(motions, body, "train").astype(np.float64))
    covariance = np.cov(angles.T)
    covariance[:ANGLES, :ANGLES] += _THUMB**2 * np.eye(ANGLES)
    finger = np.outer(_CURL, _CURL) + np.diag(_ALONE**2)
    covariance[ANGLES:, ANGLES:] += np.kron(np.eye(FINGERS - 1), finger)
    return np.asarray(angles.mean(0)), np.asarray(np.linalg.inv(covariance))


def fit_offsets(pairs: list[tuple[TrueHand, Float64Array]]) -> Float64Array:
    """(L, 3) of the landmarks from the ends of the bones, metres.

    Args:
        pairs: hands, and their landmarks (L, 2) as those of a left hand, pixels from the principal point.
    """
    hands = [hand for hand, _ in pairs]
    seen = np.stack([landmarks for _, landmarks in pairs])
    ends = np.stack([hand.ends for hand in hands])
    turned = np.stack([hand.scale * hand.rotations for hand in hands])
    palm_px = np.array([hand.hand_px for hand in hands])[:, None] / 2
    # A landmark (x, y) is at p = end + R d where f p_x − x p_z = 0, and y likewise: linear in d.
    depth = ends[..., 2:]
    off = (FOCAL_PX * ends[..., :2] - seen * depth) / depth
    moved = (FOCAL_PX * turned[..., :2, :] - seen[..., None] * turned[..., 2:, :]) / depth[..., None]
    offsets = np.zeros((LANDMARKS, 3))
    for _ in range(_STEPS):
        distance = np.linalg.norm(off + np.einsum("nlij,lj->nli", moved, offsets), axis=-1) / palm_px
        weights = 1 / np.maximum(distance, _ROBUST) ** 0.5 / palm_px
        for landmark in range(LANDMARKS):
            rows = (moved[:, landmark] * weights[:, landmark, None, None]).reshape(-1, 3)
            offsets[landmark] = np.linalg.lstsq(rows, -(off[:, landmark] * weights[:, landmark, None]).ravel())[0]
    return offsets


def read(reader: HandReader, picture: HandPicture, hand: TrueHand, rng: np.random.Generator) -> SeenHand:
    """A hand as the sender reads it, with wrist and elbow about as far off as perception's."""
    wrist, elbow = (point + rng.normal(0, 0.12 * hand.hand_px, 2) for point in (hand.wrist, hand.elbow))
    first = reader.search(picture.image, Place(wrist, elbow, hand.hand_px), left=hand.left)
    return reader.read(picture.image, crop_of_landmarks(first.landmarks), left=hand.left)


def _pairs(motions: Path, reader: HandReader, count: int) -> list[tuple[TrueHand, Float64Array]]:
    pairs, rng = [], np.random.default_rng(_SEED)
    for picture in islice(HandPictures(motions, "train", _SEED, _SIZE), count):
        for hand in picture.hands:
            seen = read(reader, picture, hand, rng)
            if seen.score >= MIN_SCORE and seen.is_right:
                landmarks = seen.landmarks[:, :2] - np.array(_SIZE) / 2
                pairs.append((hand, landmarks if hand.left else landmarks * [-1, 1]))
    return pairs


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of("python -m sender.train.hands.fit_prior", __doc__)
    parser.add_argument("--motions", type=Path, required=True, help="folder of Rocketbox's animations (*.bvh)")
    parser.add_argument("--pictures", type=int, default=1500, help="rendered people (default %(default)s)")
    add_export_flags(parser, "write the prior and its entry in the manifest")
    options = parser.parse_args(arguments)
    return exit_code_of(parser.prog, lambda: _fit(options))


def _fit(options: argparse.Namespace) -> None:
    reader, body = HandReader.load(), BodyModel.load()
    if reader is None:
        raise UsageError("MediaPipe's networks are missing; build Bodywire where pip finds mediapipe 0.10.21")
    skeleton = HandSkeleton.from_body(body)
    mean, precision = fit_prior(options.motions, skeleton, body)
    pairs = _pairs(options.motions, reader, options.pictures)
    offsets = fit_offsets(pairs)
    print(
        f"landmarks of {len(pairs)} hands, {1e3 * np.linalg.norm(offsets, axis=1).mean():.1f} mm from the bones' ends"
    )
    if options.export:
        arrays = {"mean": mean, "precision": precision, "offsets": offsets}
        tensors = {name: torch.from_numpy(array).float() for name, array in arrays.items()}
        recipe = {"pictures": options.pictures, "seed": _SEED, "hands": len(pairs)}
        save_weights(WEIGHTS_NAME, tensors, {"kind": KIND}, recipe, {}, storage="float32", directory=options.weights)


if __name__ == "__main__":
    raise SystemExit(main())
