"""Trains the CVAE that turns features into labels: `python -m sender.train.semantics --data SHARDS`.

One pass of the trained perception network over the shards gives features X (kept in `--cache`); the truth gives labels
y.  Then L_com (11): feature reconstruction, KL, adversary; cross-entropy of the labels under posterior and prior; and
how far the decoded body's joints are off, which weighs an entry by what it is worth.

CPU recipe: 3.4 minutes on two cores after the features (2 minutes for 20,000 crops); longer learns the crops by heart.
The crops should be ones that perception was not trained on: it looks surer on its own.
"""

import argparse
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.body.anatomy import JOINTS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters, KeypointKinematics
from common.body.rotations import axis_angle_to_matrix
from common.errors import exit_code_of
from common.io.atomic_write import atomic_replacement
from common.synthetic.dataset.shards import Batch, CropDataset
from common.training.averaging import AveragedNetwork
from common.training.checkpoint import load_checkpoint, save_checkpoint
from common.training.schedule import warm_cosine
from common.weights.loader import save_weights
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

HIPS = [11, 12]
_PEAK_RATE = 1e-3
_SAVE_EVERY_S = 120.0
# Deviations; features of some ten thousand crops are soon known by heart.
_FEATURE_NOISE = 0.2
KEYPOINTS = 17


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

    def pick(self, index: Tensor) -> "Samples":
        return Samples(self.features[index], self.entries[index], self.landmarks[index], self.focal[index])

    def joined(self, other: "Samples") -> "Samples":
        pairs = ((getattr(self, item.name), getattr(other, item.name)) for item in fields(self))
        return Samples(*(torch.cat(pair) for pair in pairs))


def true_parameters(batch: Batch) -> BodyParameters:
    """The true bodies of a batch of crops, in the crop's camera."""
    rotations = axis_angle_to_matrix(torch.from_numpy(np.asarray(batch["rotation_vectors"], dtype=np.float32)))
    rest = [torch.from_numpy(np.asarray(batch[name], dtype=np.float32)) for name in ("curl", "shape", "translation")]
    return BodyParameters(rotations, *rest)


