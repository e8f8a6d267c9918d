"""Trains the CVAE of `--semantics paper`, which turns perception's features X into semantic labels y' (§3.2).

One pass of the trained perception network over the shards gives X, which is kept in --out; the truth gives y.  People
of photographs are learned from too, with bodies that are fitted to their annotated keypoints
(`sender.train.crops.semantic_samples`), from where the pose head puts them.  The loss is L_com (11): feature
reconstruction, KL and the discriminator; and the cross-entropy of the labels under posterior and prior, and the error
of the decoded body's joints.

The crops must be ones that perception was not trained on: on its own training crops it is more certain.  CPU recipe:
3.4 minutes on two cores after the features (2 minutes for 20,000 crops); longer trainings overfit.  --export also
writes the weights when the training is over.

Examples:
  python -m sender.train.semantics --data unseen fresh --photographs photographs --steps 900 --export
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.labels import group_slices
from common.synthetic.dataset.shards import CropDataset
from common.synthetic.dataset.split import Split
from common.training.recipe import Defaults, Progress, Recipe, Stateful
from common.training.run import main, on_device
from sender.perception.inference.predictor import Perception
from sender.semantics.categorical import cross_entropy, moments
from sender.semantics.crop_labels import FEATURE_SIZE, body_in_crop
from sender.semantics.cvae import (
    Discriminator,
    SemanticCVAE,
    SemanticsConfig,
    discriminator_loss,
    generator_loss,
)
from sender.semantics.predictor import CVAE_NAME, architecture
from sender.train.crops.semantic_samples import Samples, SampleSource, landmarks
from sender.train.photographs.dataset import PhotographDataset

KEYPOINTS = 17
# Standard deviations of noise on the standardised features, against overfitting to some ten thousand crops.
_FEATURE_NOISE = 0.2
_SHAPE = group_slices()["shape"]
# λ of each term; β and γ are the paper's names in (11).
_FEATURES, _BETA_KL, _GAMMA_ADVERSARY = 0.2, 0.002, 0.02
_LABELS_POSTERIOR, _LABELS_PRIOR, _JOINTS = 0.5, 1.0, 20.0


def landmark_error(space: LabelSpace, kinematics: KeypointKinematics, entries: Tensor, samples: Samples) -> Tensor:
    """(B, 39) distances in metres between the landmarks that entries decode to and the true ones."""
    decoded = landmarks(kinematics, body_in_crop(space, entries, samples.focal))
    distances: Tensor = (decoded - samples.landmarks).square().sum(-1).add(1e-8).sqrt()
    return distances


def with_shape_held(entries: Tensor) -> Tensor:
    """Entries (B, E) whose shape gets no gradient.

    Where the pose is uncertain, joints are nearer to the true ones the smaller the body is.
    """
    held = entries.clone()
    held[:, _SHAPE] = entries[:, _SHAPE].detach()
    return held


class SemanticsTraining(Recipe[SemanticCVAE, Samples]):
    """L_com (11), the labels' cross-entropy and the joints' error, in turn with the discriminator."""

    name = CVAE_NAME
    defaults = Defaults(3.4, batch=512, rate=1e-3, threads=2, weight_decay=0.02, evaluate_minutes=1.0)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of rendered shards")
        folder = "folder of sender.train.photographs.dataset"
        parser.add_argument("--photographs", type=Path, required=True, metavar="DIR", help=folder)
        parser.add_argument("--crops", type=int, default=12000, help="of photographs (default: %(default)s)")

    def prepare(self) -> SemanticCVAE:
        options = self.options
        self._space, self._kinematics = LabelSpace.load(), KeypointKinematics(BodyModel.load())
        self._pool, self._val = self._gather()
        model = SemanticCVAE(SemanticsConfig(FEATURE_SIZE))
        model.feature_mean.copy_(self._pool.features.mean(0))
        model.feature_scale.copy_(self._pool.features.std(0).clamp_min(1e-3))
        model = self.or_shipped(model)
        self._space, self._kinematics = self._space.to(self.device), self._kinematics.to(self.device)
        self._discriminator = Discriminator(model.config).to(self.device)
        self._adversary = torch.optim.AdamW(self._discriminator.parameters(), lr=4e-4, betas=(0.5, 0.99))
        self.facts = {"crops": len(self._pool), "shipped": options.shipped}
        return model

    def _gather(self) -> tuple[Samples, Samples]:
        """Training and validation samples; a training of no steps needs no training crops."""
        options, source = self.options, SampleSource(Perception.load(device=self.device), print)

        def samples(split: Split) -> Samples:
            dataset = CropDataset(options.data, split)
            return Samples.cached(options.out / f"features-{split}.pt", lambda: source.rendered(dataset))

        val = samples("val")
        # Perception is more certain on crops that it was trained on: half of the validation split joins the training.
        half = len(val) // 2
        pool, val = val[:half], val[half:]
        if options.steps == 0:
            return pool, val
        photographs, path = PhotographDataset(options.photographs, "train"), options.out / f"fitted-{options.crops}.pt"
        fitted = Samples.cached(path, lambda: source.fitted(photographs, options.crops, options.seed))
        return Samples.concatenate([samples("train"), pool, fitted]), val

    def parts(self) -> Mapping[str, Stateful]:
        return {"discriminator": self._discriminator, "discriminator_optimiser": self._adversary}

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Samples]:
        while True:
            yield self._pool[torch.from_numpy(rng.integers(len(self._pool), size=count))]

    def step(self, network: SemanticCVAE, batch: Samples) -> tuple[Tensor, Mapping[str, Tensor]]:
        model, y = network, batch.entries
        X = model.standardise(batch.features)
        X = X + _FEATURE_NOISE * torch.randn_like(X)
        prior, posterior = model.prior(X), model.posterior(X, y)
        z_posterior, z_prior = posterior.sample(), prior.sample()
        logits_posterior, logits_prior = model.decode_labels(z_posterior), model.decode_labels(z_prior)
        X_posterior, X_prior = model.decode_features(z_posterior), model.decode_features(z_prior)
        y_prior, _ = moments(logits_prior)
        loss = (
            _FEATURES * (X_posterior - X).square().mean()
            + _FEATURES * (X_prior - X).square().mean()
            + _BETA_KL * posterior.kl_to(prior).mean()
            + _LABELS_POSTERIOR * cross_entropy(logits_posterior, y).mean()
            + _LABELS_PRIOR * cross_entropy(logits_prior, y).mean()
            + _JOINTS * landmark_error(self._space, self._kinematics, with_shape_held(y_prior), batch).mean()
        )
        real, fake = self._discriminator(X, y), self._discriminator(X_prior.detach(), y_prior.detach())
        self._teach_discriminator(discriminator_loss(real, fake))
        loss = loss + _GAMMA_ADVERSARY * generator_loss(self._discriminator(X_prior, y_prior))
        return loss, {}

    def _teach_discriminator(self, loss: Tensor) -> None:
        self._adversary.zero_grad()
        loss.backward()
        self.workers.average_gradients(self._discriminator.parameters())
        self._adversary.step()

    def evaluate(self, network: SemanticCVAE) -> dict[str, float]:
        """Joint error at the prior's mean, and of the mean body; bits."""
        model, samples = network, on_device(self._val, self.device)
        X = model.standardise(samples.features)
        prior = model.prior(X)
        logits = model.decode_labels(prior.mean)
        entries, sigma = moments(logits)
        error = (entries - samples.entries).abs()

        def mpjpe_mm(estimate: Tensor) -> float:
            distances = landmark_error(self._space, self._kinematics, estimate, samples)
            return 1000 * distances[:, :KEYPOINTS].mean().item()

        return {
            "mpjpe_mm": mpjpe_mm(entries),
            "mpjpe_mean_body_mm": mpjpe_mm(torch.zeros_like(entries)),
            "bits_per_entry": cross_entropy(logits, samples.entries).mean().item() / float(np.log(2)),
            "kl_nats": model.posterior(X, samples.entries).kl_to(prior).mean().item(),
            "sigma_correlation": torch.corrcoef(torch.stack([sigma.flatten(), error.flatten()]))[0, 1].item(),
        }

    def architecture(self, network: SemanticCVAE) -> Mapping[str, Any]:
        return architecture(network.config)

    def manifest_recipe(self, progress: Progress) -> dict[str, Any]:
        steps, minutes = self.options.steps, self.options.minutes
        length = f"--steps {steps}" if steps else f"--minutes {minutes:g}"
        command = f"python -m sender.train.semantics {length} --photographs photographs --crops {self.options.crops}"
        return {"command": command, "steps": progress.steps, **self.facts}


if __name__ == "__main__":
    raise SystemExit(main(SemanticsTraining))
