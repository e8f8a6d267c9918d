"""Trains the point diffusion (paper §5.2): the condition u_m and the denoiser over oriented points.

The decode stage must be trained first: u_m is computed from its features.  CPU recipe: an hour on one core with the
bodies of `python -m receiver.train.bodies`.  --export also writes the averaged weights, with their scores on test
bodies, when the training is over.

Examples:
  python -m receiver.train.diffusion --bodies bodies --out runs/diffusion --export
  python -m receiver.train.diffusion --bodies bodies --out runs/diffusion --resume --export
  python -m receiver.train.diffusion --bodies bodies --out runs/without --shipped --steps 500 --without u_m
"""

import argparse
import json
import math
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.body.anatomy import POINTS
from common.body.model import BodyModel
from common.errors import exit_code_of
from common.training.checkpoint import AveragedNetwork, load_checkpoint
from common.training.flags import add_result_flags, add_steps_flag, add_training_flags, parser_of
from common.training.loop import LoopConfig, TrainingLoop
from common.weights.devices import fast_autocast
from common.weights.loader import architecture_of, load_into, save_weights
from receiver.decode.network import DecodeConfig, DecodeNetwork
from receiver.decode.stage import load_network as load_decode
from receiver.diffusion.condition import DiffusionConfig, GeometryBias
from receiver.diffusion.denoiser import SIGMA_DATA_M, SIGMA_MAX_M, SIGMA_MIN_M, to_state
from receiver.diffusion.stage import WEIGHTS_NAME, DiffusionNetwork
from receiver.train.bodies import BodyTable, template_order
from receiver.train.diffusion_scores import diffusion_scores
from receiver.train.label_dropout import LabelDropoutConfig, drop_labels

