"""Trains the network that reads what people wear from one view (`sender.attributes`).

Two stages: mostly rendered people, whose kinds are known (preset `dressed`), then mostly photographs with
judged people.  Labels are sets of values: what a picture does not tell costs nothing.  The encoder starts from
perception's stem.

The people of the pictures that are held back of `openimages` choose how large the sets of values are that are said,
and the attributes of which nothing is.  --export also writes the weights when the training is over.

Examples:
  python -m common.synthetic.render_shards --out dressed192 --preset dressed --count 8192 --size 192
  python -m sender.train.wears --openimages data/openimages --rendered dressed192 --photographs 0.2 --out runs/rendered
  python -m sender.train.wears --people data/people --openimages data/openimages --rendered dressed192 \\
      --start runs/rendered --steps 320 --out runs/wears --export
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from common.arrays import FloatArray, IntArray
from common.errors import UsageError
from common.training.recipe import Defaults, Recipe
from common.training.run import load_checkpoint, main, on_device
from common.wear_kinds import VALUES
from common.wears import USUAL
from sender.attributes.kind_reader import WEIGHTS_NAME
from sender.attributes.kinds import (
    COVERAGE,
    PHOTOGRAPH,
    RENDERED,
    KindNet,
    KindNetConfig,
    by_attribute,
    smallest_set,
    tells,
)
from sender.perception.predictor import Perception
from sender.train.photographs.dataset import Source
from sender.train.worn import WornBatch, WornPeople, WornSplit, batch_of, observed, rendered_people

_PHOTOGRAPH_SHARE = 0.8
_SMOOTHING = 0.05
_MASSES = np.arange(0.5, 1.0, 0.005)
# An attribute is read if its likelihood is so many standard errors above that of the usual frequencies.
_LEAST_GAIN = 2.0
# What nobody among some hundreds of people has.
_LEAST_SHARE = 0.004

Reading = tuple[Tensor, Tensor]
"""Logits and possible values (N, L) of photographs."""


class WearsTraining(Recipe[KindNet, WornBatch]):
    """Likelihood of sets of values."""

    name = WEIGHTS_NAME
    defaults = Defaults(25.0, batch=32, rate=1e-3, seed=7, average_decay=0.99, evaluate_minutes=2.0)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--people", type=Path, metavar="DIR", help="folder of the source people, with wears.tsv")
        add("--openimages", type=Path, metavar="DIR", help="folder of the source openimages")
        add("--rendered", type=Path, nargs="+", required=True, help="folders of shards (preset dressed)")
        add("--photographs", type=float, default=_PHOTOGRAPH_SHARE, metavar="SHARE", help="of a batch (%(default)s)")
        add("--start", type=Path, metavar="DIR", help="start from the averaged weights of this training")
        add("--observed", type=Path, metavar="DIR", help="where what perception sees is kept (default: --out)")

    def prepare(self) -> KindNet:
        perception = Perception.load(device=self.device)
        self._rendered = rendered_people(self.options.rendered)
        self._photographs = WornPeople.concatenate(list(self._judged("train", perception).values()))
        self._held_back = self._judged("test", perception)
        network = KindNet(KindNetConfig())
        before = self._start(network, perception)
        network.encoder.quarter.requires_grad_(False)
        of_people = {"photographed": len(self._photographs), "rendered": len(self._rendered)}
        self.facts = {**of_people, "shipped": self.options.shipped, **before}
        return self.or_shipped(network)

    def optimisers(self, network: KindNet) -> Sequence[torch.optim.Optimizer]:
        stem = list(network.encoder.eighth.parameters())
        known = {id(weight) for weight in stem}
        new = [each for each in network.parameters() if each.requires_grad and id(each) not in known]
        rate = self.options.rate
        groups = [{"params": new, "lr": rate}, {"params": stem, "lr": 0.3 * rate}]
        return [torch.optim.AdamW(groups, lr=rate, weight_decay=0.05, betas=(0.9, 0.98))]

    def batches(self, count: int, rng: Generator) -> Iterator[WornBatch]:
        photographed, rendered = (shuffled(len(each), rng) for each in (self._photographs, self._rendered))
        photographs = round(self.options.photographs * count)
        while True:
            rows = [(self._photographs, next(photographed), PHOTOGRAPH) for _ in range(photographs)]
            rows += [(self._rendered, next(rendered), RENDERED) for _ in range(count - photographs)]
            yield batch_of(rows, rng)

    def step(self, network: KindNet, batch: WornBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
        network.encoder.quarter.eval()
        logits = network(batch.views, batch.source)
        loss = set_loss(logits, batch.possible, _SMOOTHING)
        photographed = batch.source == PHOTOGRAPH
        of_photographs = set_loss(logits[photographed], batch.possible[photographed]) if photographed.any() else loss
        return loss, {"photographs": of_photographs.detach()}

    def evaluate(self, network: KindNet) -> dict[str, float]:
        """Share of the known values that are read rightly, of the people who are held back of `openimages`."""
        people = self._held_back.get("openimages", ())
        return accuracies(*read(network, people)) if people else {}

    def final_scores(self, network: KindNet) -> dict[str, float]:
        """Of the people who are held back of `people`, or of `openimages`."""
        people = self._held_back.get("people", ())
        return accuracies(*read(network, people)) if people else self.evaluate(network)

    def finish(self, network: KindNet) -> None:
        """Chooses the probability that the sets of each attribute have."""
        if people := self._held_back.get("openimages"):
            network.mass.copy_(masses(*read(network, people)))

    def _judged(self, split: WornSplit, perception: Perception) -> dict[Source, WornPeople]:
        """The judged people of each source."""
        options, kept = self.options, self.options.observed or self.options.out
        folders: dict[Source, Path] = {"people": options.people, "openimages": options.openimages}
        looks = {name: partial(observed, name, folder, split, perception) for name, folder in folders.items() if folder}
        if not looks:
            raise UsageError("name at least one source: --people, --openimages")
        return {name: WornPeople.cached(kept / f"{name}-{split}.pt", look) for name, look in looks.items()}

    def _start(self, network: KindNet, perception: Perception) -> dict[str, int]:
        """Gives the network its first weights, and says after how many steps of another training."""
        if self.options.start:
            state = load_checkpoint(self.options.start / f"{self.name}.pt")
            network.load_state_dict(state["average"]["network"])
            return {"steps_before": state["progress"]["steps"] + state["facts"].get("steps_before", 0)}
        features = self._photographs.features.float()
        network.mean_X.copy_(features.mean(0))
        network.scale_X.copy_(features.std(0).clamp_min(1e-2))
        stem = perception.net.stem
        network.encoder.quarter.load_state_dict(stem.quarter.state_dict())
        eighth = network.encoder.eighth
        eighth.load_state_dict(stem.eighth[: len(eighth)].state_dict())
        return {}


def read(network: KindNet, people: WornPeople) -> Reading:
    """Of photographs, as they are; on the CPU."""
    device = network.mass.device
    parts = []
    for start in range(0, len(people), 32):
        batch = batch_of([(people, row, PHOTOGRAPH) for row in range(start, min(start + 32, len(people)))])
        with torch.no_grad():
            seen = on_device(batch, device)
            parts.append((network(seen.views, seen.source).cpu(), batch.possible))
    logits, possible = zip(*parts, strict=True)
    return torch.cat(logits), torch.cat(possible)


def shuffled(count: int, rng: Generator) -> Iterator[int]:
    """The numbers below `count` in random order, endlessly, each equally often."""
    while True:
        yield from (int(row) for row in rng.permutation(count))


def certain(possible_NL: Tensor) -> Tensor:
    """(N, L) 1 at the value of the attributes of which only one is possible, else 0."""
    parts = by_attribute(possible_NL)
    return torch.cat([part * (part.sum(dim=-1, keepdim=True) == 1) for part in parts], dim=-1)


def set_loss(logits: Tensor, possible: Tensor, smoothing: float = 0.0) -> Tensor:
    """−log of the probability of the possible values, summed over the attributes, mean over the people."""
    total = logits.new_zeros(len(logits))
    for scores, allowed in zip(by_attribute(logits), by_attribute(possible), strict=True):
        logs = scores.log_softmax(dim=-1)
        known = (allowed.sum(dim=-1) < allowed.shape[-1]).float()
        likelihood = torch.logsumexp(logs.masked_fill(allowed == 0, -torch.inf), dim=-1)
        total = total - known * ((1 - smoothing) * likelihood + smoothing * logs.mean(dim=-1))
    return total.mean()


def accuracies(logits: Tensor, possible: Tensor) -> dict[str, float]:
    """Share of the judged people of whom an attribute is read rightly, by attribute, and their mean; and the loss."""
    scores = {}
    for name, read, truth in zip(VALUES, by_attribute(logits), by_attribute(certain(possible)), strict=True):
        known = truth.sum(dim=-1) == 1
        scores[name] = float((read.argmax(dim=-1) == truth.argmax(dim=-1))[known].float().mean())
    loss = float(set_loss(logits, possible))
    return {**scores, "mean": float(np.mean(list(scores.values()))), "loss": loss}


def masses(logits: Tensor, possible: Tensor) -> Tensor:
    """(A,) `KindNet.mass` by people who were not learned from: the least that covers their values often enough.

    It is 0 where an attribute was not judged, or is not read better than by how frequent the values are.
    """
    chosen = []
    for name, read, truth in zip(VALUES, by_attribute(logits), by_attribute(certain(possible)), strict=True):
        known = truth.sum(dim=-1) == 1
        shares, true = read[known].softmax(dim=-1).numpy(), truth[known].argmax(dim=-1).numpy()
        chosen.append(_mass(name, shares, true) if len(true) > 1 and _is_read(name, shares, true) else 0.0)
    return torch.tensor(chosen)


def _is_read(name: str, shares_NV: FloatArray, true: IntArray) -> bool:
    gain = np.log(shares_NV[np.arange(len(true)), true]) - np.log(USUAL[name][true].clip(_LEAST_SHARE))
    return bool(gain.mean() > _LEAST_GAIN * gain.std() / np.sqrt(len(gain)))


def _mass(name: str, shares_NV: FloatArray, true: IntArray) -> float:
    """The least probability with which the sets that are said hold the truth, even if the next one does not."""
    for mass in _MASSES:
        held = smallest_set(shares_NV, float(mass))
        covers = held[np.arange(len(true)), true][tells(name, shares_NV, held)]
        if covers.sum() >= COVERAGE * (len(covers) + 1):
            return float(mass)
    return 0.0


if __name__ == "__main__":
    raise SystemExit(main(WearsTraining))
