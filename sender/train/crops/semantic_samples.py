"""What the semantics network learns from: features X of people, and the label entries of their bodies.

Rendered people have their true bodies.  People of photographs get bodies that are fitted to their annotated keypoints:
the most likely labels by `sender.semantics.refine`, with the annotated positions in place of perception's, and what
perception expects where these leave a body open.  Those that do not fit are left out.

Shapes: N people, F features, E label entries, K = 17 keypoints.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from common.body.anatomy import JOINTS, MIRRORED_KEYPOINTS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters, KeypointKinematics
from common.body.rotations import axis_angle_to_matrix
from common.synthetic.dataset.shards import Batch, CropDataset
from common.tensor_rows import TensorRows
from sender.perception.inference.flip_augmentation import mirrored
from sender.perception.inference.predictor import Perception
from sender.perception.network.output import PerceptionOutput
from sender.semantics.crop_labels import body_in_crop, crop_entries, semantic_features
from sender.semantics.predictor import load_predictor
from sender.semantics.refine import Refiner, Targets
from sender.train.photographs.crops import PhotographCrops, PhotographCropSampler
from sender.train.photographs.dataset import PhotographDataset

HIPS = [11, 12]
_BATCH = 64
# Log of the focal lengths that photographs may have, crop widths: which one a photograph has is unknown.
_LOG_FOCAL_RANGE = float(np.log(1.2)), float(np.log(6.0))
# Logit of the visibility of an annotated keypoint; perception's own positions of the others count by this share.
_CERTAIN_LOGIT, _UNLABELLED_SHARE = 9.0, 0.3
# How often the refinement goes on from where it ended.
_ROUNDS = 3
# Largest mean distance of a fitted body's keypoints from the annotated ones, over the side of the box around these.
_FITS_WITHIN = 0.03


@dataclass(frozen=True, slots=True)
class Samples(TensorRows):
    """Features (N, F), label entries (N, E), landmarks (N, 39, 3) and focal lengths (N,), crop widths."""

    features: Tensor
    entries: Tensor
    landmarks: Tensor
    focal: Tensor


class SampleSource:
    """Makes samples with the perception in the package.

    Args:
        progress: is told how far it is.
    """

    def __init__(self, perception: Perception, progress: Callable[[str], object] = lambda _: None) -> None:
        self._perception, self._progress = perception, progress
        self._space, self._kinematics = LabelSpace.load(), KeypointKinematics(BodyModel.load())

    @torch.no_grad()
    def rendered(self, dataset: CropDataset) -> Samples:
        """One pass over a data set: each crop, then its mirror image, which flip augmentation sees anyway."""
        parts: list[Samples] = []
        for start in range(0, len(dataset), _BATCH):
            truth = dataset.batch(np.arange(start, min(start + _BATCH, len(dataset))))
            parameters = true_parameters(truth)
            focal = torch.from_numpy(np.asarray(truth["focal"], dtype=np.float32))
            output = self._perception.observe(list(truth["image"]))
            for observed, body in ((output, parameters), (mirrored(output), parameters.mirrored())):
                parts.append(self._samples(observed, crop_entries(self._space, body, focal), body, focal))
            if start // _BATCH % 50 == 0:
                self._progress(f"features {start}/{len(dataset)}")
        return Samples.concatenate(parts)

    @torch.no_grad()
    def fitted(self, photographs: PhotographDataset, count: int, seed: int) -> Samples:
        """About `count` random crops of people in photographs, and their mirror images, as far as a body fits."""
        rng = np.random.default_rng(seed)
        sampler = PhotographCropSampler(photographs, rng, self._perception.size)
        fitter = Fitter(Refiner.load())
        parts: list[Samples] = []
        for number, crops in zip(range(max(count // _BATCH, 1)), sampler.batches(_BATCH), strict=False):
            focal = torch.from_numpy(np.exp(rng.uniform(*_LOG_FOCAL_RANGE, _BATCH)).astype(np.float32))
            output = self._perception.observe(list(crops.image.permute(0, 2, 3, 1).numpy()))
            for observed, keypoints in ((output, annotated(crops)), (mirrored(output), mirrored_keypoints(crops))):
                entries, fits = fitter.fit(observed, keypoints, focal)
                body = body_in_crop(self._space, entries, focal)
                parts.append(self._samples(observed, entries, body, focal)[fits])
            if number % 50 == 0:
                self._progress(f"fitted bodies {number * _BATCH}/{count}")
        return Samples.concatenate(parts)

    def _samples(self, output: PerceptionOutput, entries: Tensor, body: BodyParameters, focal: Tensor) -> Samples:
        return Samples(
            semantic_features(self._space, output.features()), entries, landmarks(self._kinematics, body), focal
        )


class Fitter:
    """Fits bodies to annotated keypoints, beginning where the pose head puts them."""

    def __init__(self, refiner: Refiner) -> None:
        self._refiner, self._network = refiner, load_predictor()

    def fit(self, output: PerceptionOutput, keypoints: Tensor, focal: Tensor) -> tuple[Tensor, Tensor]:
        """Label entries (B, E) of B crops, and whether each body fits (B,).

        Args:
            keypoints: (B, K, 3) annotated positions in crop units, and 1 where there is one, else 0.
            focal: (B,) crop widths.
        """
        positions, labelled = keypoints[..., :2], keypoints[..., 2] > 0
        visible = (_UNLABELLED_SHARE * output.visible_logit.sigmoid()).logit()
        given = replace(
            output,
            keypoints_2d=torch.where(labelled[..., None], positions, output.keypoints_2d),
            keypoints_sigma=torch.where(labelled, torch.zeros_like(visible), output.keypoints_sigma),
            visible_logit=torch.where(labelled, torch.full_like(visible, _CERTAIN_LOGIT), visible),
        )
        entries, sigma = (each.numpy() for each in self._network(output.features()))
        targets = Targets.from_output(given, focal.numpy())
        refined = self._refiner.refine(entries, sigma, targets)
        for _ in range(_ROUNDS - 1):
            refined = self._refiner.refine(entries, sigma, targets, refined - entries)
        projected = torch.from_numpy(self._refiner.projected(refined, targets.focal))
        distance = (projected - positions).norm(dim=-1).masked_fill(~labelled, 0).sum(1) / labelled.sum(1).clamp_min(1)
        return torch.from_numpy(refined), distance < _FITS_WITHIN * extent(positions, labelled)


def annotated(crops: PhotographCrops) -> Tensor:
    """(B, K, 3) positions in crop units, and 1 where there is one."""
    return torch.cat([crops.keypoints_2d, crops.labelled[..., None]], dim=-1)


def mirrored_keypoints(crops: PhotographCrops) -> Tensor:
    """`annotated` of the mirror images."""
    keypoints = annotated(crops)[:, MIRRORED_KEYPOINTS]
    return torch.cat([1 - keypoints[..., :1], keypoints[..., 1:]], dim=-1)


def extent(positions_BK2: Tensor, labelled_BK: Tensor) -> Tensor:
    """(B,) the longer side of the box around the labelled positions; −∞ without any."""
    low = positions_BK2.masked_fill(~labelled_BK[..., None], torch.inf).amin(1)
    high = positions_BK2.masked_fill(~labelled_BK[..., None], -torch.inf).amax(1)
    return (high - low).amax(-1)


def true_parameters(batch: Batch) -> BodyParameters:
    """The true bodies of a batch of crops, in the crop's camera."""
    rotations = axis_angle_to_matrix(torch.from_numpy(np.asarray(batch["rotation_vectors"], dtype=np.float32)))
    rest = [torch.from_numpy(np.asarray(batch[name], dtype=np.float32)) for name in ("curl", "shape", "translation")]
    return BodyParameters(rotations, *rest)


def landmarks(kinematics: KeypointKinematics, parameters: BodyParameters) -> Tensor:
    """(N, 39, 3): 17 COCO keypoints, then 22 joints, relative to the middle of the hips; camera axes, metres."""
    keypoints, joints = kinematics(parameters)
    root = keypoints[:, HIPS].mean(1, keepdim=True)
    relative: Tensor = torch.cat([keypoints, joints[:, : len(JOINTS)]], dim=1) - root
    return relative
