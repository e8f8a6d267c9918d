"""Trains the network that reads what people wear from one view (`sender.wears`).

Two stages: mostly rendered people, whose kinds are known (preset `dressed`), then mostly photographs with
judged people.  Labels are sets of values: what a picture does not tell costs nothing.  The encoder starts from
perception's stem.

With --fold, a third of the judged people of `people` is left out, scored, and what was read of it is written to
OUT/left-out.pt.  Without it everybody is learned from; --left-out takes the readings of such trainings, which choose
the temperatures, and the attributes that are answered with their frequencies alone, because they are read no better
than the most frequent value.  --export also writes the weights when the training is over.

Examples:
  python -m common.synthetic.render_shards --out dressed192 --preset dressed --count 8192 --size 192
  python -m sender.train.wears --openimages data/openimages --rendered dressed192 --photographs 0.2 --out runs/rendered
  python -m sender.train.wears --people data/people --openimages data/openimages --rendered dressed192 \\
      --start runs/rendered --steps 320 --fold 0 --out runs/fold-0
  python -m sender.train.wears --people data/people --openimages data/openimages --rendered dressed192 \\
      --start runs/rendered --steps 320 --left-out runs/fold-0 runs/fold-1 runs/fold-2 --out runs/wears --export
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional

from common.errors import UsageError
from common.training.checkpoint import load_checkpoint, save_checkpoint
from common.training.recipe import Defaults, Recipe
from common.training.run import main, on_device
from common.wear_kinds import VALUES
from sender.perception.inference.predictor import Perception
from sender.train.worn.people import FOLDS, WornPeople, observed_openimages, observed_photographs, rendered_people
from sender.train.worn.views import WornBatch, batch_of
from sender.wears.network import PHOTOGRAPH, RENDERED, WearsConfig, WearsNet, by_attribute, read_both_ways
from sender.wears.stage import WEIGHTS_NAME

_PHOTOGRAPH_SHARE = 0.8
_SMOOTHING = 0.05
_TEMPERATURES = np.exp(np.linspace(np.log(0.5), np.log(4), 25))
LEFT_OUT = "left-out.pt"

Reading = tuple[Tensor, Tensor]
"""Logits and possible values (N, L) of photographs."""


class WearsTraining(Recipe[WearsNet, WornBatch]):
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
        add("--fold", type=int, choices=range(FOLDS), help="leave a third of the judged people of --people out")
        add("--left-out", type=Path, nargs="+", default=[], metavar="DIR", help="trainings that have left a fold out")
        add("--observed", type=Path, metavar="DIR", help="where what perception sees is kept (default: --out)")

    def prepare(self) -> WearsNet:
        self._left_out = [left_out_reading(directory) for directory in self.options.left_out]
        perception = Perception.load(device=self.device)
        self._rendered = rendered_people(self.options.rendered)
        judged, self._test = self._judged(perception)
        left_out = judged.fold.int() == (-1 if self.options.fold is None else self.options.fold)
        self._photographs, self._val = judged[~left_out], judged[left_out]
        network = WearsNet(WearsConfig())
        before = self._start(network, perception)
        network.encoder.quarter.requires_grad_(False)
        of_people = {"photographed": len(self._photographs), "rendered": len(self._rendered)}
        self.facts = {**of_people, "shipped": self.options.shipped, **before}
        return self.or_shipped(network)

    def optimisers(self, network: WearsNet) -> Sequence[torch.optim.Optimizer]:
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

    def step(self, network: WearsNet, batch: WornBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
        network.encoder.quarter.eval()
        logits = network(batch.views, batch.source)
        loss = set_loss(logits, batch.possible, _SMOOTHING)
        photographed = batch.source == PHOTOGRAPH
        of_photographs = set_loss(logits[photographed], batch.possible[photographed]) if photographed.any() else loss
        return loss, {"photographs": of_photographs.detach()}

    def evaluate(self, network: WearsNet) -> dict[str, float]:
        """Share of the known values that are read rightly, photographs that are left out."""
        return accuracies(*read(network, self._val)) if len(self._val) else {}

    def final_scores(self, network: WearsNet) -> dict[str, float]:
        """Of the fold that is left out, or of the photographs that are held back."""
        return accuracies(*read(network, self._test)) if len(self._test) else self.evaluate(network)

    def finish(self, network: WearsNet) -> None:
        """Keeps what is read of the fold, or chooses the temperatures and what is answered by its frequency."""
        if len(self._val):
            logits, possible = read(network, self._val)
            save_checkpoint(self.options.out / LEFT_OUT, {"logits": logits, "possible": possible})
        if self._left_out:
            logits, possible = (torch.cat(each) for each in zip(*self._left_out, strict=True))
            with torch.no_grad():
                calibrate(network, logits, possible, frequencies(possible))

    def _judged(self, perception: Perception) -> tuple[WornPeople, WornPeople]:
        """Everybody judged, and of those of `people` the ones that are held back, unless a fold is left out."""
        options, kept = self.options, self.options.observed or self.options.out
        sources = []
        if options.people:
            look = partial(observed_photographs, options.people, perception=perception)
            sources.append(WornPeople.cached(kept / "photographs-train.pt", lambda: look("train")))
        if options.openimages:
            look_there = partial(observed_openimages, options.openimages, perception)
            sources.append(WornPeople.cached(kept / "openimages.pt", look_there))
        if not sources:
            raise UsageError("name at least one source: --people, --openimages")
        judged = WornPeople.concatenate(sources)
        if not options.people or options.fold is not None:
            return judged, judged[:0]
        return judged, WornPeople.cached(kept / "photographs-test.pt", lambda: look("test"))

    def _start(self, network: WearsNet, perception: Perception) -> dict[str, int]:
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


def read(network: WearsNet, people: WornPeople) -> Reading:
    """Of photographs, as they are; on the CPU."""
    device = network.temperature.device
    parts = []
    for start in range(0, len(people), 32):
        batch = batch_of([(people, row, PHOTOGRAPH) for row in range(start, min(start + 32, len(people)))])
        with torch.no_grad():
            seen = on_device(batch, device)
            parts.append((read_both_ways(network, seen.views, seen.source).cpu(), batch.possible))
    logits, possible = zip(*parts, strict=True)
    return torch.cat(logits), torch.cat(possible)


def left_out_reading(directory: Path) -> Reading:
    """What a training has written of the fold that it has left out. Raises UsageError if there is none."""
    state = load_checkpoint(directory / LEFT_OUT)
    return state["logits"], state["possible"]


def shuffled(count: int, rng: Generator) -> Iterator[int]:
    """The numbers below `count` in random order, endlessly, each equally often."""
    while True:
        yield from (int(row) for row in rng.permutation(count))


def frequencies(possible: Tensor) -> Tensor:
    """(L,) logarithm of how often each value was judged."""
    counts = 0.5 + certain(possible).sum(dim=0)
    return torch.cat([(part / part.sum()).log() for part in by_attribute(counts)])


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


def calibrate(network: WearsNet, logits: Tensor, possible: Tensor, frequency: Tensor) -> None:
    """Sets the temperature of each attribute; one that reads no better than its most frequent value says that."""
    scales, answers = [], []
    columns = (by_attribute(each) for each in (logits, certain(possible), frequency))
    for read, truth, usual in zip(*columns, strict=True):
        known = truth.sum(dim=-1) == 1
        target = truth[known].argmax(dim=-1)
        losses = [float(functional.cross_entropy(read[known] / t, target)) for t in _TEMPERATURES]
        scales.append(torch.full((read.shape[1],), float(_TEMPERATURES[int(np.argmin(losses))])))
        right = (read[known].argmax(dim=-1) == target).float().mean()
        answers.append(bool(right > (usual.argmax() == target).float().mean()))
    network.temperature.copy_(torch.cat(scales))
    for row, (useful, usual) in enumerate(zip(answers, by_attribute(frequency), strict=True)):
        if not useful:
            network.answer_with(row, usual)


if __name__ == "__main__":
    raise SystemExit(main(WearsTraining))
