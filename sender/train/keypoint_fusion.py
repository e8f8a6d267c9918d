"""Fits the fusion of perception's keypoints with MoveNet's to people whom no network was trained on.

The people are those of the validation split of photographs with keypoints, whom both networks see in the annotated box
and in a jittered one, as they see streams and stills; for streams, where perception is certain more
often than in photographs, also rendered people new to it.  The parameters are those of greatest likelihood
of the labelled keypoints, and of what is visible.  Scores are cross-validated: each half of the photographs by the fit
to the other; the weights are of all.  What the networks see is kept in --out.  --export also writes the weights.

Examples:
  python -m sender.train.keypoint_fusion --data unseen --photographs photographs --export
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from common.arrays import Box
from common.errors import exit_code_of
from common.synthetic.render_shards import CropDataset
from common.tensor_rows import TensorRows
from common.training.run import fitted, parser_of_fit, save_fit
from common.weights.inference import NetworkInUse
from common.weights.loader import architecture_of
from sender.perception.crop import CropBox, View
from sender.perception.keypoint_fusion import (
    KIND,
    READINGS,
    WEIGHTS_NAME,
    FusionConfig,
    KeypointFusion,
    OwnKeypoints,
    Reading,
    ReadingFusion,
    SecondOpinion,
)
from sender.perception.movenet import NAMES, MoveNet, SecondKeypoints
from sender.perception.predictor import Perception
from sender.perception.read import predict_in_boxes
from sender.train.augment import box_of
from sender.train.crops import SHARES, crops_of, jittered, people_in_boxes, relative_errors, standard_error
from sender.train.photographs.dataset import Photograph, PhotographDataset

# Boxes of each person.
_VIEWS = 2
_STEPS, _RATE, _WEIGHT_DECAY = 300, 0.04, 1e-3
_CROPS_AT_ONCE = 32
_RENDERED = ("image", "mask", "keypoints_2d", "visible")
# How perception sees a crop, and MoveNet's readings beside it.
_OF_STREAMS: Final[tuple[Reading, ...]] = ("lightning", "thunder")
Seeing = View | Literal["thorough"]
_READINGS: Final[dict[Seeing, tuple[Reading, ...]]] = {
    "plain": _OF_STREAMS,
    "both": _OF_STREAMS,
    "thorough": ("thorough",),
}
_OF_VIDEO: Final = ("plain", "both")


@dataclass(frozen=True, slots=True)
class Seen(TensorRows):
    """N people as both networks saw them, and the truth; lengths in crop units.

    Args:
        own_places, own_sigma, own_visible: perception's.
        places, score, spread, apart, between: MoveNet's, as `SecondKeypoints`.
        truth: (N, 17, 2) annotated places.
        labelled, visible, judged: (N, 17), as of `PhotographCrops`.
        photograph: (N,) its index; negative for rendered people.
        reading: (N,) what MoveNet read, by its index in `READINGS`.
        exact: (N,) whether it counts in the scores: seen in the annotated box, of streams in one view.
    """

    own_places: Tensor
    own_sigma: Tensor
    own_visible: Tensor
    places: Tensor
    score: Tensor
    spread: Tensor
    apart: Tensor
    between: Tensor
    truth: Tensor
    labelled: Tensor
    visible: Tensor
    judged: Tensor
    photograph: Tensor
    reading: Tensor
    exact: Tensor

    @property
    def own(self) -> OwnKeypoints:
        return OwnKeypoints(self.own_places, self.own_sigma, self.own_visible)

    @property
    def second(self) -> SecondKeypoints:
        return SecondKeypoints(self.places, self.score, self.spread, self.apart, self.between)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of_fit("sender.train.keypoint_fusion", __doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of new rendered crops")
    parser.add_argument("--photographs", type=Path, required=True, help="folder of sender.train.photographs.dataset")
    return parser.parse_args(arguments)


class Observer:
    """Perception and MoveNet on people in boxes."""

    def __init__(self) -> None:
        self._perception = Perception.load(keypoints="ours")
        lightning, thunder = (MoveNet.load(name) for name in NAMES)
        self._second = SecondOpinion(lightning, thunder, dict[Reading, NetworkInUse]().__getitem__)

    def seen(
        self, item: Photograph, person: int, box: Box, index: int, views: Sequence[Seeing] = tuple(_READINGS)
    ) -> Iterator[Seen]:
        """One person in a box, in all ways in which streams and stills are read, or some of them."""
        crop, keypoints = CropBox.around(box), item.keypoints[person].copy()
        keypoints[:, :2] = crop.to_units(keypoints[:, :2])
        # Of the picture nothing is needed.
        truth = crops_of(np.zeros((1, 1, 1, 3), np.uint8), keypoints[None], np.zeros((1, len(keypoints)), np.bool_))
        exact = torch.tensor([np.array_equal(box, item.boxes[person])])
        last = truth.keypoints_2d, truth.labelled, truth.visible, truth.judged, torch.tensor([index])
        frame, boxes, crops = item.image, [box], [crop]
        for view in views:
            thorough = view == "thorough"
            seen_as: View = "both" if view == "thorough" else view
            output = predict_in_boxes(self._perception, frame, boxes, view=seen_as, thorough=thorough).output
            own = output.keypoints_2d, output.keypoints_sigma, output.visible_logit
            for reading in _READINGS[view]:
                second = self._second.read(reading, frame, boxes, crops, seen_as).columns()
                number = torch.tensor([READINGS.index(reading)])
                columns = [*own, *second, *last, number, exact & (view in ("plain", "thorough"))]
                yield Seen(*columns)


def rendered_people(crops: CropDataset) -> Iterator[Photograph]:
    """Rendered crops as photographs of one person each, with the box of what is visible of them."""
    for batch in crops.batches(_CROPS_AT_ONCE):
        for image, mask, places, visible in zip(*(batch[name] for name in _RENDERED), strict=True):
            if mask.any():
                label = np.where(visible > 0, 2, ((places >= 0) & (places <= 1)).all(axis=1))
                keypoints = np.column_stack([len(image) * places, label]).astype(np.float32)
                box = np.array([box_of(mask > 0)], np.float32)
                yield Photograph("people", "rendered", image, box, box[:0], keypoints[None])


def gather(photographs: PhotographDataset, crops: CropDataset) -> Seen:
    """Everybody with enough labelled keypoints, in the annotated box and in a jittered one, and rendered people."""
    rng, observer, rows = np.random.default_rng(0), Observer(), list[Seen]()
    for item, person, box, index in people_in_boxes(photographs, _VIEWS, rng, exact=True):
        rows += observer.seen(item, person, box, index)
    for number, item in enumerate(rendered_people(crops), 1):
        rows += observer.seen(item, 0, jittered(rng, item.boxes[0]), -number, _OF_VIDEO)
    return Seen.concatenate(rows)


def fit(seen: Seen) -> ReadingFusion:
    """The parameters of greatest likelihood, with a small penalty."""
    torch.manual_seed(0)
    net = ReadingFusion(FusionConfig())

    def loss() -> Tensor:
        mixture, visible = net(seen.own, seen.second)
        places: Tensor = -(mixture.log_density(seen.truth) * seen.labelled).sum() / seen.labelled.sum()
        return places + functional.binary_cross_entropy_with_logits(visible, seen.visible, weight=seen.judged)

    return fitted(net, loss, _STEPS, _RATE, _WEIGHT_DECAY)


def cross_validated(seen: Seen) -> dict[str, float]:
    """PCK of photographed people in annotated boxes, by perception, by MoveNet and by both."""
    fused = torch.zeros_like(seen.truth)
    for half in (0, 1):
        scored = seen.photograph % 2 == half
        fused[scored], _ = fit(seen[~scored])(seen[scored].own, seen[scored].second)[0].densest()
    of = seen.exact & (seen.photograph >= 0)
    scores, counted = {"people": float(of.sum())}, seen.labelled[of] > 0
    for name, found in (("own_", seen.own_places), ("movenet_", seen.places), ("", fused)):
        error = relative_errors(found[of], seen.truth[of], seen.labelled[of])
        scores |= {f"{name}pck{100 * share:02.0f}": float((error <= share)[counted].float().mean()) for share in SHARES}
        scores[f"{name}pck10_standard_error"] = standard_error(error <= 0.1, counted)
    return {name: round(value, 4) for name, value in scores.items()}


def train(options: argparse.Namespace) -> None:
    """The whole fit, top to bottom."""
    photographs = PhotographDataset(options.photographs, "val")
    crops = CropDataset(options.data, "val")
    rows = Seen.cached(options.out / "seen.pt", lambda: gather(photographs, crops))
    net, scores = KeypointFusion(FusionConfig()), dict[str, float]()
    for number, reading in enumerate(READINGS):
        seen = rows[rows.reading == number]
        scores |= {f"{reading}_{name}": value for name, value in cross_validated(seen).items()}
        net.readings[reading] = fit(seen)
    architecture = {"kind": KIND, **architecture_of(net.config)}
    save_fit(options, WEIGHTS_NAME, net.state_dict(), architecture, {"crops": len(crops)}, scores)


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.keypoint_fusion", lambda: train(parse())))
