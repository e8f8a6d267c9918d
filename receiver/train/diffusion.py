"""Trains the diffusion of displacements (paper §5.2): the condition u_m and the denoiser.

The decode stage must be trained first: u_m is computed from its features.  The outfits are those of
`python -m common.synthetic.clothed.outfit_table`, each worn in another pose at every step.  CPU recipe: half an hour on
one core.  --export also writes the averaged weights, with their scores on test outfits, when the training is over.

Examples:
  python -m receiver.train.diffusion --outfits outfits --out runs/diffusion --export
  python -m receiver.train.diffusion --outfits outfits --out runs/diffusion --resume --export
  python -m receiver.train.diffusion --outfits outfits --out runs/without --shipped --steps 500 --without u_m
"""

import argparse
import json
import math
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.body.anatomy import TOKENS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.body.surface_space import SurfaceSpace
from common.body.template import BodyTemplate
from common.errors import exit_code_of
from common.labels import group_slices
from common.synthetic.clothed.outfit_table import OutfitTable
from common.synthetic.dataset.split import SEED_RANGES, Split
from common.training.distributed import Workers
from common.training.flags import add_result_flags, add_steps_flag, add_training_flags, parser_of
from common.training.loop import LoopConfig, TrainingLoop
from common.training.surface_points import spread_offsets
from common.weights.devices import fast_autocast
from common.weights.loader import save_weights
from receiver.decode.clothing import Clothing
from receiver.decode.network import DecodeNetwork
from receiver.decode.stage import load_network as load_decode
from receiver.diffusion.condition import DiffusionConfig, GeometryBias
from receiver.diffusion.config import SIGMA_MAX, SIGMA_MIN
from receiver.diffusion.denoiser import SIGMA_DATA
from receiver.diffusion.stage import WEIGHTS_NAME, DiffusionNetwork, architecture, load_network
from receiver.train.bodies import sample_people, template_order
from receiver.train.diffusion_scores import diffusion_scores
from receiver.train.displacement_basis import covering_patch, fit_basis, token_members
from receiver.train.label_dropout import LabelDropoutConfig, drop_labels

REMOVALS = ("u_m", "geometry-bias", "scale-weights")
# A third of the people is known in part only: what is not known must be sampled, not averaged.
LABEL_DROPOUT = LabelDropoutConfig(whole=0.65, group_missing=0.4, group_cut=0.4, step_max=0.3)
_VALIDATION_OUTFITS = 128
_BASIS_OUTFITS = 2048
_POSES = {"train": 8192, "val": 512, "test": 512}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m receiver.train.diffusion", __doc__)
    parser.add_argument(
        "--outfits", type=Path, required=True, help="folder that common.synthetic.clothed.outfit_table wrote"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    add_training_flags(parser, minutes=30.0, batch=32, seed=2, threads=1)
    add_steps_flag(parser)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate (default: %(default)g)")
    parser.add_argument("--limit", type=int, default=8192, help="outfits to use; each takes 80 kB (%(default)s)")
    parser.add_argument(
        "--without",
        choices=REMOVALS,
        nargs="+",
        default=[],
        help="ablation: u_m = 0; attention without its geometry bias (eq. 25); or equal weights of the scales (eq. 24)",
    )
    add_result_flags(parser, export_help="also write the weights and their scores when done")
    return parser.parse_args(arguments)


@torch.no_grad()
def remove(network: DiffusionNetwork, removals: Collection[str]) -> None:
    """Zeroes and freezes the weights through which a part acts: equal to zeroing the part, in use too."""
    frozen: list[Tensor] = []
    if "u_m" in removals:
        frozen += [network.denoiser.condition_norm.weight]
    if "geometry-bias" in removals:
        frozen += [module.weight for module in network.modules() if isinstance(module, GeometryBias)]
    if "scale-weights" in removals:
        frozen += network.conditioner.log_weights.parameters()
    for weight in frozen:
        weight.zero_()
        weight.requires_grad_(False)


def initial_network(options: argparse.Namespace, outfits: OutfitTable) -> DiffusionNetwork:
    """The shipped network, or a new one with a basis fitted to the outfits."""
    if options.shipped:
        network = load_network()
    else:
        body = BodyModel.load()
        points = body.surface_points(body.rest_vertices[:1])[0][0][template_order(body)]
        template = BodyTemplate.of(body)
        # Limbs apart, so that no token joins two of them.
        apart = template.rest + spread_offsets(body.rest_joints[0].numpy())[template.weights.argmax(1)]
        members = token_members(apart)
        patch = covering_patch(template.rest, members, points.unflatten(0, (TOKENS, -1)).mean(1).numpy())
        fields = outfits.displacements(np.arange(min(len(outfits), _BASIS_OUTFITS)))
        network = DiffusionNetwork(DiffusionConfig(), fit_basis(fields, members, patch))
    remove(network, options.without)
    return network.train()


def pose_labels(split: Split) -> Tensor:
    """(n, LABEL_SIZE) labels of poses of a split."""
    return LabelSpace.load().encode(sample_people(split, SEED_RANGES[split].start, _POSES[split]))


class DressedPoses:
    """Batches of outfits, each in a random pose, with the labels that arrive of them.

    Args:
        outfits: displacement fields and their labels.
        poses: (n, LABEL_SIZE) of `pose_labels`.
        decode: the frozen decode network.
        dropout: of the labels.
    """

    def __init__(self, outfits: OutfitTable, poses: Tensor, decode: DecodeNetwork, dropout: LabelDropoutConfig) -> None:
        self.outfits, self._poses, self._decode, self._dropout = outfits, poses, decode, dropout

    def batch(
        self, rows: np.ndarray[tuple[int], np.dtype[np.int64]], generator: torch.Generator
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor], Clothing]:
        """True fields (B, V, 3), geometry features and clothing as they arrive."""
        slices = group_slices()
        labels = self._poses[torch.randint(len(self._poses), (len(rows),), generator=generator)].clone()
        labels[:, slices["surface"]] = torch.from_numpy(self.outfits.surface[rows])
        labels[:, slices["shape"]] = torch.from_numpy(self.outfits.shape[rows])
        arrived, present = drop_labels(labels, self._dropout, generator)
        with torch.no_grad():
            levels = self._decode(arrived, present)
        return self.outfits.displacements(rows), levels, Clothing.of(arrived, present)


