"""Trains the network that reads what people wear from one view (`sender.attributes`).

Two stages: mostly rendered people, whose kinds are known (preset `dressed`), then mostly photographs with
judged people.  Labels are sets of values: what a picture does not tell costs nothing.  The encoder starts from
perception's stem.

The photographs are those of `photographs.dataset`: of the source `people`, judged by eye in its `wears.tsv`; others of
`people` and those of `openimages` were judged by a vision-language model that was shown them as contact sheets, in
`data`.  The pictures that are held back there are never trained on.  One pass of perception gives keypoints, mask and
features, which are kept; rendered people have the true ones.  Photographs are few: their framing, light and scenery are
changed, and patches cover them.

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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from common.arrays import Box, ByteArray, FloatArray, Image, IntArray
from common.body.anatomy import REGIONS
from common.errors import UsageError
from common.synthetic.render_shards import CropDataset
from common.synthetic.scene.backgrounds import degrade
from common.tensor_rows import TensorRows
from common.training.recipe import Defaults, Recipe
from common.training.run import load_checkpoint, main, on_device
from common.wear_kinds import VALUES
from common.wears import UNKNOWN, USUAL, possible
from sender.attributes.kind_reader import WEIGHTS_NAME
from sender.attributes.kinds import (
    COVERAGE,
    PARTS_PX,
    PHOTOGRAPH,
    RENDERED,
    KindNet,
    KindNetConfig,
    KindViews,
    by_attribute,
    limb_colours,
    part_pictures,
    part_transforms,
    smallest_set,
    tells,
)
from sender.perception.crop import CropBox
from sender.perception.perception_network import FEATURE_SIZE
from sender.perception.predictor import Perception
from sender.train.augment import Framing, before_place, cover, moved, patch, warped
from sender.train.photographs.dataset import Source, corners, held_out, read_image, read_json, read_table

_PHOTOGRAPH_SHARE = 0.8
_SMOOTHING = 0.05
_MASSES = np.arange(0.5, 1.0, 0.005)
# An attribute is read if its likelihood is so many standard errors above that of the usual frequencies.
_LEAST_GAIN = 2.0
# What nobody among some hundreds of people has.
_LEAST_SHARE = 0.004

Reading = tuple[Tensor, Tensor]
"""Logits and possible values (N, L) of photographs."""


WornSplit = Literal["train", "test"]
"""`test` are the pictures that `sender.train.photographs.dataset` holds back."""
_OPENIMAGES = Path(__file__).parent / "data" / "openimages_wears.tsv"
# People whom the `wears.tsv` of `people` leaves out: smaller ones, or with few keypoints.
_PEOPLE = Path(__file__).parent / "data" / "people_wears.tsv"
# Pictures of Open Images are stretched to a square: width and height by the proportions that perception is surer of.
_UNSTRETCHED = {"4:3": (480, 360), "3:4": (360, 480)}
_BATCH = 16
# Standard deviation of the keypoints' errors: of all together, of their scale, and of each, in crop units.
_SHIFT, _SCALE, _EACH = 0.012, 0.06, 0.007
_ERASED_SHARE, _FEATURES_SHARE = 0.05, 0.6
_FRAMING = Framing(turn=0.12, log_scale=0.12, shift=0.06, log_aspect=0.17)
# Shares of the photographs whose scenery is blurred or gone, and patches of one.
_BLURRED, _BARE, _PATCHES = 0.085, 0.09, 0.56
# The regions of the body of which one has to be visible to judge an attribute, by the start of their names.
_SEEN_ON = {
    "hair": ("face", "scalp"),
    "headwear": ("face", "scalp"),
    "sleeve": ("upper_arm", "forearm"),
    "layer": ("chest",),
    "bottom": ("thigh", "shin"),
    "top_fit": ("chest",),
    "bottom_fit": ("thigh", "shin"),
    "shoes": ("foot",),
}
# Share of the crop's cells that such regions cover at least.
_LEAST_SEEN = 0.0012


@dataclass(frozen=True, slots=True)
class JudgedPerson:
    """A person in a photograph, and what was judged.

    Args:
        box: (4,) left, top, right, bottom, pixels.
        kinds: (A,) possible values as bits (`common.wears.possible`).
    """

    box: Box
    kinds: ByteArray


@dataclass(frozen=True, slots=True)
class WornPeople(TensorRows):
    """N people as perception sees them.

    Args:
        picture: (N, S, S, 3) uint8 crops.
        mask: (N, H, H) uint8 probability of the person, in 1/255.
        keypoints: (N, 17, 3) in crop units, and the probability that each is visible.
        features: (N, X) half precision, NaN where perception has not seen the picture.
        kinds: (N, A) uint8 possible values as bits.
    """

    picture: Tensor
    mask: Tensor
    keypoints: Tensor
    features: Tensor
    kinds: Tensor


@dataclass(frozen=True, slots=True)
class WornBatch:
    """Views, their sources (B,) as `sender.attributes.kinds.SOURCES`, and (B, L) 1 where a value is possible."""

    views: KindViews
    source: Tensor
    possible: Tensor


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


def judged_people(source: Source, directory: Path, split: WornSplit) -> dict[tuple[str, str], list[JudgedPerson]]:
    """The judged people of one split of a source, by photograph and the proportions in which boxes are pixels.

    Proportions are empty where the photograph has its own.

    Raises:
        SourceError: the judgements or the annotations are missing or damaged.
    """
    if source == "people":
        document = read_json(directory / "keypoints.json")
        names = {entry["id"]: entry["file_name"] for entry in document["images"]}
        annotations = {entry["id"]: entry for entry in document["annotations"]}
        everything, more = list(names.values()), read_table(_PEOPLE) if split == "train" else ()
        judged = [
            (annotations[int(row["annotation_id"])], row) for row in (*read_table(directory / "wears.tsv"), *more)
        ]
        rows = [(names[annotation["image_id"]], "", np.array(annotation["bbox"]), row) for annotation, row in judged]
    else:
        boxes, rows = read_json(directory / "boxes.json"), []
        everything = list(boxes)
        for row in read_table(_OPENIMAGES):
            name, proportions = row["photograph"], row["proportions"]
            stretch = np.tile(np.array(_UNSTRETCHED[proportions]), 2)
            rows.append((name, proportions, np.array(boxes[name][int(row["box"])]) * stretch, row))
    held_back, found = held_out(everything), dict[tuple[str, str], list[JudgedPerson]]()
    for name, proportions, box, row in rows:
        if (name in held_back) == (split == "test"):
            kinds = possible({attribute: [row.get(attribute, UNKNOWN)] for attribute in VALUES})
            found.setdefault((name, proportions), []).append(JudgedPerson(corners(box.astype(np.float32)), kinds))
    return found


def observed(source: Source, directory: Path, split: WornSplit, perception: Perception) -> WornPeople:
    """One pass of perception over the annotated boxes of the judged people of a source.

    Raises:
        SourceError: a judged picture, the boxes or judgements are missing or damaged.
    """
    parts = []
    for (name, proportions), people in judged_people(source, directory, split).items():
        image = read_image(directory / "images" / name if source == "people" else directory / f"{name}.jpg")
        if proportions:
            image = np.asarray(cv2.resize(image, _UNSTRETCHED[proportions], interpolation=cv2.INTER_LINEAR), np.uint8)
        crops = [CropBox.around(person.box) for person in people]
        output = perception.observe([crop.cut(image, perception.size) for crop in crops])
        pictures, kinds = [crop.cut(image, PARTS_PX) for crop in crops], [person.kinds for person in people]
        mask = (255 * output.mask_logits.float().sigmoid()).round().byte()
        keypoints = torch.cat([output.keypoints_2d, output.visible_logit.sigmoid()[..., None]], dim=-1).float()
        known = (torch.from_numpy(np.stack(each)) for each in (pictures, kinds))
        parts.append(WornPeople(next(known), mask, keypoints, output.features().half(), next(known)))
    return WornPeople.concatenate(parts)


def rendered_people(directories: Sequence[Path]) -> WornPeople:
    """Rendered crops with their true keypoints and masks, without features; what cannot be seen is unknown."""
    names = ("image", "kinds", "visible", "keypoints_2d", "mask", "part")
    parts = []
    for truth in CropDataset(directories, "train").batches(_BATCH, names):
        kinds = hidden_unknown(np.asarray(truth["kinds"], np.uint8), np.asarray(truth["part"], np.uint8))
        visible = np.asarray(truth["visible"], np.float32)[..., None]
        keypoints = np.concatenate([np.asarray(truth["keypoints_2d"], np.float32), visible], axis=-1)
        mask = np.ascontiguousarray(np.asarray(truth["mask"], np.uint8)[:, ::3, ::3])
        features = torch.full((len(kinds), FEATURE_SIZE), torch.nan, dtype=torch.float16)
        image, known = torch.from_numpy(np.asarray(truth["image"], np.uint8)), torch.from_numpy(kinds)
        parts.append(WornPeople(image, torch.from_numpy(mask), torch.from_numpy(keypoints), features, known))
    return WornPeople.concatenate(parts)


def hidden_unknown(kinds_BA: ByteArray, part_BHH: ByteArray) -> ByteArray:
    """The kinds (B, A), with all values possible where the regions that show the attribute are hidden."""
    everything = possible({name: [UNKNOWN] for name in VALUES})
    out = kinds_BA.copy()
    for row, name in enumerate(VALUES):
        regions = [1 + index for index, region in enumerate(REGIONS) if region.startswith(_SEEN_ON[name])]
        seen = np.isin(part_BHH, regions).mean(axis=(1, 2)) >= _LEAST_SEEN
        out[~seen, row] = everything[row]
    return out


def batch_of(rows: Sequence[tuple[WornPeople, int, int]], rng: Generator | None = None) -> WornBatch:
    """Views of people (data, row, source); with `rng` changed at random."""
    parts, colours, features, kinds = [], [], [], []
    for people, row, source in rows:
        picture, mask, keypoints = (column[row].numpy() for column in (people.picture, people.mask, people.keypoints))
        places, feature = keypoints[:, :2], people.features[row].float()
        if rng is not None:
            picture, mask, places = changed(rng, picture, mask, places, restaged=source == PHOTOGRAPH)
            feature = feature if rng.random() < _FEATURES_SHARE else feature * torch.nan
        cut = part_pictures(picture, mask, part_transforms(places))
        if rng is not None:
            cut[rng.random(len(cut)) < _ERASED_SHARE] = 0
        parts.append(cut)
        colours.append(limb_colours(picture, mask, places))
        features.append(feature)
        kinds.append(people.kinds[row])
    pictures = torch.from_numpy(np.stack(parts)).float() / 255
    views = KindViews(pictures, torch.from_numpy(np.stack(colours)), torch.stack(features))
    return WornBatch(views, torch.tensor([source for *_, source in rows]), bits(torch.stack(kinds)))


def changed(
    rng: Generator, picture: Image, mask: ByteArray, places: FloatArray, *, restaged: bool
) -> tuple[Image, ByteArray, FloatArray]:
    """A picture with its mask and keypoints (17, 2), perhaps mirrored, by another camera, with errors of the keypoints.

    Args:
        restaged: also in another framing and scenery, with patches over it.
    """
    size = len(picture)
    matrix, mirrored = (_FRAMING if restaged else Framing()).drawn(rng, np.full(2, size / 2), size, size)
    of_mask = np.column_stack([matrix[:, :2], matrix[:, 2] * len(mask) / size])
    picture, mask = warped(picture, matrix, size, border=0), warped(mask, of_mask, len(mask), border=0)
    places = moved(size * places, matrix, mirrored, size)
    if restaged:
        # Scenery that is blurred or of one colour tells less about the clothes.
        if (drawn := rng.random()) < _BLURRED + _BARE:
            other = np.full_like(picture, rng.integers(0, 256, 3))
            if drawn < _BLURRED:
                other = np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(3, 12))), np.uint8)
            picture = before_place(picture, mask, other)
        for _ in range(rng.poisson(_PATCHES)):
            cover(picture, *patch(rng, 0.03, 0.2), rng.uniform(0, 255, 3))
    centre = places.mean(axis=0)
    off = centre + (places - centre) * np.exp(rng.normal(0, _SCALE))
    noise = rng.normal(0, _SHIFT, 2) + rng.normal(0, _EACH, places.shape)
    return degrade(rng, picture.astype(np.float32)), mask, np.asarray(off + noise, np.float32)


def bits(kinds_NA: Tensor) -> Tensor:
    """(N, L) 1 where a value of the attributes is possible, of (N, A) bits."""
    columns = [
        (kinds_NA[:, row, None].int() >> torch.arange(len(values))) & 1 for row, values in enumerate(VALUES.values())
    ]
    return torch.cat(columns, dim=1).float()


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
