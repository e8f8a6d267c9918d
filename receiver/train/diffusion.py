"""Trains the point diffusion (paper §5.2): `python -m receiver.train.diffusion --bodies DIR --out DIR --minutes 60`.

The decode stage comes first: the condition is made of its features.  `--decode` names a checkpoint of
`receiver.train.decode`; without it the exported weights are taken.  A run that was stopped goes on with `--resume`;
`--export` writes the averaged weights with their scores on test bodies into the package.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch

from common.body.anatomy import POINTS
from common.body.model import BodyModel
from common.errors import exit_code_of
from common.training.averaging import AveragedNetwork
from common.training.checkpoint import load_checkpoint, save_checkpoint
from common.training.schedule import warm_cosine
from common.weights.devices import fast_autocast
from receiver.decode.network import DecodeConfig, DecodeNetwork
from receiver.decode.stage import load_network as load_decode
from receiver.diffusion.condition import DiffusionConfig
from receiver.diffusion.denoiser import SIGMA_DATA_M, SIGMA_MAX_M, SIGMA_MIN_M, to_state
from receiver.diffusion.stage import DiffusionNetwork, save_network
from receiver.train.bodies import BodyTable, template_order
from receiver.train.diffusion_scores import diffusion_scores
from receiver.train.label_dropout import LabelDropoutConfig, drop_labels
from receiver.train.progress import AVERAGE_EVERY, TrainingClock

parser = argparse.ArgumentParser(prog="python -m receiver.train.diffusion", description=__doc__)
parser.add_argument("--bodies", type=Path, required=True, help="folder that receiver.train.bodies wrote")
parser.add_argument("--decode", type=Path, help="checkpoint of receiver.train.decode; default: the exported weights")
parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
parser.add_argument("--minutes", type=float, default=60.0)
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--rate", type=float, default=6e-4)
parser.add_argument("--centre-weight", type=float, default=1.0, help="weight of g(u_m) itself in the loss")
parser.add_argument("--seed", type=int, default=2)
parser.add_argument("--limit", type=int, default=60_000, help="use only so many bodies: 18 kB of memory each")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--resume", action="store_true")
parser.add_argument("--export", action="store_true", help="write the weights into the package when done")


def decode_network(checkpoint: Path | None) -> DecodeNetwork:
    """The frozen decode network: of a checkpoint's average, or the exported one."""
    if checkpoint is None:
        return load_decode()
    network = DecodeNetwork(DecodeConfig(), torch.arange(POINTS))
    average = AveragedNetwork(network)
    average.load_state_dict(load_checkpoint(checkpoint)["average"])
    return average.network


