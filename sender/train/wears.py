"""Trains the network that reads what people wear from one view (`sender.wears`).

Photographs with judged people are mixed with rendered ones, whose kinds are known (`render_shards --preset kinds`);
rendered people alone come first.  Labels are sets of values: what a picture does not tell costs nothing.  The encoder
starts from perception's stem.  A tenth of the training photographs chooses the temperatures, and the attributes that
are answered with their frequencies alone, because they read no better than the most frequent value.  CPU recipe: an
hour on one core.  --export also writes the weights when the training is over.

Examples:
  python -m common.synthetic.render_shards --out kinds --preset kinds --count 20480 --size 192
  python -m sender.train.wears --people data/people --rendered kinds --out runs/wears --export
  python -m sender.train.wears --people data/people --rendered kinds more --out runs/wears --resume --export
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional

from common.arrays import ByteArray, FloatArray, Image
from common.body.anatomy import MIRRORED_KEYPOINTS
from common.training.recipe import Defaults, Recipe
from common.training.run import main
from common.wears import VALUES
from sender.perception.inference.predictor import Perception
from sender.train.worn_people import WornPeople, observed_photographs, rendered_people
from sender.wears.evidence import WornViews, limb_colours, part_pictures, part_transforms
from sender.wears.network import WearsConfig, WearsNet, by_attribute
from sender.wears.stage import WEIGHTS_NAME

# Share of the training in which only rendered people are seen, and that of photographs in a batch afterwards.
_RENDERED_ALONE, _PHOTOGRAPH_SHARE = 0.45, 0.4
# Standard deviation of the keypoints' errors: of all together, of their scale, and of each, in crop units.
_SHIFT, _SCALE, _EACH = 0.012, 0.06, 0.007
_ERASED_SHARE, _FEATURES_SHARE = 0.05, 0.6
_SMOOTHING = 0.05
_TEMPERATURES = np.exp(np.linspace(np.log(0.5), np.log(4), 25))


@dataclass(frozen=True, slots=True)
class WornBatch:
    """Views, their sources (B,) as `sender.wears.network.SOURCES`, and (B, L) 1 where a value is possible."""

    views: WornViews
    source: Tensor
    possible: Tensor


class WearsTraining(Recipe[WearsNet, WornBatch]):
    """Likelihood of sets of values."""

    name = WEIGHTS_NAME
    defaults = Defaults(60.0, batch=32, rate=1.5e-3, seed=7, average_decay=0.995, evaluate_minutes=2.0)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--people", type=Path, required=True, help="folder with photographs and wears.tsv")
        parser.add_argument("--rendered", type=Path, nargs="+", required=True, help="folders of shards (preset kinds)")

    def prepare(self) -> WearsNet:
        out, people = self.options.out, self.options.people
        perception = Perception.load()
        read = partial(observed_photographs, people, perception=perception)
        self._train = WornPeople.cached(out / "photographs-train.pt", lambda: read("train"))
        self._val = WornPeople.cached(out / "photographs-val.pt", lambda: read("val"))
        self._test = WornPeople.cached(out / "photographs-test.pt", lambda: read("test"))
        self._rendered = rendered_people(self.options.rendered)
        network = WearsNet(WearsConfig())
        features = self._train.features.float()
        network.mean_X.copy_(features.mean(0))
        network.scale_X.copy_(features.std(0).clamp_min(1e-2))
        stem = perception.net.stem
        network.encoder.quarter.load_state_dict(stem.quarter.state_dict())
        eighth = {name: value for name, value in stem.eighth.state_dict().items() if not name.startswith("2.")}
        network.encoder.eighth.load_state_dict(eighth)
        network.encoder.quarter.requires_grad_(False)
        self.facts = {"photographed": len(self._train), "rendered": len(self._rendered)}
        return network

    def optimisers(self, network: WearsNet) -> Sequence[torch.optim.Optimizer]:
        stem = list(network.encoder.eighth.parameters())
        known = {id(weight) for weight in stem}
        new = [each for each in network.parameters() if each.requires_grad and id(each) not in known]
        rate = self.options.rate
        groups = [{"params": new, "lr": rate}, {"params": stem, "lr": 0.3 * rate}]
        return [torch.optim.AdamW(groups, lr=rate, weight_decay=0.05, betas=(0.9, 0.98))]

    def batches(self, count: int, rng: Generator) -> Iterator[WornBatch]:
        while True:
            share = _PHOTOGRAPH_SHARE if self.share >= _RENDERED_ALONE else 0.0
            photographs = round(share * count)
            drawn = [(self._train, 0)] * photographs + [(self._rendered, 1)] * (count - photographs)
            rows = [(people, int(rng.integers(len(people))), source) for people, source in drawn]
            yield batch_of(rows, rng)

    def step(self, network: WearsNet, batch: WornBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
        network.encoder.quarter.eval()
        logits = network(batch.views, batch.source)
        loss = set_loss(logits, batch.possible, _SMOOTHING)
        photographed = batch.source == 0
        of_photographs = set_loss(logits[photographed], batch.possible[photographed]) if photographed.any() else loss
        return loss, {"photographs": of_photographs.detach()}

    def evaluate(self, network: WearsNet) -> dict[str, float]:
        """Share of the known values that are read rightly, validation photographs."""
        return accuracies(*self._read(network, self._val))

    def final_scores(self, network: WearsNet) -> dict[str, float]:
        """Of the photographs that are held back."""
        return accuracies(*self._read(network, self._test))

    def finish(self, network: WearsNet) -> None:
        """Chooses the temperatures, and which attributes are answered by their frequency."""
        with torch.no_grad():
            logits, possible = self._read(network, self._val)
            calibrate(network, logits, possible, self._frequencies())

    def _read(self, network: WearsNet, people: WornPeople) -> tuple[Tensor, Tensor]:
        """Logits and possible values (N, L) of photographs."""
        parts = []
        for start in range(0, len(people), 32):
            batch = batch_of([(people, row, 0) for row in range(start, min(start + 32, len(people)))])
            parts.append((network(batch.views, batch.source), batch.possible))
        logits, possible = zip(*parts, strict=True)
        return torch.cat(logits), torch.cat(possible)

    def _frequencies(self) -> Tensor:
        """(L,) logarithm of how often each value was judged in the training photographs."""
        counts = 0.5 + certain(bits(self._train.kinds)).sum(dim=0)
        return torch.cat([(part / part.sum()).log() for part in by_attribute(counts)])


def batch_of(rows: Sequence[tuple[WornPeople, int, int]], rng: Generator | None = None) -> WornBatch:
    """Views of people (data, row, source); with `rng` changed at random."""
    parts, colours, features, kinds = [], [], [], []
    for people, row, _ in rows:
        picture, mask, keypoints = (column[row].numpy() for column in (people.picture, people.mask, people.keypoints))
        places = keypoints[:, :2]
        feature = people.features[row].float()
        if rng is not None:
            picture, mask, places = changed(rng, picture, mask, places)
            feature = feature if rng.random() < _FEATURES_SHARE else feature * torch.nan
        cut = part_pictures(picture, mask, part_transforms(places))
        if rng is not None:
            cut[rng.random(len(cut)) < _ERASED_SHARE] = 0
        parts.append(cut)
        colours.append(limb_colours(picture, mask, places))
        features.append(feature)
        kinds.append(people.kinds[row])
    pictures = torch.from_numpy(np.stack(parts)).float() / 255
    views = WornViews(pictures, torch.from_numpy(np.stack(colours)), torch.stack(features))
    return WornBatch(views, torch.tensor([source for *_, source in rows]), bits(torch.stack(kinds)))


def changed(rng: Generator, picture: Image, mask: ByteArray, places: FloatArray) -> tuple[Image, ByteArray, FloatArray]:
    """A mirrored picture, in other light, blurred or compressed, with errors of the keypoints."""
    if rng.random() < 0.5:
        picture, mask = np.ascontiguousarray(picture[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
        places = (np.array([1, 0]) + np.array([-1, 1]) * places)[MIRRORED_KEYPOINTS]
    picture = relit(rng, picture)
    if rng.random() < 0.35:
        size, small = len(picture), int(len(picture) * rng.uniform(0.25, 0.8))
        reduced = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
        picture = np.asarray(cv2.resize(reduced, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)
    if rng.random() < 0.2:
        coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 60))])[1]
        picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    centre = places.mean(axis=0)
    moved = centre + (places - centre) * np.exp(rng.normal(0, _SCALE))
    noise = rng.normal(0, _SHIFT, 2) + rng.normal(0, _EACH, places.shape)
    return picture, mask, np.asarray(moved + noise, np.float32)


def relit(rng: Generator, picture: Image) -> Image:
    """The picture with another gain, gamma and contrast of each channel, or without colour."""
    levels = np.arange(256) / 255
    gamma, gain = np.exp(rng.normal(0, 0.25)), np.exp(rng.normal(0, 0.12, 3) + rng.normal(0, 0.15))
    table = np.clip(255 * gain * levels[:, None] ** gamma, 0, 255).astype(np.uint8)[:, None]
    picture = np.asarray(cv2.LUT(picture, np.ascontiguousarray(table.transpose(1, 0, 2))), np.uint8)
    if rng.random() < 0.1:
        picture = np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    return picture


def bits(kinds_NA: Tensor) -> Tensor:
    """(N, L) 1 where a value is possible, of (N, 8) bits."""
    columns = [
        (kinds_NA[:, row, None].int() >> torch.arange(len(values))) & 1 for row, values in enumerate(VALUES.values())
    ]
    return torch.cat(columns, dim=1).float()


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
    rows = zip(VALUES, by_attribute(logits), by_attribute(certain(possible)), strict=True)
    for name, read, truth in rows:
        known = truth.sum(dim=-1) == 1
        scores[name] = float((read.argmax(dim=-1) == truth.argmax(dim=-1))[known].float().mean())
    return {**scores, "mean": float(np.mean(list(scores.values()))), "loss": float(set_loss(logits, possible))}


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
