"""Fits how far off the entries of perception's pose head are (`sender.semantics.refine.PoseErrors`).

The logarithm of each entry's standard deviation is linear in what perception says of its certainty; the likelihood of
the true entries is maximised, with a weight decay.  The crops are rendered ones of the validation split: perception was
not trained on them.  Three quarters are fitted on, the others give the scores.  --export also writes the weights.

Examples:
  python -m sender.train.pose_errors --data dressed40 everyday41 --export
"""

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.body.label_space import LabelSpace
from common.errors import exit_code_of
from common.synthetic.render_shards import CropDataset
from common.tensor_rows import TensorRows
from common.training.run import fitted, parser_of_fit, save_fit
from common.weights.loader import architecture_of
from sender.perception.perception_network import certainty_of_features
from sender.perception.predictor import Perception, mirrored
from sender.semantics.bodies import crop_entries, pose_entries
from sender.semantics.refine import ERRORS_KIND, ERRORS_NAME, PoseErrors, PoseErrorsConfig
from sender.train.crops import true_parameters

_STEPS, _RATE, _DECAY = 300, 0.01, 0.3
_BATCH = 64


@dataclass(frozen=True, slots=True)
class Samples(TensorRows):
    """Features (N, F) of `PerceptionOutput.features` of rendered people, and their true label entries (N, E)."""

    features: Tensor
    entries: Tensor


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of_fit("sender.train.pose_errors", __doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of rendered shards")
    return parser.parse_args(arguments)


def gather(folders: list[Path], out: Path) -> tuple[Samples, Samples]:
    """People to fit on, and others to score on."""
    perception, known, scored = Perception.load(), list[Samples](), list[Samples]()
    for folder in folders:
        dataset = CropDataset([folder], "val")
        seen = Samples.cached(out / f"features-{folder.name}.pt", partial(samples_of, perception, dataset))
        most = 3 * len(seen) // 4
        known.append(seen[:most])
        scored.append(seen[most:])
    return Samples.concatenate(known), Samples.concatenate(scored)


@torch.no_grad()
def samples_of(perception: Perception, dataset: CropDataset) -> Samples:
    """One pass over a data set: each crop, then its mirror image, which flip augmentation sees anyway."""
    space, parts = LabelSpace.load(), list[Samples]()
    for truth in dataset.batches(_BATCH):
        body, output = true_parameters(truth), perception.observe(list(truth["image"]))
        focal = torch.from_numpy(np.asarray(truth["focal"], dtype=np.float32))
        for seen, person in ((output, body), (mirrored(output), body.mirrored())):
            parts.append(Samples(seen.features(), crop_entries(space, person, focal)))
    return Samples.concatenate(parts)


def errors_of(samples: Samples) -> tuple[Tensor, Tensor]:
    """Certainties (N, C), and the errors (N, E) of the pose head's entries."""
    entries = pose_entries(LabelSpace.load(), samples.features)
    return certainty_of_features(samples.features), entries - samples.entries


def fit(certainties: Tensor, errors: Tensor) -> PoseErrors:
    """The model of the largest likelihood."""
    mean, scale = certainties.mean(0), certainties.std(0).clamp_min(1e-3)
    net, standardised = PoseErrors(PoseErrorsConfig()), (certainties - mean) / scale
    torch.nn.init.zeros_(net.weight)
    net.bias.data = errors.square().mean(0).log() / 2

    def loss() -> Tensor:
        return surprise(net(standardised), errors).sum(1).mean() + _DECAY * net.weight.square().sum()

    fitted(net, loss, _STEPS, _RATE)
    net.weight.data /= scale
    net.bias.data -= net.weight.data @ mean
    return net


def surprise(log_sigma: Tensor, errors: Tensor) -> Tensor:
    """(N, E) negative log likelihood of normally distributed errors, nats, up to a constant."""
    return 0.5 * errors.square() * (-2 * log_sigma).exp() + log_sigma


def train(options: argparse.Namespace) -> None:
    """The whole fit, top to bottom."""
    known, scored = (errors_of(samples) for samples in gather(options.data, options.out))
    net, constant = fit(*known), known[1].square().mean(0).log() / 2
    scores = {
        "nats_per_entry": surprise(net(scored[0]), scored[1]).mean().item(),
        "nats_per_entry_one_sigma": surprise(constant, scored[1]).mean().item(),
        "people": len(scored[1]),
    }
    architecture = {"kind": ERRORS_KIND, **architecture_of(PoseErrorsConfig())}
    save_fit(options, ERRORS_NAME, net.state_dict(), architecture, {"crops": len(known[1])}, scores)


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.pose_errors", lambda: train(parse())))