def random_rows(
    count: int, size: int, rng: np.random.Generator
) -> Iterator[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Endless batches of row numbers, drawn with replacement."""
    while True:
        yield rng.integers(count, size=size)


def noise_levels(count: int, generator: torch.Generator) -> Tensor:
    """(count,) σ, log-uniform."""
    span = math.log(SIGMA_MAX / SIGMA_MIN)
    return SIGMA_MIN * torch.exp(span * torch.rand(count, generator=generator))


def denoising_loss(network: DiffusionNetwork, denoised: Tensor, x_0: Tensor, sigma_B: Tensor) -> Tensor:
    """EDM's weighted loss, in which a coefficient counts as much as it moves the surface.

    Karras et al. 2022 weigh noise levels with 1/c_out², which makes the loss of every level equally large.
    """
    weight = (sigma_B.square() + SIGMA_DATA**2) / (sigma_B * SIGMA_DATA).square()
    variance = network.basis.scale.square()
    error = (denoised - x_0).square() * (variance / variance.mean())
    return (weight * error.flatten(1).mean(1)).mean()


def train(options: argparse.Namespace) -> None:
    """The whole training, top to bottom."""
    workers = Workers.join()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    checkpoint = options.out / "diffusion.pt"
    resumed = options.resume and checkpoint.exists()

    outfits = OutfitTable.read(options.outfits, "train", limit=options.limit)
    val = OutfitTable.read(options.outfits, "val", limit=_VALIDATION_OUTFITS)
    decode, space = load_decode(), SurfaceSpace.load()
    dressed = DressedPoses(outfits, pose_labels("train"), decode, LABEL_DROPOUT)
    network = initial_network(options, outfits)
    val_poses = pose_labels("val")
    loop = TrainingLoop(
        LoopConfig(
            options.minutes,
            options.steps,
            samples_per_step=options.batch,
            warm_share=0.02,
            average_decay=0.99,
            average_every=5,
            evaluate_every_s=600.0,
        ),
        network,
        torch.optim.AdamW(network.parameters(), lr=options.rate, weight_decay=1e-3, betas=(0.9, 0.98), fused=True),
        checkpoint,
        workers=workers,
        resume=resumed,
        facts={"seed": options.seed, "outfits": len(outfits), "shipped": options.shipped},
        without=options.without,
        evaluate=lambda average: diffusion_scores(average, space, decode, val, val_poses),
    )
    if resumed or workers.count > 1:
        generator.manual_seed(workers.seed(options.seed, loop.step))
        rng = np.random.default_rng((options.seed, loop.step, workers.rank))
    loop.print(f"{len(outfits)} outfits, {sum(p.numel() for p in network.parameters()) / 1e6:.1f} M parameters")

    for rows in loop.steps(random_rows(len(outfits), workers.batch(options.batch), rng)):
        field, levels, clothing = dressed.batch(rows, generator)
        x_0, g = network.basis.encode(field), network.basis.encode(space.decode(clothing.entries))
        sigma = noise_levels(len(x_0), generator)
        x = x_0 + sigma[:, None, None] * torch.randn(x_0.shape, generator=generator)

        with fast_autocast():
            denoised = network.denoiser(x, sigma, g, network.condition(levels, clothing))
        loss = denoising_loss(network, denoised, x_0, sigma)

        loop.descend(loss)
        loop.log(loss=loss)

    if workers.first:
        scores = diffusion_scores(loop.average, space, decode, val, val_poses)
        loop.write_scores(options.json or options.out / "scores.json", scores)
        if options.export:
            export(options, loop, space, decode)
    workers.leave()


def export(
    options: argparse.Namespace, loop: TrainingLoop[DiffusionNetwork], space: SurfaceSpace, decode: DecodeNetwork
) -> None:
    """Writes the averaged weights and their scores on test outfits."""
    test = OutfitTable.read(options.outfits, "test", limit=_VALIDATION_OUTFITS)
    scores = diffusion_scores(loop.average, space, decode, test, pose_labels("test"))
    recipe = {"steps": loop.step, "minutes": loop.spent_s / 60, **loop.facts}
    entry = save_weights(
        WEIGHTS_NAME,
        loop.average.state_dict(),
        architecture(loop.network),
        recipe,
        scores,
        directory=options.weights,
    )
    print(f"wrote {options.weights / entry.file}: {json.dumps(scores)}")


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m receiver.train.diffusion", lambda: train(parse())))
