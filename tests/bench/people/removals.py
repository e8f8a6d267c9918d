"""What parts of both daemons are for: figures of the same people with a part and with a named bypass in its place.

    joints                    mean error about the hips after semantics, rendered test people
    aligned, hidden joints    likewise, after a similarity transform, and of those that the picture does not show
    depth map, mask           of perception's own heads, the same people
    keypoints beyond 0.1      share farther from the annotation than 0.1 of the person's box, photographs
    Brier score               of the confidence of limbs
    kinds misread             share of what people wear that is read wrongly
    clothes                   mean distance of clothes from the true ones, people at rest, half of `surface` known
    clothes read              the same of the `surface` labels that are read from pictures
    jerk                      error of the second difference of joints in time, rendered clips

All are lower when better.  The difference is that of the bypass from the whole, paired, ± one standard error; where it
is less than two of them, the part shows nothing.  `--photographs DIR` adds the held-back people of that folder.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from common.arrays import Float64Array, FloatArray
from common.body.model import BodyModel
from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.body.template import BodyTemplate
from common.labels import concatenate, group_slices
from common.synthetic.dataset.presets import DRESSED
from common.synthetic.dataset.shards import REQUIRED_FIELDS, Batch, CropDataset
from common.synthetic.dataset.split import SEED_RANGES, check_seed
from common.synthetic.scene.scene import scene_maker
from common.wear_kinds import VALUES
from common.wears import Wears
from receiver.outfits.guidance import Guidance, explained
from receiver.outfits.mixture import PLAIN, decode_outfit, draw
from sender.attributes.kind_stage import KindReader
from sender.people.tracked_person import TrackedPerson
from sender.perception.inference.crop import CropBox
from sender.perception.inference.predictor import Perception
from sender.perception.observed_person import ObservedPerson
from sender.train.photographs.dataset import Photograph, held_out, read_image, read_people
from sender.train.worn.people import hidden_unknown, judged_people
from tests.bench import measures, report
from tests.bench.motion.moving import MovingSender
from tests.bench.motion.moving_clips import MovingClipRenderer
from tests.bench.people import crops
from tests.bench.people.bypasses import WHOLE, Bypass, Row, Senders
from tests.bench.people.outfit_sampler import OutfitSampler
from tests.bench.people.wears import annotated
from tests.bench.perceived import CropSender

_CHUNK = 8
_KNOWN = 0.5
_WORN_PX = 192


@dataclass(frozen=True)
class Removal:
    """A figure with a part and with its bypass: means over the same people, and the paired difference."""

    people: int
    whole: float
    bypassed: float
    difference: float
    standard_error: float

    @classmethod
    def of(cls, whole: Sequence[float], bypassed: Sequence[float]) -> "Removal | None":
        """None if there is nobody of whom both are known."""
        pairs = np.array([whole, bypassed], np.float64)
        pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
        if pairs.shape[1] < 2:
            return None
        change = pairs[1] - pairs[0]
        means = pairs.mean(axis=1)
        return cls(len(change), float(means[0]), float(means[1]), float(change.mean()), measures.standard_error(change))

    @property
    def verdict(self) -> str:
        if abs(self.difference) <= 2 * self.standard_error:
            return "shows nothing"
        return "worse without" if self.difference > 0 else "better without"


Removals = dict[tuple[Bypass, str], Removal]


def of_senders(rows: Sequence[Row], people: str) -> Removals:
    """Perception, semantics and confidence."""
    found: Removals = {}
    for bypass, name in dict.fromkeys(key for row in rows for key in row.figures):
        if bypass == WHOLE:
            continue
        pair = ([row.figures[which, name] for row in rows] for which in (WHOLE, bypass))
        _add(found, (bypass, f"{name}, {people}"), *pair)
    stated, right = (np.stack([getattr(row, name) for row in rows]) for name in ("confidence", "right"))
    brier = [
        np.nanmean(np.square(each - right), axis=1).tolist() for each in (stated, stated.mean(axis=0, keepdims=True))
    ]
    _add(found, (("confidence of limbs", "its mean"), f"Brier score, {people}"), *brier)
    return found


def _add(found: Removals, key: tuple[Bypass, str], whole: Sequence[float], bypassed: Sequence[float]) -> None:
    removal = Removal.of(whole, bypassed)
    # What a bypass cannot change at all is no figure of it.
    if removal and (removal.difference or removal.standard_error):
        found[key] = removal


Reading = tuple[Mapping[str, FloatArray], Sequence[int]]
"""What was read of a person, and the possible values of each attribute as bits."""


def of_wears(readings: Sequence[Reading], people: str) -> Removals:
    """Kinds of clothes: as read, and the value that most of these people have."""
    found: Removals = {}
    wrong = np.full((2, len(readings), len(VALUES)), np.nan)
    for column, (name, values) in enumerate(VALUES.items()):
        judged = [row for row, (_, bits) in enumerate(readings) if bits[column] != (1 << len(values)) - 1]
        if not judged:
            continue
        possible = np.array([[readings[row][1][column] >> value & 1 for value in range(len(values))] for row in judged])
        read = [int(readings[row][0][name].argmax()) for row in judged]
        wrong[0, judged, column] = 1 - possible[np.arange(len(judged)), read]
        wrong[1, judged, column] = 1 - possible[:, possible.sum(axis=0).argmax()]
    known = ~np.isnan(wrong[0]).all(axis=1)
    whole, majority = np.nanmean(wrong[:, known], axis=2).tolist()
    _add(found, (("reading of kinds", "majority"), f"kinds misread, share, {people}"), whole, majority)
    return found


def rendered_wearers(count: int) -> list[Reading]:
    """People in outfits of known kinds."""
    scenes = scene_maker("test", np.random.default_rng(0), 16, DRESSED)
    made = scenes.make(SEED_RANGES["test"].start + 77, count, _WORN_PX)
    bits = hidden_unknown(np.asarray(made["kinds"], np.uint8), np.asarray(made["part"], np.uint8))
    reader, perception, readings = KindReader.load(), Perception.load(), []
    for image, of_person in zip(made["image"], bits, strict=True):
        picture = np.asarray(image, np.uint8)
        person = ObservedPerson(TrackedPerson(0), 1.0, CropBox(0, 0, _WORN_PX), perception.observe([picture]))
        readings.append((reader.read(picture, person), of_person.tolist()))
    return readings


def photographed_wearers(folder: Path, most: int | None) -> list[Reading]:
    """Judged people of held-back photographs in their annotated boxes."""
    reader, perception, readings = KindReader.load(), Perception.load(), list[Reading]()
    for name, people in list(judged_people(folder, "test").items())[:most]:
        read = annotated(reader, perception, read_image(folder / "images" / name), people)
        readings += [(shares, person.kinds[: len(VALUES)].tolist()) for shares, person in read]
    return readings


def held_back(folder: Path, most: int | None) -> Iterator[Photograph]:
    """The photographs with keypoints that no network was trained on."""
    chosen = held_out([path.name for path in sorted((folder / "images").iterdir())])
    photographs = (item for item in read_people(folder) if item.name in chosen)
    for number, item in enumerate(photographs):
        if most is None or number < most:
            yield item


@torch.inference_mode()
def clothes_errors(batch: Batch) -> tuple[list[float], list[float]]:
    """Mean distance from the true clothes, mm, of `surface` labels as read from one picture, and of none."""
    space, where = SurfaceSpace.load(), group_slices()["surface"]
    read = np.stack([concatenate(labels.labels)[where] for labels, _ in CropSender().predict(batch)])
    true = space.decode(torch.from_numpy(np.asarray(batch["surface"], np.float32)))

    def errors(entries: FloatArray) -> list[float]:
        shown = space.decode(torch.from_numpy(entries.astype(np.float32)))
        return list((1000 * (shown - true).norm(dim=-1).mean(-1)).tolist())

    return errors(read), errors(np.zeros_like(read))


def known_outfits(seed: int, count: int) -> Iterator[tuple[Wears, FloatArray]]:
    """The kinds that `count` people wear, and their displacement (V', 3); without headwear, which is not bound to it.

    Raises:
        RendererUnavailable: OpenGL is missing.
        ValueError: the seed is outside the split's range.
    """
    sampler, rng = OutfitSampler("test"), np.random.default_rng([check_seed("test", seed), 4])
    for shape in sampler.shapes(rng, count):
        outfit = sampler.outfit(rng)
        while outfit.kinds["headwear"] != {"none"}:
            outfit = sampler.outfit(rng)
        # Of those that are compatible, the first; a fit that cannot be told counts as regular.
        preferred = {name: ("regular", *VALUES[name]) if name.endswith("_fit") else VALUES[name] for name in VALUES}
        kinds = {name: next(value for value in preferred[name] if value in outfit.kinds[name]) for name in VALUES}
        yield PLAIN.as_known(kinds), sampler.displacer.displace(outfit, shape).displacement


def read_entries(
    displacement: FloatArray, space: SurfaceSpace, confidence: float, noise: FloatArray | Float64Array
) -> FloatArray:
    """(E,) entries of the label group as a reader of some confidence sends them; `noise` (E,) is of N(0, 1)."""
    entries = space.encode(torch.from_numpy(displacement)[None])[0].numpy()
    share = explained(SURFACE_SIZE, confidence)
    return np.asarray(share * entries + np.sqrt(share * (1 - share)) * noise, np.float32)


@torch.inference_mode()
def outfit_errors(count: int) -> tuple[list[float], list[float]]:
    """Mean distance from the true clothes, mm, of the diffusion's outfits, and of the mixture's samples in place."""
    template, space = BodyTemplate.from_model(BodyModel.load()), SurfaceSpace.load()
    guidance, area = Guidance.load(template, space), template.areas / template.areas.sum()
    rng, whole, alone = np.random.default_rng(0), list[float](), list[float]()
    for number, (wears, true) in enumerate(known_outfits(SEED_RANGES["test"].start + 77, count)):
        read = read_entries(true, space, _KNOWN, rng.normal(size=SURFACE_SIZE))
        drawn = draw(wears, number)
        # As `Guidance.chosen` shrinks the noise that the diffusion starts from.
        sample = decode_outfit(drawn, drawn.noise * (1 - _KNOWN) ** 2)
        for own, latent in ((whole, guidance.chosen(wears, number, read, _KNOWN)), (alone, sample)):
            off: Float64Array = np.linalg.norm(guidance.worn(latent, read, _KNOWN).displacement - true, axis=1)
            own.append(float(1000 * area @ off))
    return whole, alone


def of_smoothing(clips: int, seed: int) -> Removals:
    """Labels smoothed over time, and each frame's own."""
    sender, renderer, found = MovingSender(), MovingClipRenderer(), Removals()
    scores = [sender.follow(renderer.clip(seed, number)) for number in range(clips)]
    for key, name in (("mpjpe_mm", "joints, mm, clips"), ("acceleration_error_mm", "jerk, mm a frame², clips")):
        pair = ([score[system].figures()[key] for score in scores] for system in ("bodywire", "per frame"))
        _add(found, (("smoothing", "off"), name), *pair)
    return found


def removal_table(removals: Removals) -> str:
    rows = [["part", "in its place", "figure", "people", "whole", "bypassed", "difference", ""]]
    for ((part, instead), figure), each in removals.items():
        digits = 3 if max(each.whole, each.bypassed) < 1 else 2
        means = [f"{value:.{digits}f}" for value in (each.whole, each.bypassed)]
        difference = f"{each.difference:+.{digits}f} ± {each.standard_error:.{digits}f}"
        rows.append([part, instead, figure, str(each.people), *means, difference, each.verdict])
    return report.markdown(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("removals", __doc__, 7)
    report.add_amount(parser, "--count", "rendered people", 240, 24, report.at_least(_CHUNK))
    report.add_amount(parser, "--moving", "rendered clips", 12, 2, report.at_least(2))
    parser.add_argument("--photographs", type=Path, metavar="DIR", help="folder with images, keypoints and wears.tsv")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    dataset = CropDataset([crops.crop_set(options.count, options.seed, CropSender().size, DRESSED.name)], "test")
    fields, most = (*REQUIRED_FIELDS, "surface"), 10 if options.quick else None
    senders, rows = Senders(dataset.batch(range(_CHUNK), fields)), list[Row]()
    for start in range(0, options.count, _CHUNK):
        rows += senders.rendered(dataset.batch(range(start, min(start + _CHUNK, options.count)), fields))
        report.progress(f"{len(rows)} rendered people")
    removals = of_senders(rows, "rendered")
    if options.photographs:
        seen = [row for item in held_back(options.photographs, most) for row in senders.photographed(item)]
        report.progress(f"{len(seen)} people of photographs")
        removals |= of_senders(seen, "photographs")
        removals |= of_wears(photographed_wearers(options.photographs, most), "photographs")
    removals |= of_wears(rendered_wearers(options.count), "rendered")
    read = clothes_errors(dataset.batch(range(options.count), fields))
    _add(removals, (("reading of clothes", "mean clothes"), "clothes read, mm, rendered"), *read)
    outfits = outfit_errors(options.count)
    _add(removals, (("diffusion of outfits", "mixture alone"), "clothes, mm, rendered"), *outfits)
    removals |= of_smoothing(options.moving, options.seed)
    ordered = dict(sorted(removals.items()))
    print(f"{options.count} dressed test people (seed {options.seed}), {report.machine_line()}\n")
    print(removal_table(ordered))
    systems = {
        f"{part}: {instead}, {figure}": vars(each) | {"shows": each.verdict}
        for ((part, instead), figure), each in ordered.items()
    }
    report.write_json(options, systems, people=options.count)


if __name__ == "__main__":
    sys.exit(main())
