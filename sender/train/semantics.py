"""Trains the semantics network, a CVAE that turns perception's features X into semantic labels y' (paper §3.2).

One pass of the trained perception network over the shards gives X, which is kept in --out; the truth gives y.  The loss
is L_com (11): feature reconstruction, KL and the discriminator; and the cross-entropy of the labels under posterior and
prior, and the error of the decoded body's joints.

The crops must be ones that perception was not trained on: on its own training crops it is more certain.  CPU recipe:
3.4 minutes on two cores after the features (2 minutes for 20,000 crops); longer trainings overfit.  --export also
writes the weights when the training is over.

Examples:
  python -m sender.train.semantics --data unseen fresh --out runs/semantics --export
  python -m sender.train.semantics --data unseen fresh --out runs/semantics --resume --export
  python -m sender.train.semantics --data unseen --out runs/without --steps 300 --seed 2 --without discriminator
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from common.body.anatomy import JOINTS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters, KeypointKinematics
from common.body.rotations import axis_angle_to_matrix
from common.errors import exit_code_of
from common.io.atomic_write import atomic_replacement
from common.synthetic.dataset.shards import Batch, CropDataset
from common.synthetic.dataset.split import Split
from common.training.distributed import Workers
from common.training.flags import add_result_flags, add_steps_flag, add_training_flags, parser_of
from common.training.loop import LoopConfig, TrainingLoop
from common.weights.loader import load_into, save_weights
from sender.perception.inference.flip_augmentation import mirrored
from sender.perception.inference.predictor import Perception
from sender.semantics.categorical import cross_entropy, moments
from sender.semantics.crop_labels import FEATURE_SIZE, body_in_crop, crop_entries, semantic_features
from sender.semantics.cvae import (
    Discriminator,
    SemanticCVAE,
    SemanticsConfig,
    discriminator_loss,
    generator_loss,
)
from sender.semantics.stage import WEIGHTS_NAME, architecture

REMOVALS = ("discriminator", "learned-prior")
HIPS = [11, 12]
KEYPOINTS = 17
# Standard deviations of noise on the standardised features, against overfitting to some ten thousand crops.
_FEATURE_NOISE = 0.2


@dataclass(frozen=True, slots=True)
class LossWeights:
    """λ of each term; β and γ are the paper's names in (11)."""

    features: float = 0.2
    beta_kl: float = 0.002
    gamma_adversary: float = 0.02
    labels_posterior: float = 0.5
    labels_prior: float = 1.0
    joints: float = 20.0


@dataclass(frozen=True, slots=True)
class Samples:
    """Features (N, F), label entries (N, E), landmarks (N, 39, 3) and focal lengths (N,)."""

    features: Tensor
    entries: Tensor
    landmarks: Tensor
    focal: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def pick(self, index: Tensor) -> Self:
        return type(self)(self.features[index], self.entries[index], self.landmarks[index], self.focal[index])

    def joined(self, other: Self) -> Self:
        pairs = ((getattr(self, item.name), getattr(other, item.name)) for item in fields(self))
        return type(self)(*(torch.cat(pair) for pair in pairs))


def true_parameters(batch: Batch) -> BodyParameters:
    """The true bodies of a batch of crops, in the crop's camera."""
    rotations = axis_angle_to_matrix(torch.from_numpy(np.asarray(batch["rotation_vectors"], dtype=np.float32)))
    rest = [torch.from_numpy(np.asarray(batch[name], dtype=np.float32)) for name in ("curl", "shape", "translation")]
    return BodyParameters(rotations, *rest)