def main() -> None:
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)

    # The networks; where there is a checkpoint to resume, all of them from there.
    # Most labels arrive whole: the errors of those who lack an arm would drown the millimetres of the others.
    decode, arrival = decode_network(arguments.decode), LabelDropoutConfig(whole=0.85)
    network = DiffusionNetwork(DiffusionConfig(), template_order(BodyModel.load()))
    average = AveragedNetwork(network, decay=0.99)
    # g starts at its optimum and u_m under it near one: they move slowly, while the denoiser learns from nothing.
    centre = [network.denoiser.centre_weight, network.denoiser.centre_bias]
    others = [p for p in network.denoiser.parameters() if not any(p is c for c in centre)]
    paces = [(centre, 0.02), (list(network.conditioner.parameters()), 0.2), (others, 1.0)]
    groups = [{"params": parameters, "pace": pace} for parameters, pace in paces]
    optimiser = torch.optim.AdamW(groups, lr=arguments.rate, weight_decay=1e-3, betas=(0.9, 0.98), fused=True)
    checkpoint, step, spent_s = arguments.out / "diffusion.pt", 0, 0.0
    if arguments.resume and checkpoint.exists():
        state = load_checkpoint(checkpoint)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent_s = state["step"], state["spent_s"]
        generator.manual_seed(arguments.seed + step)
        rng = np.random.default_rng((arguments.seed, step))

    train = BodyTable.read(arguments.bodies, "train", POINTS, limit=arguments.limit)
    val = BodyTable.read(arguments.bodies, "val", POINTS, limit=64)
    print(f"{len(train)} bodies, {sum(p.numel() for p in network.parameters()) / 1e6:.1f} M parameters", flush=True)

    if step == 0:
        with torch.no_grad():
            batches = (train.batch(slice(first, first + 128)) for first in range(0, min(len(train), 4096), 128))
            network.denoiser.fit_centre(
                (
                    network.conditioner(decode(labels, torch.ones_like(labels))).u_m,
                    to_state(cloud[..., :3], cloud[..., 3:]),
                )
                for labels, cloud in batches
            )
        average.network.load_state_dict(network.state_dict())

    report_every, running = 100, torch.zeros(3)
    span = math.log(SIGMA_MAX_M / SIGMA_MIN_M)
    clock, over = TrainingClock(arguments.minutes, spent_s), False
    while not over:
        for group in optimiser.param_groups:
            group["lr"] = group["pace"] * arguments.rate * warm_cosine(clock.share(), warm_share=0.02)
        labels, cloud = train.batch(rng.integers(len(train), size=arguments.batch))
        x_0 = to_state(cloud[..., :3], cloud[..., 3:])
        with torch.no_grad():
            levels = decode(*drop_labels(labels, arrival, generator))

        # Noise of log-uniform strength.  The start of sampling is another frame's or a guessed body, not the truth:
        # where the noise is strong, half of the batch leans towards somebody else's cloud, and only u_m knows better.
        sigma = SIGMA_MIN_M * torch.exp(span * torch.rand(len(x_0), generator=generator))
        lean = torch.rand(len(x_0), generator=generator) * (sigma > 0.1)
        lean *= torch.rand(len(x_0), generator=generator) < 0.5
        away = lean[:, None, None] * (x_0.roll(1, 0) - x_0)
        x = x_0 + away + sigma[:, None, None] * torch.randn(x_0.shape, generator=generator)

        with fast_autocast():
            denoised, g = network.denoiser.split(x, sigma, network.conditioner(levels))
        # EDM's weight 1/c_out²: every noise level counts alike.
        weight = (sigma.square() + SIGMA_DATA_M**2) / (sigma * SIGMA_DATA_M).square()
        denoising = (weight[:, None, None] * (denoised - x_0).square()).mean()
        centring = (g - x_0).square().mean() / SIGMA_DATA_M**2
        loss = denoising + arguments.centre_weight * centring

        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step, over = step + 1, clock.share() >= 1
        if step % AVERAGE_EVERY == 0:
            average.update(network)
        running += torch.stack([loss, denoising, centring]).detach() / report_every

        if step % report_every == 0:
            total, noise_part, centre_part = running.tolist()
            print(
                f"step {step} {clock.elapsed_s() / 60:.1f} min loss {total:.3f} denoising {noise_part:.3f} "
                f"centre {centre_part:.3f}",
                flush=True,
            )
            running.zero_()
        if step % 1000 == 0 or over:
            scores = diffusion_scores(average.network, decode, val, arrival, seed=0)
            print(json.dumps({name: round(value, 2) for name, value in scores.items()}), flush=True)
        if step % 50 == 1 or over:
            parts = {"network": network.state_dict(), "average": average.state_dict()}
            timing = {"step": step, "spent_s": clock.elapsed_s()}
            save_checkpoint(checkpoint, {**parts, "optimiser": optimiser.state_dict(), **timing})

    if arguments.export:
        test = BodyTable.read(arguments.bodies, "test", POINTS, limit=64)
        scores = diffusion_scores(average.network, decode, test, arrival, seed=0)
        recipe = {"bodies": len(train), "steps": step, "minutes": clock.elapsed_s() / 60, "seed": arguments.seed}
        save_network(average.network, recipe, scores)
        print(json.dumps(scores, indent=2), flush=True)


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m receiver.train.diffusion", main))
