"""Trains the decode stage (paper §5.1): `python -m receiver.train.decode --bodies DIR --out DIR --minutes 60`.

CPU recipe: `python -m receiver.train.bodies --out DIR` first (100,000 bodies, ten minutes on one core), then an hour of
one core.  A run that was stopped goes on with `--resume`; `--export` writes the averaged weights with their scores on
test bodies into the package.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from common.body.model import BodyModel
from common.errors import exit_code_of
from common.training.averaging import AveragedNetwork
from common.training.checkpoint import load_checkpoint, save_checkpoint
from common.training.schedule import warm_cosine
from common.weights.devices import fast_autocast
from receiver.decode.geometry_image import LEVEL_SIZES, true_levels
from receiver.decode.loss import LossWeights, balance_loss, diversity_loss, kl_to_arrived, level_error
from receiver.decode.network import DecodeConfig, DecodeNetwork
from receiver.decode.stage import save_network
from receiver.train.bodies import BodyTable, template_order
from receiver.train.decode_scores import decode_scores
from receiver.train.label_dropout import LabelDropoutConfig, drop_labels
from receiver.train.progress import AVERAGE_EVERY, TrainingClock

parser = argparse.ArgumentParser(prog="python -m receiver.train.decode", description=__doc__)
parser.add_argument("--bodies", type=Path, required=True, help="folder that receiver.train.bodies wrote")
parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
parser.add_argument("--minutes", type=float, default=60.0)
parser.add_argument("--batch", type=int, default=512)
parser.add_argument("--sampled", type=int, default=64, help="people of a batch whose latent is sampled")
parser.add_argument("--rate", type=float, default=1.5e-3)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--limit", type=int, help="use only so many bodies")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--resume", action="store_true")
parser.add_argument("--export", action="store_true", help="write the weights into the package when done")


def main() -> None:
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)

    # The bodies in memory; the network, its average and the optimiser, from the checkpoint when there is one to resume.
    config, weights, arrival = DecodeConfig(), LossWeights(), LabelDropoutConfig()
    val = BodyTable.read(arguments.bodies, "val", LEVEL_SIZES[-1], limit=512)
    network = DecodeNetwork(config, template_order(BodyModel.load()))
    average = AveragedNetwork(network, decay=0.99)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=arguments.rate, weight_decay=1e-3, betas=(0.9, 0.98), fused=True
    )
    checkpoint, step, spent_s = arguments.out / "decode.pt", 0, 0.0
    if arguments.resume and checkpoint.exists():
        state = load_checkpoint(checkpoint)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent_s = state["step"], state["spent_s"]
        generator.manual_seed(arguments.seed + step)
        rng = np.random.default_rng((arguments.seed, step))
    # What the levels aim at, in their axes: worked out once, kept beside the checkpoint.
    axes, labels_file, targets_file = (
        network.decoder.axes(),
        arguments.out / "labels.npy",
        arguments.out / "targets.npy",
    )
    if step == 0 or not targets_file.exists():
        train = BodyTable.read(arguments.bodies, "train", LEVEL_SIZES[-1], limit=arguments.limit)
        if step == 0:
            network.decoder.fit_axes(true_levels(train.batch(rng.permutation(len(train))[:8192])[1]))
            average.network.load_state_dict(network.state_dict())
        chunks = (train.batch(slice(first, first + 4096))[1] for first in range(0, len(train), 4096))
        arguments.out.mkdir(parents=True, exist_ok=True)
        np.save(targets_file, torch.cat([network.decoder.project(true_levels(places)) for places in chunks]).numpy())
        np.save(labels_file, train.labels)
    all_labels, all_targets = np.load(labels_file, mmap_mode="r"), np.load(targets_file, mmap_mode="r")
    print(
        f"{len(all_labels)} bodies, {sum(p.numel() for p in network.parameters()) / 1e6:.1f} M parameters", flush=True
    )
    report_every, running = 100, torch.zeros(8)
    clock, over = TrainingClock(arguments.minutes, spent_s), False
    while not over:
        for group in optimiser.param_groups:
            group["lr"] = arguments.rate * warm_cosine(clock.share(), warm_share=0.02)
        rows = rng.integers(len(all_labels), size=arguments.batch)
        labels, target = torch.from_numpy(all_labels[rows]), torch.from_numpy(all_targets[rows])
        arrived, present = drop_labels(labels, arrival, generator)
        y, arrived, present = (t[:, network.entries] for t in (labels, arrived, present))
        some = slice(arguments.sampled)

        # bf16 nearly all the time, where it is faster; fp32 at the end, for the last millimetre.
        with fast_autocast(wanted=clock.share() < 0.95):
            whole = network.encoder(y[some], torch.ones_like(y[some]))
            prior = network.encoder(arrived[some], present[some])
            z_sampled = whole.sample(generator)
            decoded = network.decoder.coefficients(torch.cat([z_sampled, network.encoder.mode(arrived, present)]))
        truth = torch.cat([target[some], target]).split(config.axes, dim=-1)
        errors = [level_error(*each) for each in zip(axes, truth, decoded, strict=True)]
        kl, kl_arrived = whole.kl_to_standard_normal().mean(), kl_to_arrived(whole, prior, z_sampled)
        crowd = diversity_loss(z_sampled)
        reconstruction = sum((g * error for g, error in zip(weights.levels, errors, strict=True)), torch.zeros(()))
        divergence = weights.kl * kl + weights.kl_arrived * kl_arrived
        uneven = balance_loss(prior.logits_BK)
        loss = reconstruction + divergence + weights.diversity * crowd + weights.balance * uneven

        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step, over = step + 1, clock.share() >= 1
        if step % AVERAGE_EVERY == 0:
            average.update(network)
        running += torch.stack([*errors, kl, kl_arrived, crowd, uneven, loss]).detach() / report_every

        if step % report_every == 0:
            e_1, e_2, e_3, nats, nats_arrived, crowded, uneven_share, total = running.tolist()
            print(
                f"step {step} {clock.elapsed_s() / 60:.1f} min loss {total:.4f} levels {e_1:.4f} {e_2:.4f} {e_3:.4f} "
                f"kl {nats:.0f} kl-arrived {nats_arrived:.1f} crowding {crowded:.2f} "
                f"imbalance {uneven_share:.2f}",
                flush=True,
            )
            running.zero_()
        if step % 1000 == 0 or over:
            scores = decode_scores(average.network, val, arrival, seed=0)
            print(json.dumps({name: round(value, 2) for name, value in scores.items()}), flush=True)
        if step % 250 == 0 or over:
            parts = {"network": network.state_dict(), "average": average.state_dict()}
            timing = {"step": step, "spent_s": clock.elapsed_s()}
            save_checkpoint(checkpoint, {**parts, "optimiser": optimiser.state_dict(), **timing})

    if arguments.export:
        test = BodyTable.read(arguments.bodies, "test", LEVEL_SIZES[-1], limit=1024)
        scores = decode_scores(average.network, test, arrival, seed=0)
        recipe = {"bodies": len(all_labels), "steps": step, "minutes": clock.elapsed_s() / 60, "seed": arguments.seed}
        save_network(average.network, {**recipe, "loss": asdict(weights), "arrival": asdict(arrival)}, scores)
        print(json.dumps(scores, indent=2), flush=True)


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m receiver.train.decode", main))
