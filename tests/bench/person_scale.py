"""How sure people's height and distance are, on rendered people: `python -m tests.bench.person_scale`.

Columns: the share of true values that are within one and two published standard deviations (normal: 0.683 and 0.954),
the median of these deviations, the mean and the standard deviation of the errors, all of logarithms: 0.1 is 10 %.
Crops and focal lengths are given; *lens guessed* has the true one times a guess's error.  `--fit` prints the remainders
of `receiver.decode.person_scale` that have the greatest likelihood under Student's distribution with five degrees of
freedom, which a few people of whom hardly anything is seen do not govern.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import torch

from common.arrays import Float64Array
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.frames import Camera, PersonLabels
from common.imaging.focal_length import GUESSED_SIGMA, guessed_focal_px
from common.labels import split
from common.synthetic.dataset.presets import DRESSED, EVERYDAY
from common.synthetic.dataset.shards import REQUIRED_FIELDS, CropDataset
from common.weights.devices import to_numpy
from receiver.decode.labelled_body import read_labels
from receiver.decode.person_scale import (
    DISTANCE_REMAINDER,
    HEIGHT_REMAINDER,
    ScaleEstimator,
    mean_confidence,
    remainder,
)
from sender.train.semantic_samples import true_parameters
from tests.bench import crops, report
from tests.bench.perceived import CropSender

CHUNK = 16
_DEGREES_OF_FREEDOM = 5
_GIVEN = Camera(160, 160, 1000.0)


@dataclass(frozen=True, slots=True)
class Estimate:
    """One person: errors are true over estimated, sigmas published; of logarithms.

    Args:
        seen: mean confidence of the keypoints.
        lens: error of the focal length in `guessed`.
    """

    height_error: float
    distance_error: float
    height_sigma: float
    distance_sigma: float
    guessed_sigma: float
    seen: float
    lens: float


class Estimates:
    """Perceives crops, and compares their scales with the truth."""

    def __init__(self) -> None:
        body = BodyModel.load()
        self.sender, self._space = CropSender(), LabelSpace.load()
        self._kinematics, self._scales = KeypointKinematics(body), ScaleEstimator(body)

    @torch.inference_mode()
    def of_crops(self, dataset: CropDataset, indices: Sequence[int], rng: np.random.Generator) -> Iterator[Estimate]:
        """The people of some crops."""
        batch = dataset.batch(indices, REQUIRED_FIELDS)
        truth = true_parameters(batch)
        true_joints = to_numpy(self._kinematics(truth)[0])
        true_shapes = to_numpy(self._space.encode(truth))
        for row, crop in enumerate(self.sender.perceive(batch)):
            body = read_labels([crop.labels], self._space).parameters
            joints = to_numpy(self._kinematics(body)[0])[0]
            true_m, found_m = (np.linalg.norm(each[[11, 12]].mean(axis=0)) for each in (true_joints[row], joints))
            true_labels = PersonLabels(0, 1.0, split(true_shapes[row]))
            guess = Camera(160, 160, guessed_focal_px(160, 160))
            given, guessed = (self._scales.scale(crop.labels, camera, joints) for camera in (_GIVEN, guess))
            yield Estimate(
                float(np.log(self._scales.height_m(true_labels) / given.height_m)),
                float(np.log(true_m / found_m)),
                given.height_sigma_m / given.height_m,
                given.distance_sigma_m / float(found_m),
                guessed.distance_sigma_m / float(found_m),
                mean_confidence(crop.labels),
                float(rng.normal(0, GUESSED_SIGMA)),
            )


def coverage(errors: Float64Array, sigmas: Float64Array) -> report.Figures:
    """Shares of errors within their standard deviations, and the moments of both."""
    return {
        "within_1_share": float((np.abs(errors) < sigmas).mean()),
        "within_2_share": float((np.abs(errors) < 2 * sigmas).mean()),
        "median_sigma": float(np.median(sigmas)),
        "error_bias": float(errors.mean()),
        "error_sigma": float(errors.std()),
    }


def systems_of(people: Sequence[Estimate], preset: str) -> report.Systems:
    """The figures of the people of a preset."""
    columns = {name: np.array([getattr(person, name) for person in people]) for name in Estimate.__slots__}
    return {
        f"{preset}, height": coverage(columns["height_error"], columns["height_sigma"]),
        f"{preset}, distance, lens given": coverage(columns["distance_error"], columns["distance_sigma"]),
        f"{preset}, distance, lens guessed": coverage(
            columns["distance_error"] + columns["lens"], columns["guessed_sigma"]
        ),
    }


def fitted(people: Sequence[Estimate], what: str, used: tuple[float, float]) -> tuple[float, float]:
    """The most likely coefficients of the remainder of `height` or `distance`; the published sigmas have `used`."""
    errors, sigmas = (np.array([getattr(person, f"{what}_{name}") for person in people]) for name in ("error", "sigma"))
    seen = [person.seen for person in people]
    without = sigmas**2 - np.array([remainder(each, used) for each in seen]) ** 2

    def loss(coefficients: Float64Array) -> float:
        start, slope = coefficients.tolist()
        variance = without + np.array([remainder(each, (start, slope)) for each in seen]) ** 2
        tails = (_DEGREES_OF_FREEDOM + 1) * np.log1p(errors**2 / variance / _DEGREES_OF_FREEDOM)
        return float((np.log(variance) + tails).mean())

    start, slope = scipy.optimize.minimize(loss, used, method="Nelder-Mead").x.tolist()
    return start, slope


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("person_scale", __doc__, crops.SEED)
    report.add_amount(parser, "--count", "number of images of each preset", 480, 128)
    parser.add_argument("--fit", action="store_true", help="also print the remainders that fit these people")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    rng, estimates = np.random.default_rng(options.seed), Estimates()
    everybody: list[Estimate] = []
    systems: dict[str, report.Figures] = {}
    for preset in (EVERYDAY.name, DRESSED.name):
        dataset = CropDataset([crops.crop_set(options.count, options.seed, estimates.sender.size, preset)], "test")
        people: list[Estimate] = []
        for start in range(0, options.count, CHUNK):
            people += estimates.of_crops(dataset, range(start, min(start + CHUNK, options.count)), rng)
        systems |= systems_of(people, preset)
        everybody += people
    print(f"{options.count} test images of each preset (seed {options.seed})\n")
    print(report.table(systems, tuple(systems[f"{EVERYDAY.name}, height"])))
    if options.fit:
        for what, used in (("height", HEIGHT_REMAINDER), ("distance", DISTANCE_REMAINDER)):
            print("\n{}: a = {:.2f}, b = {:.2f}".format(what, *fitted(everybody, what, used)))
    report.write_json(options, systems, images=options.count)


if __name__ == "__main__":
    sys.exit(main())
