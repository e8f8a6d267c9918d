"""Trains the network that reads glasses and gloves from one view (`sender.wears.extras`).

It learns from the judged people of `people`; of a batch, three in eight are drawn from those who wear something.  On
some of the others it is painted (`sender.train.worn.painted_extras`).  The encoder starts from that of the network of
clothes.

As in `sender.train.wears`, --fold leaves a third of the people out, and --left-out takes what was read of them.  It
chooses the temperatures, and how frequent each value is.

Examples:
  python -m sender.train.extras --people data/people --fold 0 --out runs/extras-0
  python -m sender.train.extras --people data/people --left-out runs/extras-0 runs/extras-1 runs/extras-2 \\
      --out runs/extras --export
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import BoolArray, ByteArray, FloatArray, Image
from common.training.checkpoint import save_checkpoint
from common.training.recipe import Defaults, Recipe
from common.training.run import main, on_device
from common.wear_kinds import EXTRAS, VALUES
from common.weights.loader import architecture_of, load_into
from sender.perception.inference.predictor import Perception
from sender.train.wears import LEFT_OUT, Reading, accuracies, certain, left_out_reading, set_loss
from sender.train.worn.painted_extras import PAINTERS
from sender.train.worn.people import FOLDS, WornPeople, observed_photographs
from sender.train.worn.views import bits, changed, restaged
from sender.wears.evidence import CloseViews, close_transforms, part_pictures
from sender.wears.extras import ExtrasConfig, ExtrasNet, read_extras
from sender.wears.network import WearsConfig, WearsNet, by_attribute
from sender.wears.stage import EXTRAS_NAME, WEIGHTS_NAME

# Share of a batch that is drawn from those who wear something, and of the others that something is painted on.
_WEARING, _PAINTED = 0.375, {"eyewear": 0.39, "hands": 0.3}
_ERASED_SHARE, _FEATURES_SHARE, _SMOOTHING = 0.04, 0.6, 0.04
_COLUMNS = {name: row for row, name in enumerate(VALUES) if name in EXTRAS}


@dataclass(frozen=True, slots=True)
class ExtrasBatch:
    """Views, and (B, L) 1 where a value is possible."""

    views: CloseViews
    possible: Tensor


class ExtrasTraining(Recipe[ExtrasNet, ExtrasBatch]):
    """Likelihood of the values."""

    name = EXTRAS_NAME
    defaults = Defaults(
        10.0, batch=32, rate=1.2e-3, seed=9, average_decay=0.985, largest_norm=5.0, warm_share=0.1, evaluate_minutes=60
    )

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--people", type=Path, required=True, metavar="DIR", help="folder of the source people, with wears.tsv")
        add("--fold", type=int, choices=range(FOLDS), help="leave a third of the judged people out")
        add("--left-out", type=Path, nargs="+", default=[], metavar="DIR", help="trainings that have left a fold out")
        add("--observed", type=Path, metavar="DIR", help="where what perception sees is kept (default: --out)")

    def prepare(self) -> ExtrasNet:
        self._left_out = [left_out_reading(directory) for directory in self.options.left_out]
        kept, perception = self.options.observed or self.options.out, Perception.load(device=self.device)
        look = partial(observed_photographs, self.options.people, perception=perception)
        judged = WornPeople.cached(kept / "photographs-train.pt", lambda: look("train"))
        self._test = WornPeople.cached(kept / "photographs-test.pt", lambda: look("test"))
        known = bits(judged.kinds, EXTRAS)
        judged = judged[certain(known, EXTRAS).sum(dim=1) > 0]
        left_out = judged.fold.int() == (-1 if self.options.fold is None else self.options.fold)
        self._people, self._val = judged[~left_out], judged[left_out]
        self.facts = {"photographed": len(self._people), "shipped": self.options.shipped}
        return self.or_shipped(_with_encoder(ExtrasNet(ExtrasConfig())))

    def optimisers(self, network: ExtrasNet) -> Sequence[torch.optim.Optimizer]:
        learned = {id(weight) for weight in network.encoder.parameters()}
        new = [each for each in network.parameters() if id(each) not in learned]
        rate, encoder = self.options.rate, [each for each in network.encoder.parameters() if each.requires_grad]
        groups = [{"params": new, "lr": rate}, {"params": encoder, "lr": 0.4 * rate}]
        return [torch.optim.AdamW(groups, lr=rate, weight_decay=0.05, betas=(0.9, 0.98))]

    def batches(self, count: int, rng: Generator) -> Iterator[ExtrasBatch]:
        kinds = self._people.kinds.numpy()
        wearing = np.flatnonzero(_wears_something(kinds))
        special = round(_WEARING * count)
        while True:
            rows = [*rng.choice(len(kinds), count - special), *rng.choice(wearing, special)]
            yield _batch([_learned(rng, self._people, int(row)) for row in rows])

    def step(self, network: ExtrasNet, batch: ExtrasBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
        network.encoder.quarter.eval()
        return set_loss(network(batch.views), batch.possible, _SMOOTHING, EXTRAS), {}

    def evaluate(self, network: ExtrasNet) -> dict[str, float]:
        """Share of the known values that are read rightly, of photographs that are left out or held back."""
        return accuracies(*read(network, self._val if len(self._val) else self._test), EXTRAS)

    def finish(self, network: ExtrasNet) -> None:
        """Keeps what is read of the fold, or chooses temperatures and frequencies."""
        if len(self._val):
            logits, possible = read(network, self._val)
            save_checkpoint(self.options.out / LEFT_OUT, {"logits": logits, "possible": possible})
        if self._left_out:
            calibrate(network, *(torch.cat(each) for each in zip(*self._left_out, strict=True)))


def _with_encoder(network: ExtrasNet) -> ExtrasNet:
    """The network with the encoder, and the scale of the features, of the network of clothes."""
    config = WearsConfig()
    clothes = load_into(WearsNet(config), WEIGHTS_NAME, architecture_of(config))
    weights = {name: value for name, value in clothes.encoder.state_dict().items() if not name.startswith("part.")}
    network.encoder.load_state_dict(weights, strict=False)
    network.encoder.quarter.requires_grad_(False)
    network.mean_X.copy_(clothes.mean_X)
    network.scale_X.copy_(clothes.scale_X)
    return network


def _wears_something(kinds: ByteArray) -> BoolArray:
    """(N,) whether some attribute is known to have another value than its first, of (N, A) bits."""
    columns = kinds[:, list(_COLUMNS.values())]
    return np.asarray(((columns & 1) == 0).any(axis=1))


_Sample = tuple[ByteArray, FloatArray, ByteArray]
"""Close parts, features, and kinds as bits."""


def _learned(rng: Generator, people: WornPeople, row: int) -> _Sample:
    """One person, changed at random, who may wear what is painted."""
    columns = (people.picture, people.mask, people.keypoints, people.kinds)
    picture, mask, keypoints, kinds = (column[row].numpy() for column in columns)
    picture, kinds = painted(rng, picture, mask, keypoints, kinds)
    picture, mask, places = changed(rng, *restaged(rng, picture, mask, keypoints[:, :2]))
    parts = part_pictures(picture, mask, close_transforms(places))
    parts[rng.random(len(parts)) < _ERASED_SHARE] = 0
    features = people.features[row].float().numpy()
    return parts, features if rng.random() < _FEATURES_SHARE else np.full_like(features, np.nan), kinds


def painted(
    rng: Generator, picture: Image, mask: ByteArray, keypoints: FloatArray, kinds: ByteArray
) -> tuple[Image, ByteArray]:
    """The picture of one person, on whom something may be painted, and kinds (A,) that say so."""
    kinds = kinds.copy()
    for name, painters in PAINTERS.items():
        if kinds[_COLUMNS[name]] == 1 and rng.random() < _PAINTED[name]:
            value = str(rng.choice(list(painters)))
            changed_picture = painters[value](rng, picture, mask, keypoints)
            if changed_picture is not None:
                picture, kinds[_COLUMNS[name]] = changed_picture, 1 << EXTRAS[name].index(value)
    return picture, kinds


def _batch(samples: Sequence[_Sample]) -> ExtrasBatch:
    parts, features, kinds = (torch.from_numpy(np.stack(each)) for each in zip(*samples, strict=True))
    return ExtrasBatch(CloseViews(parts.float() / 255, features), bits(kinds, EXTRAS))


def read(network: ExtrasNet, people: WornPeople) -> Reading:
    """Of photographs, as they are; on the CPU."""
    device, readings = network.temperature.device, []
    for start in range(0, len(people), 32):
        batch = _batch([_as_it_is(people, row) for row in range(start, min(start + 32, len(people)))])
        with torch.no_grad():
            readings.append((read_extras(network, on_device(batch.views, device)).cpu(), batch.possible))
    logits, possible = zip(*readings, strict=True)
    return torch.cat(logits), torch.cat(possible)


def _as_it_is(people: WornPeople, row: int) -> _Sample:
    picture, mask, keypoints = (column[row].numpy() for column in (people.picture, people.mask, people.keypoints))
    parts = part_pictures(picture, mask, close_transforms(keypoints[:, :2]))
    return parts, people.features[row].float().numpy(), people.kinds[row].numpy()


def calibrate(network: ExtrasNet, logits: Tensor, possible: Tensor) -> None:
    """Fits the temperature of each attribute and the offset of each value."""
    columns = (by_attribute(each, EXTRAS) for each in (logits, certain(possible, EXTRAS)))
    fitted = [
        _fitted(read[truth.sum(dim=1) == 1], truth[truth.sum(dim=1) == 1]) for read, truth in zip(*columns, strict=True)
    ]
    with torch.no_grad():
        network.temperature.copy_(torch.cat([temperature.expand(len(offset)) for temperature, offset in fitted]))
        network.offset.copy_(torch.cat([offset for _, offset in fitted]))


@torch.enable_grad()
def _fitted(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """The temperature and the offsets (V,) of greatest likelihood for logits (N, V); truth is 1 at the true value."""
    log_temperature, offset = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(logits.shape[1]))
    optimiser = torch.optim.LBFGS([log_temperature, offset], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        found = functional.cross_entropy(logits / log_temperature.exp() + offset, truth.argmax(dim=1))
        found.backward()
        return found

    optimiser.step(loss)
    return log_temperature.detach().exp(), offset.detach()


if __name__ == "__main__":
    raise SystemExit(main(ExtrasTraining))