@torch.no_grad()
def observe(
    dataset: CropDataset, perception: Perception, space: LabelSpace, kinematics: KeypointKinematics, batch: int = 64
) -> Samples:
    """One pass of perception over a data set: each crop, then its mirror image, which flip augmentation sees anyway."""
    parts: list[Samples] = []
    for start in range(0, len(dataset), batch):
        truth = dataset.batch(np.arange(start, min(start + batch, len(dataset))))
        parameters = true_parameters(truth)
        focal = torch.from_numpy(np.asarray(truth["focal"], dtype=np.float32))
        output = perception.observe(list(truth["image"]))
        for observed, body in ((output, parameters), (mirrored(output), parameters.mirrored())):
            entries = crop_entries(space, body, focal)
            parts.append(Samples(semantic_features(space, observed), entries, landmarks(kinematics, body), focal))
        if start // batch % 50 == 0:
            print(f"features {start}/{len(dataset)}", flush=True)
    names = ("features", "entries", "landmarks", "focal")
    return Samples(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def landmarks(kinematics: KeypointKinematics, parameters: BodyParameters) -> Tensor:
    """(N, 39, 3): 17 COCO keypoints, then 22 joints, relative to the middle of the hips; camera axes, metres."""
    keypoints, joints = kinematics(parameters)
    root = keypoints[:, HIPS].mean(1, keepdim=True)
    relative: Tensor = torch.cat([keypoints, joints[:, : len(JOINTS)]], dim=1) - root
    return relative


def cached_samples(
    path: Path, dataset: CropDataset, perception: Perception, space: LabelSpace, kinematics: KeypointKinematics
) -> Samples:
    """Samples of a data set, from `path` if they were computed before."""
    if not path.exists():
        samples = observe(dataset, perception, space, kinematics)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_replacement(path) as partial:
            torch.save([samples.features, samples.entries, samples.landmarks, samples.focal], partial)
    return Samples(*torch.load(path))


def random_batches(samples: Samples, size: int) -> Iterator[Samples]:
    """Endless batches, drawn with replacement."""
    while True:
        yield samples.pick(torch.randint(len(samples), (size,)))


def landmark_error(space: LabelSpace, kinematics: KeypointKinematics, entries: Tensor, samples: Samples) -> Tensor:
    """(B, 39) distances in metres between the landmarks that entries decode to and the true ones."""
    decoded = landmarks(kinematics, body_in_crop(space, entries, samples.focal))
    distances: Tensor = (decoded - samples.landmarks).square().sum(-1).add(1e-8).sqrt()
    return distances


@torch.no_grad()
def evaluate(
    model: SemanticCVAE, samples: Samples, space: LabelSpace, kinematics: KeypointKinematics
) -> dict[str, float]:
    """Validation scores: joint error at the prior's mean, with z shuffled among people and of the mean body; bits."""
    standardised = model.standardise(samples.features)
    prior = model.prior(standardised)
    logits = model.decode_labels(prior.mean)
    entries, sigma = moments(logits)
    shuffled, _ = moments(model.decode_labels(prior.mean.roll(1, 0)))
    posterior = model.posterior(standardised, samples.entries)
    error = (entries - samples.entries).abs()

    def mpjpe_mm(estimate: Tensor) -> float:
        return 1000 * landmark_error(space, kinematics, estimate, samples)[:, :KEYPOINTS].mean().item()

    return {
        "mpjpe_mm": mpjpe_mm(entries),
        "mpjpe_shuffled_z_mm": mpjpe_mm(shuffled),
        "mpjpe_mean_body_mm": mpjpe_mm(torch.zeros_like(entries)),
        "bits_per_entry": cross_entropy(logits, samples.entries).mean().item() / float(np.log(2)),
        "kl_nats": posterior.kl_to(prior).mean().item(),
        "feature_mse": (model.decode_features(prior.mean) - standardised).square().mean().item(),
        "sigma_correlation": torch.corrcoef(torch.stack([sigma.flatten(), error.flatten()]))[0, 1].item(),
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.semantics", __doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of rendered shards")
    parser.add_argument(
        "--out", "--cache", type=Path, default=Path("runs/semantics"), help="features and checkpoint (%(default)s)"
    )
    add_training_flags(parser, minutes=3.4, batch=512, seed=1, threads=2)
    add_steps_flag(parser)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate (default: %(default)g)")
    parser.add_argument(
        "--without",
        choices=REMOVALS,
        nargs="+",
        default=[],
        help="ablation: no discriminator (γ = 0 in eq. 11), or N(0, I) in place of the learned prior p(z|X)",
    )
    add_result_flags(parser, export_help="also write the weights and their scores when done")
    return parser.parse_args(arguments)


def gather(options: argparse.Namespace, space: LabelSpace, kinematics: KeypointKinematics) -> tuple[Samples, Samples]:
    """Training and validation samples; a training of no steps needs no training crops."""
    perception = Perception.load()

    def samples(split: Split) -> Samples:
        dataset = CropDataset(options.data, split)
        return cached_samples(options.out / f"features-{split}.pt", dataset, perception, space, kinematics)

    val = samples("val")
    # Perception is more certain on crops that it was trained on: half of the validation split joins the training.
    half = len(val) // 2
    pool, val = val.pick(torch.arange(half)), val.pick(torch.arange(half, len(val)))
    return (pool if options.steps == 0 else samples("train").joined(pool)), val


@torch.no_grad()
def remove_learned_prior(model: SemanticCVAE) -> None:
    """Fixes p(z|X) to N(0, I): zeroes the prior's last layer and excludes it from training."""
    last = model.prior_net.leave[-1]
    for parameter in last.parameters():
        parameter.zero_().requires_grad_(False)


def initial_model(options: argparse.Namespace, pool: Samples) -> SemanticCVAE:
    model = SemanticCVAE(SemanticsConfig(FEATURE_SIZE))
    if options.shipped:
        load_into(model, WEIGHTS_NAME, architecture(model.config)).train()
    else:
        model.feature_mean.copy_(pool.features.mean(0))
        model.feature_scale.copy_(pool.features.std(0).clamp_min(1e-3))
    if "learned-prior" in options.without:
        remove_learned_prior(model)
    return model


def descend(loss: Tensor, network: nn.Module, optimiser: torch.optim.Optimizer, workers: Workers) -> None:
    """One step of the discriminator; the loop takes those of the model."""
    optimiser.zero_grad()
    loss.backward()
    workers.average_gradients(network.parameters())
    optimiser.step()


def train(options: argparse.Namespace) -> None:
    """The whole training, top to bottom."""
    workers = Workers.join()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    space, kinematics, weights = LabelSpace.load(), KeypointKinematics(BodyModel.load()), LossWeights()
    with workers.first_before_others():
        pool, val = gather(options, space, kinematics)
    model = initial_model(options, pool)
    discriminator = Discriminator(model.config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=0.02, betas=(0.9, 0.98))
    discriminator_optimiser = torch.optim.AdamW(discriminator.parameters(), lr=4e-4, betas=(0.5, 0.99))
    checkpoint = options.out / "semantics.pt"
    loop = TrainingLoop(
        LoopConfig(options.minutes, options.steps, samples_per_step=options.batch, evaluate_every_s=60.0),
        model,
        optimiser,
        checkpoint,
        workers=workers,
        resume=options.resume and checkpoint.exists(),
        parts={"discriminator": discriminator, "discriminator_optimiser": discriminator_optimiser},
        facts={"seed": options.seed, "crops": len(pool), "shipped": options.shipped},
        without=options.without,
        evaluate=lambda average: evaluate(average, val, space, kinematics),
    )
    workers.align(discriminator)
    if loop.step or workers.count > 1:
        torch.manual_seed(workers.seed(options.seed, loop.step))

    for batch in loop.steps(random_batches(pool, workers.batch(options.batch))):
        X = model.standardise(batch.features)
        X = X + _FEATURE_NOISE * torch.randn_like(X)
        prior, posterior = model.prior(X), model.posterior(X, batch.entries)
        z_posterior, z_prior = posterior.sample(), prior.sample()
        logits_posterior, logits_prior = model.decode_labels(z_posterior), model.decode_labels(z_prior)
        X_posterior, X_prior = model.decode_features(z_posterior), model.decode_features(z_prior)
        entries, _ = moments(logits_prior)
        loss = (
            weights.features * (X_posterior - X).square().mean()
            + weights.features * (X_prior - X).square().mean()
            + weights.beta_kl * posterior.kl_to(prior).mean()
            + weights.labels_posterior * cross_entropy(logits_posterior, batch.entries).mean()
            + weights.labels_prior * cross_entropy(logits_prior, batch.entries).mean()
            + weights.joints * landmark_error(space, kinematics, entries, batch).mean()
        )

        if "discriminator" not in options.without:
            real, fake = discriminator(X, batch.entries), discriminator(X_prior.detach(), entries.detach())
            descend(discriminator_loss(real, fake), discriminator, discriminator_optimiser, workers)
            loss = loss + weights.gamma_adversary * generator_loss(discriminator(X_prior, entries))

        loop.descend(loss)
        loop.log(loss=loss)

    if workers.first:
        scores = evaluate(loop.average, val, space, kinematics)
        loop.write_scores(options.json or options.out / "scores.json", scores)
        if options.export:
            export(options, loop, scores)
    workers.leave()


def export(options: argparse.Namespace, loop: TrainingLoop[SemanticCVAE], scores: dict[str, float]) -> None:
    """Writes the averaged weights and their scores."""
    length = f"--steps {options.steps}" if options.steps else f"--minutes {options.minutes:g}"
    recipe = {"command": f"python -m sender.train.semantics {length}", "steps": loop.step, **loop.facts}
    kind = architecture(loop.network.config)
    entry = save_weights(WEIGHTS_NAME, loop.average.state_dict(), kind, recipe, scores, directory=options.weights)
    print(f"wrote {options.weights / entry.file}")


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.semantics", lambda: train(parse())))