@torch.no_grad()
def observe(
    dataset: CropDataset, perception: Perception, space: LabelSpace, kinematics: KeypointKinematics, batch: int = 64
) -> Samples:
    """One pass of perception over a dataset: each crop, then its mirror image, which costs nothing more."""
    parts: list[Samples] = []
    for start in range(0, len(dataset), batch):
        truth = dataset.batch(np.arange(start, min(start + batch, len(dataset))))
        parameters = true_parameters(truth)
        focal = torch.from_numpy(np.asarray(truth["focal"], dtype=np.float32))
        output = perception.observe(list(truth["image"]))
        for seen, body in ((output, parameters), (mirrored(output), parameters.mirrored())):
            entries = crop_entries(space, body, focal)
            parts.append(Samples(semantic_features(space, seen), entries, landmarks(kinematics, body), focal))
        if start // batch % 50 == 0:
            print(f"features {start}/{len(dataset)}", flush=True)
    names = ("features", "entries", "landmarks", "focal")
    return Samples(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def landmarks(kinematics: KeypointKinematics, parameters: BodyParameters) -> Tensor:
    """(N, 39, 3) the 17 COCO keypoints, then the 22 joints, relative to the middle of the hips; camera axes, metres."""
    keypoints, joints = kinematics(parameters)
    root = keypoints[:, HIPS].mean(1, keepdim=True)
    both: Tensor = torch.cat([keypoints, joints[:, : len(JOINTS)]], dim=1) - root
    return both


def cached_samples(
    path: Path, dataset: CropDataset, perception: Perception, space: LabelSpace, kinematics: KeypointKinematics
) -> Samples:
    if not path.exists():
        samples = observe(dataset, perception, space, kinematics)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_replacement(path) as partial:
            torch.save([samples.features, samples.entries, samples.landmarks, samples.focal], partial)
    return Samples(*torch.load(path))


def landmark_error(space: LabelSpace, kinematics: KeypointKinematics, entries: Tensor, samples: Samples) -> Tensor:
    """(B, 39) distances in metres between the landmarks that entries decode to and the true ones."""
    found = landmarks(kinematics, body_in_crop(space, entries, samples.focal))
    distances: Tensor = (found - samples.landmarks).square().sum(-1).add(1e-8).sqrt()
    return distances


@torch.no_grad()
def evaluate(
    model: SemanticCVAE, samples: Samples, space: LabelSpace, kinematics: KeypointKinematics
) -> dict[str, float]:
    """Scores on held-out crops: bits an entry, joint error from the prior's mean, from shuffled z, of the mean body."""
    model.eval()
    standardised = model.standardise(samples.features)
    prior = model.prior(standardised)
    logits = model.decode_labels(prior.mean)
    entries, sigma = moments(logits)
    shuffled, _ = moments(model.decode_labels(prior.mean.roll(1, 0)))
    posterior = model.posterior(standardised, samples.entries)
    error = (entries - samples.entries).abs()

    def mpjpe_mm(guess: Tensor) -> float:
        return 1000 * landmark_error(space, kinematics, guess, samples)[:, :KEYPOINTS].mean().item()

    scores = {
        "mpjpe_mm": mpjpe_mm(entries),
        "mpjpe_shuffled_z_mm": mpjpe_mm(shuffled),
        "mpjpe_mean_body_mm": mpjpe_mm(torch.zeros_like(entries)),
        "bits_per_entry": cross_entropy(logits, samples.entries).mean().item() / float(np.log(2)),
        "kl_nats": posterior.kl_to(prior).mean().item(),
        "feature_mse": (model.decode_features(prior.mean) - standardised).square().mean().item(),
        "sigma_correlation": torch.corrcoef(torch.stack([sigma.flatten(), error.flatten()]))[0, 1].item(),
    }
    model.train()
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders of shards (common.synthetic.render_shards)"
    )
    parser.add_argument("--cache", type=Path, required=True, help="folder for features and checkpoints")
    parser.add_argument("--minutes", type=float, default=3.4)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --cache")
    parser.add_argument("--export", action="store_true", help="write the weights and their scores into the package")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)

    space, weights = LabelSpace.load(), LossWeights()
    kinematics = KeypointKinematics(BodyModel.load())
    perception = Perception.load()
    train, val = (
        cached_samples(
            arguments.cache / f"features-{split}.pt",
            CropDataset(arguments.data, split),
            perception,
            space,
            kinematics,
        )
        for split in ("train", "val")
    )
    # Perception looks surer on crops that it was trained on: half of the held-out ones join the training.
    half = len(val) // 2
    pool = train.joined(val.pick(torch.arange(half)))
    score = val.pick(torch.arange(half, len(val)))

    model = SemanticCVAE(SemanticsConfig(FEATURE_SIZE))
    model.feature_mean.copy_(pool.features.mean(0))
    model.feature_scale.copy_(pool.features.std(0).clamp_min(1e-3))
    discriminator = Discriminator(model.config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=_PEAK_RATE, weight_decay=0.02, betas=(0.9, 0.98))
    discriminator_optimiser = torch.optim.AdamW(discriminator.parameters(), lr=4e-4, betas=(0.5, 0.99))
    average = AveragedNetwork(model)
    parts: dict[str, Any] = {
        "model": model,
        "judge": discriminator,
        "optimiser": optimiser,
        "judge_optimiser": discriminator_optimiser,
        "average": average,
    }
    checkpoint = arguments.cache / "semantics.pt"
    step, spent_s, budget_s = 0, 0.0, 60 * arguments.minutes
    if arguments.resume and checkpoint.exists():
        stored = load_checkpoint(checkpoint)
        for name, part in parts.items():
            part.load_state_dict(stored[name])
        step, spent_s = stored["step"], stored["spent_s"]

    def save() -> None:
        states = {name: part.state_dict() for name, part in parts.items()}
        save_checkpoint(checkpoint, states | {"step": step, "spent_s": spent_s})

    began, saved = time.monotonic() - spent_s, time.monotonic()
    while (spent_s := time.monotonic() - began) < budget_s:
        for group in optimiser.param_groups:
            group["lr"] = _PEAK_RATE * warm_cosine(spent_s / budget_s)
        batch = pool.pick(torch.randint(len(pool), (arguments.batch,)))
        standardised = model.standardise(batch.features)
        standardised = standardised + _FEATURE_NOISE * torch.randn_like(standardised)
        prior, posterior = model.prior(standardised), model.posterior(standardised, batch.entries)
        z_posterior, z_prior = posterior.sample(), prior.sample()
        logits_posterior, logits_prior = model.decode_labels(z_posterior), model.decode_labels(z_prior)
        features_posterior, features_prior = model.decode_features(z_posterior), model.decode_features(z_prior)
        entries, _ = moments(logits_prior)

        scored = discriminator(standardised, batch.entries), discriminator(features_prior.detach(), entries.detach())
        discriminator_optimiser.zero_grad()
        discriminator_loss(*scored).backward()
        discriminator_optimiser.step()

        loss = (
            weights.features * (features_posterior - standardised).square().mean()
            + weights.features * (features_prior - standardised).square().mean()
            + weights.beta_kl * posterior.kl_to(prior).mean()
            + weights.gamma_adversary * generator_loss(discriminator(features_prior, entries))
            + weights.labels_posterior * cross_entropy(logits_posterior, batch.entries).mean()
            + weights.labels_prior * cross_entropy(logits_prior, batch.entries).mean()
            + weights.joints * landmark_error(space, kinematics, entries, batch).mean()
        )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        average.update(model)
        step += 1
        if step % 250 == 0:
            scores = evaluate(average.network, score, space, kinematics)
            line = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
            print(f"{spent_s / 60:5.1f} min  step {step}  loss {loss.item():.3f}  {line}", flush=True)
        if time.monotonic() - saved > _SAVE_EVERY_S:
            saved = time.monotonic()
            save()

    save()
    scores = evaluate(average.network, score, space, kinematics)
    print(scores)
    if arguments.export:
        recipe = {
            "command": f"sender.train.semantics --minutes {arguments.minutes:g}",
            "seed": arguments.seed,
            "crops": len(pool),
            "steps": step,
        }
        save_weights(WEIGHTS_NAME, average.network.state_dict(), architecture(model.config), recipe, scores)


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.semantics", main))
