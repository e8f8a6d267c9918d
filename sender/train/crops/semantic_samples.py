"""What the deviations of the pose head are fitted on: perception's features of rendered people, and their true bodies.

Shapes: N people, F features, E label entries.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.body.label_space import LabelSpace
from common.body.model import BodyParameters
from common.body.rotations import axis_angle_to_matrix
from common.synthetic.dataset.shards import Batch, CropDataset
from common.tensor_rows import TensorRows
from sender.perception.inference.flip_augmentation import mirrored
from sender.perception.inference.predictor import Perception
from sender.semantics.crop_labels import crop_entries

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Samples(TensorRows):
    """Features (N, F) of `PerceptionOutput.features`, and true label entries (N, E)."""

    features: Tensor
    entries: Tensor


@torch.no_grad()
def rendered_samples(
    perception: Perception, dataset: CropDataset, progress: Callable[[str], object] = lambda _: None
) -> Samples:
    """One pass over a data set: each crop, then its mirror image, which flip augmentation sees anyway.

    Args:
        progress: is told how far it is.
    """
    space, parts = LabelSpace.load(), list[Samples]()
    for start in range(0, len(dataset), _BATCH):
        truth = dataset.batch(np.arange(start, min(start + _BATCH, len(dataset))))
        parameters = true_parameters(truth)
        focal = torch.from_numpy(np.asarray(truth["focal"], dtype=np.float32))
        output = perception.observe(list(truth["image"]))
        for observed, body in ((output, parameters), (mirrored(output), parameters.mirrored())):
            parts.append(Samples(observed.features(), crop_entries(space, body, focal)))
        if start // _BATCH % 50 == 0:
            progress(f"features {start}/{len(dataset)}")
    return Samples.concatenate(parts)


def true_parameters(batch: Batch) -> BodyParameters:
    """The true bodies of a batch of crops, in the crop's camera."""
    rotations = axis_angle_to_matrix(torch.from_numpy(np.asarray(batch["rotation_vectors"], dtype=np.float32)))
    rest = [torch.from_numpy(np.asarray(batch[name], dtype=np.float32)) for name in ("curl", "shape", "translation")]
    return BodyParameters(rotations, *rest)
