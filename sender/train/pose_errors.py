"""Fits how far off the entries of perception's pose head are (`sender.semantics.predictor.PoseErrors`).

The logarithm of each entry's standard deviation is linear in what perception says of its certainty; the likelihood of
the true entries is maximised, with a weight decay.  The crops are rendered ones of the validation split: perception was
not trained on them.  Three quarters are fitted on, the others give the scores.  --export also writes the weights.

Examples:
  python -m sender.train.pose_errors --data dressed40 everyday41 --export
"""

import argparse
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from common.body.label_space import LabelSpace
from common.errors import exit_code_of
from common.io.command_line import parser_of
from common.synthetic.dataset.shards import CropDataset
from common.training.flags import add_export_flags
from common.training.run import write_json
from common.weights.loader import architecture_of, save_weights
from sender.perception.inference.predictor import Perception
from sender.perception.network.output import certainty_of_features
from sender.semantics.crop_labels import pose_entries
from sender.semantics.predictor import ERRORS_KIND, ERRORS_NAME, PoseErrors, PoseErrorsConfig
from sender.train.crops.semantic_samples import Samples, rendered_samples

_STEPS, _RATE, _DECAY = 300, 0.01, 0.3


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.pose_errors", __doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of rendered shards")
    parser.add_argument("--out", type=Path, default=Path("runs/pose_errors"), help="folder of scores (%(default)s)")
    add_export_flags(parser, "also write the weights and their scores")
    return parser.parse_args(arguments)


def gather(folders: list[Path], out: Path) -> tuple[Samples, Samples]:
    """People to fit on, and others to score on."""
    perception, fitted, scored = Perception.load(), list[Samples](), list[Samples]()
    for folder in folders:
        dataset = CropDataset([folder], "val")
        seen = Samples.cached(out / f"features-{folder.name}.pt", partial(rendered_samples, perception, dataset, print))
        most = 3 * len(seen) // 4
        fitted.append(seen[:most])
        scored.append(seen[most:])
    return Samples.concatenate(fitted), Samples.concatenate(scored)


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
    optimiser = torch.optim.Adam(net.parameters(), lr=_RATE)
    for _ in range(_STEPS):
        loss = surprise(net(standardised), errors).sum(1).mean() + _DECAY * net.weight.square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    net.weight.data /= scale
    net.bias.data -= net.weight.data @ mean
    return net.eval().requires_grad_(False)


def surprise(log_sigma: Tensor, errors: Tensor) -> Tensor:
    """(N, E) negative log likelihood of normally distributed errors, nats, up to a constant."""
    return 0.5 * errors.square() * (-2 * log_sigma).exp() + log_sigma


def train(options: argparse.Namespace) -> None:
    """The whole fit, top to bottom."""
    fitted, scored = (errors_of(samples) for samples in gather(options.data, options.out))
    net, constant = fit(*fitted), fitted[1].square().mean(0).log() / 2
    scores = {
        "nats_per_entry": surprise(net(scored[0]), scored[1]).mean().item(),
        "nats_per_entry_one_sigma": surprise(constant, scored[1]).mean().item(),
        "people": len(scored[1]),
    }
    print(scores)
    write_json(options.out / "scores.json", {"scores": scores})
    if options.export:
        recipe = {"command": "python -m sender.train.pose_errors --data dressed40 everyday41", "crops": len(fitted[1])}
        kind = {"kind": ERRORS_KIND, **architecture_of(PoseErrorsConfig())}
        tensors, directory = net.state_dict(), options.weights
        entry = save_weights(ERRORS_NAME, tensors, kind, recipe, scores, storage="float32", directory=directory)
        print(f"wrote {directory / entry.file}")


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.pose_errors", lambda: train(parse())))
