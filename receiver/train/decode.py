"""Trains the decode stage (paper §5.1): labels to the mixture latent z' and three levels of geometry features.

CPU recipe: 100,000 bodies of `python -m receiver.train.bodies` (ten minutes on one core), then an hour on one core.
--export also writes the averaged weights, with their scores on test bodies, when the training is over.

Examples:
  python -m receiver.train.decode --bodies bodies --out runs/decode --export
  python -m receiver.train.decode --bodies bodies --out runs/decode --resume --export
  python -m receiver.train.decode --bodies bodies --out runs/short --steps 200 --limit 20000
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.arrays import FloatArray
from common.body.model import BodyModel
from common.errors import exit_code_of
from common.training.distributed import Workers
from common.training.flags import add_result_flags, add_steps_flag, add_training_flags, parser_of
from common.training.loop import LoopConfig, TrainingLoop
from common.weights.devices import fast_autocast
from common.weights.loader import architecture_of, load_into, save_weights
from receiver.decode.geometry_image import LEVEL_SIZES, true_levels
from receiver.decode.network import DecodeConfig, DecodeNetwork
from receiver.decode.stage import WEIGHTS_NAME
from receiver.train.bodies import BodyTable, template_order
from receiver.train.decode_loss import LossWeights, balance_loss, diversity_loss, kl_to_arrived, level_error
from receiver.train.decode_scores import decode_scores
from receiver.train.label_dropout import LabelDropoutConfig, drop_labels

LABEL_DROPOUT = LabelDropoutConfig()
_AXES_BODIES = 8192
# bf16 until here, where it is faster; float32 for the rest, for the last millimetre.
_HALF_PRECISION_SHARE = 0.95


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m receiver.train.decode", __doc__)
    parser.add_argument("--bodies", type=Path, required=True, help="folder that receiver.train.bodies wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    add_training_flags(parser, minutes=60.0, batch=512, seed=1, threads=1)
    add_steps_flag(parser)
    parser.add_argument("--sampled", type=int, default=64, help="people of a batch whose latent is sampled")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate (default: %(default)g)")
    parser.add_argument("--limit", type=int, help="bodies to use (default: all)")
    add_result_flags(parser, export_help="also write the weights and their scores when done")
    return parser.parse_args(arguments)


def write_targets(labels_file: Path, targets_file: Path, network: DecodeNetwork, table: BodyTable) -> None:
    """Keeps the labels, and the true levels in the principal axes of the network, beside the checkpoint."""
    chunks = (table.batch(slice(first, first + 4096))[1] for first in range(0, len(table), 4096))
    targets = torch.cat([network.decoder.project(true_levels(places)) for places in chunks])
    labels_file.parent.mkdir(parents=True, exist_ok=True)
    np.save(targets_file, targets.numpy())
    np.save(labels_file, table.labels)


def random_batches(
    labels: FloatArray, targets: FloatArray, size: int, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of labels (B, 104) and targets (B, sum of axes), drawn with replacement."""
    while True:
        rows = rng.integers(len(labels), size=size)
        yield torch.from_numpy(labels[rows]), torch.from_numpy(targets[rows])