REMOVALS = ("u_m", "geometry-bias", "z_prime")
# Most labels arrive whole: the errors of people who lack an arm would outweigh the millimetres of the others.
LABEL_DROPOUT = LabelDropoutConfig(whole=0.85)
_VALIDATION_BODIES = 64
_CENTRE_BODIES, _CENTRE_BATCH = 4096, 128
# Above this noise the mean of the training state is shifted towards another body's cloud in half of the batch.
_SHIFT_ABOVE_SIGMA_M = 0.1


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m receiver.train.diffusion", __doc__)
    parser.add_argument("--bodies", type=Path, required=True, help="folder that receiver.train.bodies wrote")
    parser.add_argument("--decode", type=Path, help="checkpoint of receiver.train.decode (default: shipped weights)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    add_training_flags(parser, minutes=60.0, batch=64, seed=2, threads=1)
    add_steps_flag(parser)
    parser.add_argument("--rate", type=float, default=6e-4, help="peak learning rate (default: %(default)g)")
    parser.add_argument("--centre-weight", type=float, default=1.0, help="weight of g(u_m) itself in the loss")
    parser.add_argument("--limit", type=int, default=60_000, help="bodies to use; each takes 18 kB (%(default)s)")
    parser.add_argument(
        "--without",
        choices=REMOVALS,
        nargs="+",
        default=[],
        help="ablation: u_m = 0; attention without its geometry bias (eq. 25); or z' of no labels, the same for all",
    )
    add_result_flags(parser, export_help="also write the weights and their scores when done")
    return parser.parse_args(arguments)


def decode_network(options: argparse.Namespace) -> DecodeNetwork:
    """The frozen decode network: a checkpoint's average, or the shipped one; label-independent `--without z_prime`."""
    if options.decode is None:
        network = load_decode()
    else:
        average = AveragedNetwork(DecodeNetwork(DecodeConfig(), torch.arange(POINTS)))
        average.load_state_dict(load_checkpoint(options.decode)["average"])
        network = average.network
    if "z_prime" in options.without:
        network.register_forward_pre_hook(lambda _, inputs: tuple(torch.zeros_like(part) for part in inputs))
    return network


@torch.no_grad()
def remove(network: DiffusionNetwork, removals: Collection[str]) -> None:
    """Zeroes and freezes the weights through which u_m or the geometry bias acts: equal to zeroing it, in use too."""
    frozen: list[Tensor] = []
    if "u_m" in removals:
        frozen += [network.denoiser.centre_weight, network.denoiser.condition_norm.weight]
    if "geometry-bias" in removals:
        frozen += [module.weight for module in network.modules() if isinstance(module, GeometryBias)]
    for weight in frozen:
        weight.zero_().requires_grad_(False)


@torch.no_grad()
def fit_centre(network: DiffusionNetwork, decode: DecodeNetwork, train: BodyTable, removals: Collection[str]) -> None:
    """Starts g at its closed-form optimum over the first training bodies."""
    keep = 0.0 if "u_m" in removals else 1.0
    count = min(len(train), _CENTRE_BODIES)
    batches = (train.batch(slice(first, first + _CENTRE_BATCH)) for first in range(0, count, _CENTRE_BATCH))
    network.denoiser.fit_centre(
        (
            keep * network.conditioner(decode(labels, torch.ones_like(labels))).u_m,
            to_state(cloud[..., :3], cloud[..., 3:]),
        )
        for labels, cloud in batches
    )


def initial_network(options: argparse.Namespace, decode: DecodeNetwork, bodies: BodyTable | None) -> DiffusionNetwork:
    """From scratch or from the shipped weights, without what is removed; g is fitted to bodies if they are given."""
    network = DiffusionNetwork(DiffusionConfig(), template_order(BodyModel.load()))
    if options.shipped:
        load_into(network, WEIGHTS_NAME, architecture_of(network.config)).train()
    remove(network, options.without)
    if bodies is not None and (options.without or not options.shipped):
        fit_centre(network, decode, bodies, options.without)
    return network


def optimiser_of(network: DiffusionNetwork, rate: float) -> torch.optim.AdamW:
    """AdamW with slower rates for g, which starts at its optimum, and u_m, which starts near one."""
    centre = [network.denoiser.centre_weight, network.denoiser.centre_bias]
    others = [p for p in network.denoiser.parameters() if not any(p is c for c in centre)]
    shares = [(centre, 0.02), (list(network.conditioner.parameters()), 0.2), (others, 1.0)]
    groups = [{"params": parameters, "lr": share * rate} for parameters, share in shares]
    return torch.optim.AdamW(groups, lr=rate, weight_decay=1e-3, betas=(0.9, 0.98), fused=True)


def random_batches(table: BodyTable, size: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of labels (B, 104) and oriented points (B, 2048, 6), drawn with replacement."""
    while True:
        yield table.batch(rng.integers(len(table), size=size))


def noised(x_0: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(noisy state x, σ (B,)) for clean states x_0 (B, P, 6), with σ log-uniform.

    Sampling starts from another frame's cloud or from a guessed body.  So at strong noise the mean of half of the
    batch is shifted towards another body's cloud, and only u_m identifies the body.
    """
    span = math.log(SIGMA_MAX_M / SIGMA_MIN_M)
    sigma = SIGMA_MIN_M * torch.exp(span * torch.rand(len(x_0), generator=generator))
    shift = torch.rand(len(x_0), generator=generator) * (sigma > _SHIFT_ABOVE_SIGMA_M)
    shift *= torch.rand(len(x_0), generator=generator) < 0.5
    mean = x_0 + shift[:, None, None] * (x_0.roll(1, 0) - x_0)
    return mean + sigma[:, None, None] * torch.randn(x_0.shape, generator=generator), sigma


def train(options: argparse.Namespace) -> None:
    """The whole training, top to bottom."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    checkpoint = options.out / "diffusion.pt"
    resumed = options.resume and checkpoint.exists()

    bodies = BodyTable.read(options.bodies, "train", POINTS, limit=options.limit)
    val = BodyTable.read(options.bodies, "val", POINTS, limit=_VALIDATION_BODIES)
    decode = decode_network(options)
    network = initial_network(options, decode, None if resumed else bodies)
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
        optimiser_of(network, options.rate),
        checkpoint,
        resume=resumed,
        facts={"seed": options.seed, "bodies": len(bodies), "shipped": options.shipped},
        without=options.without,
        evaluate=lambda average: diffusion_scores(average, decode, val, LABEL_DROPOUT, seed=0),
    )
    if resumed:
        generator.manual_seed(options.seed + loop.step)
        rng = np.random.default_rng((options.seed, loop.step))
    print(f"{len(bodies)} bodies, {sum(p.numel() for p in network.parameters()) / 1e6:.1f} M parameters", flush=True)

    for labels, cloud in loop.steps(random_batches(bodies, options.batch, rng)):
        x_0 = to_state(cloud[..., :3], cloud[..., 3:])
        with torch.no_grad():
            levels = decode(*drop_labels(labels, LABEL_DROPOUT, generator))
        x, sigma = noised(x_0, generator)

        with fast_autocast():
            denoised, g = network.denoiser.split(x, sigma, network.conditioner(levels))
        # EDM's weight 1/c_out² (Karras et al. 2022) makes the loss of every noise level equally large.
        weight = (sigma.square() + SIGMA_DATA_M**2) / (sigma * SIGMA_DATA_M).square()
        denoising = (weight[:, None, None] * (denoised - x_0).square()).mean()
        centring = (g - x_0).square().mean() / SIGMA_DATA_M**2
        loss = denoising + options.centre_weight * centring

        loop.descend(loss)
        loop.log(loss=loss, denoising=denoising, centre=centring)

    scores = diffusion_scores(loop.average, decode, val, LABEL_DROPOUT, seed=0)
    loop.write_scores(options.json or options.out / "scores.json", scores)
    if options.export:
        export(options, loop, decode)


def export(options: argparse.Namespace, loop: TrainingLoop[DiffusionNetwork], decode: DecodeNetwork) -> None:
    """Writes the averaged weights and their scores on test bodies."""
    test = BodyTable.read(options.bodies, "test", POINTS, limit=_VALIDATION_BODIES)
    scores = diffusion_scores(loop.average, decode, test, LABEL_DROPOUT, seed=0)
    recipe = {"steps": loop.step, "minutes": loop.spent_s / 60, **loop.facts}
    kind = architecture_of(loop.network.config)
    entry = save_weights(WEIGHTS_NAME, loop.average.state_dict(), kind, recipe, scores, directory=options.weights)
    print(f"wrote {options.weights / entry.file}: {json.dumps(scores)}")


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m receiver.train.diffusion", lambda: train(parse())))