def train(options: argparse.Namespace) -> None:
    """The whole training, top to bottom."""
    workers = Workers.join()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    checkpoint = options.out / "decode.pt"
    resumed = options.resume and checkpoint.exists()

    val = BodyTable.read(options.bodies, "val", LEVEL_SIZES[-1], limit=512)
    network = DecodeNetwork(DecodeConfig(), template_order(BodyModel.load()))
    labels, targets, loop = prepare(options, network, rng, val, checkpoint, resumed, workers)
    if resumed or workers.count > 1:
        generator.manual_seed(workers.seed(options.seed, loop.step))
        rng = np.random.default_rng((options.seed, loop.step, workers.rank))
    loop.print(f"{len(labels)} bodies, {sum(p.numel() for p in network.parameters()) / 1e6:.1f} M parameters")

    weights, axes, config = LossWeights(), network.decoder.axes(), network.config
    sampled = slice(options.sampled)
    for whole_y, target in loop.steps(random_batches(labels, targets, workers.batch(options.batch), rng)):
        arrived_y, arrived = drop_labels(whole_y, LABEL_DROPOUT, generator)
        y, y_arrived, present = (part[:, network.entries] for part in (whole_y, arrived_y, arrived))

        with fast_autocast(wanted=loop.progress < _HALF_PRECISION_SHARE):
            whole = network.encoder(y[sampled], torch.ones_like(y[sampled]))
            prior = network.encoder(y_arrived[sampled], present[sampled])
            z_sampled = whole.sample(generator)
            z_mode = network.encoder.mode(y_arrived, present)
            decoded = network.decoder.coefficients(torch.cat([z_sampled, z_mode]))
        truth = torch.cat([target[sampled], target]).split(config.axes, dim=-1)
        errors = [level_error(*level) for level in zip(axes, truth, decoded, strict=True)]
        kl, kl_arrived = whole.kl_to_standard_normal().mean(), kl_to_arrived(whole, prior, z_sampled)
        diversity, balance = diversity_loss(z_sampled), balance_loss(prior.logits_BK)
        reconstruction = sum((g * error for g, error in zip(weights.levels, errors, strict=True)), torch.zeros(()))
        divergence = weights.kl * kl + weights.kl_arrived * kl_arrived
        loss = reconstruction + divergence + weights.diversity * diversity + weights.balance * balance

        loop.descend(loss)
        levels = {f"s_{i + 1}": error for i, error in enumerate(errors)}
        loop.log(loss=loss, **levels, kl=kl, kl_arrived=kl_arrived, diversity=diversity, balance=balance)

    if workers.first:
        scores = decode_scores(loop.average, val, LABEL_DROPOUT, 0)
        loop.write_scores(options.json or options.out / "scores.json", scores)
        if options.export:
            export(options, loop)
    workers.leave()


def prepare(
    options: argparse.Namespace,
    network: DecodeNetwork,
    rng: np.random.Generator,
    val: BodyTable,
    checkpoint: Path,
    resumed: bool,
    workers: Workers,
) -> tuple[FloatArray, FloatArray, TrainingLoop[DecodeNetwork]]:
    """Labels (N, 104), targets (N, sum of axes) and the loop, with the network's axes fitted, shipped or resumed."""
    labels_file, targets_file = options.out / "labels.npy", options.out / "targets.npy"
    table: BodyTable | None = None
    if not (resumed and labels_file.exists() and targets_file.exists()):
        table = BodyTable.read(options.bodies, "train", LEVEL_SIZES[-1], limit=options.limit)
    if options.shipped:
        load_into(network, WEIGHTS_NAME, architecture_of(network.config)).train()
    elif table is not None and not resumed:
        rows = rng.permutation(len(table))[:_AXES_BODIES]
        network.decoder.fit_axes(true_levels(table.batch(rows)[1]))
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=options.rate, weight_decay=1e-3, betas=(0.9, 0.98), fused=True
    )
    loop = TrainingLoop(
        LoopConfig(
            options.minutes,
            options.steps,
            samples_per_step=options.batch,
            warm_share=0.02,
            average_decay=0.99,
            average_every=5,
            evaluate_every_s=1200.0,
        ),
        network,
        optimiser,
        checkpoint,
        workers=workers,
        resume=resumed,
        facts={"seed": options.seed, "shipped": options.shipped},
        evaluate=lambda average: decode_scores(average, val, LABEL_DROPOUT, seed=0),
    )
    with workers.first_before_others():
        if table is not None and workers.first:
            write_targets(labels_file, targets_file, network, table)
    labels, targets = (np.load(file, mmap_mode="r") for file in (labels_file, targets_file))
    return labels, targets, loop


def export(options: argparse.Namespace, loop: TrainingLoop[DecodeNetwork]) -> None:
    """Writes the averaged weights and their scores on test bodies."""
    test = BodyTable.read(options.bodies, "test", LEVEL_SIZES[-1], limit=1024)
    scores = decode_scores(loop.average, test, LABEL_DROPOUT, seed=0)
    recipe = {
        "samples": loop.samples,
        "steps": loop.step,
        "minutes": loop.spent_s / 60,
        **loop.facts,
        "loss": asdict(LossWeights()),
        "label_dropout": asdict(LABEL_DROPOUT),
    }
    kind = architecture_of(loop.network.config)
    entry = save_weights(WEIGHTS_NAME, loop.average.state_dict(), kind, recipe, scores, directory=options.weights)
    print(f"wrote {options.weights / entry.file}: {json.dumps(scores)}")


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m receiver.train.decode", lambda: train(parse())))
