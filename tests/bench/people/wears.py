"""What people wear, read from one view each in photographs that nobody was trained on.

    people, right        judged people, share of them read rightly
    standard_error       of `right`
    majority             share of the value that is most frequent among these people
    balanced             mean over the values of the share read rightly; `values`: how many occur

`annotated` reads the annotated boxes; `product` is what the whole sender sees, in which a judged person counts if one
of the people found has a box around the keypoints that overlaps the annotated box (IoU ≥ 0.4); `found` is their share.

Examples:
  python -m tests.bench.wears --photographs data/people
  python -m tests.bench.wears --photographs data/people --quick
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torchvision.ops import box_iou

from common.arrays import Box, FloatArray, Image
from common.frames import Camera
from common.imaging.pictures import guessed_focal_px
from common.wear_kinds import VALUES
from sender.attributes.kind_reader import KindReader
from sender.attributes.kinds import said
from sender.config import TrackingConfig
from sender.perception.perception_stage import PerceptionStage
from sender.perception.predictor import Perception
from sender.perception.read import predict_in_boxes
from sender.perception.track import ObservedPerson, TrackedPerson
from sender.train.photographs.dataset import read_image
from sender.train.wears import JudgedPerson, judged_people
from tests.bench import report

_QUICK = 25
_LEAST_OVERLAP = 0.4

Reading = tuple[Mapping[str, FloatArray], JudgedPerson]


def annotated(
    reader: KindReader, perception: Perception, image: Image, people: Sequence[JudgedPerson]
) -> list[Reading]:
    """Readings in the annotated boxes."""
    seen = predict_in_boxes(perception, image, [person.box for person in people])
    rows = zip(people, seen.crops, seen.output.split(), strict=True)
    return [
        (reader.read(image, ObservedPerson(TrackedPerson(0), 1.0, crop, output)), person)
        for person, crop, output in rows
    ]


def product(reader: KindReader, stage: PerceptionStage, image: Image, people: Sequence[JudgedPerson]) -> list[Reading]:
    """Readings of the people whom the sender finds in a picture."""
    height, width = image.shape[:2]
    stage.reset()
    found = stage.process(image, Camera(width, height, guessed_focal_px(width, height)))
    boxes = torch.from_numpy(np.array([keypoint_box(each) for each in found], np.float32).reshape(-1, 4))
    readings = []
    for person in people:
        overlaps = box_iou(torch.from_numpy(person.box[None]), boxes)[0]
        if len(found) and overlaps.max() >= _LEAST_OVERLAP:
            readings.append((reader.read(image, found[int(overlaps.argmax())]), person))
    return readings


def keypoint_box(person: ObservedPerson) -> Box:
    """(4,) around the keypoints that are in the crop, pixels."""
    places = person.output.keypoints_2d[0].float().numpy()
    pixels = person.crop.to_pixels(places[person.output.visible_logit[0].numpy() > 0] if len(places) else places)
    if not len(pixels):
        return np.zeros(4, np.float32)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    # Keypoints are inside the outline: half a head beyond them.
    margin = 0.06 * float((high - low).max())
    return np.concatenate([low - margin, high + margin]).astype(np.float32)


def figures(readings: Sequence[Reading], name: str, mass: Mapping[str, float]) -> dict[str, float]:
    """Figures of one attribute, of the people of whom it was judged; none if there are none."""
    row, values = list(VALUES).index(name), VALUES[name]
    bits = [int(person.kinds[row]) for _, person in readings]
    judged = [number for number, each in enumerate(bits) if each.bit_count() == 1]
    if not judged:
        return {}
    truth = np.array([bits[number].bit_length() - 1 for number in judged])
    shares = np.stack([readings[number][0][name] for number in judged])
    right = shares.argmax(axis=1) == truth
    counts = np.bincount(truth, minlength=len(values))
    recalls = [float(right[truth == value].mean()) for value in np.flatnonzero(counts)]
    sets = [said(readings[number][0], mass).posterior.get(name) for number in judged]
    held = [
        (shares[value] > 0, np.count_nonzero(shares))
        for shares, value in zip(sets, truth, strict=True)
        if shares is not None
    ]
    covered, sizes = np.array(held, np.float32).reshape(-1, 2).T
    return {
        "people": float(len(truth)),
        "right": float(right.mean()),
        "standard_error": float(np.sqrt(right.mean() * (1 - right.mean()) / len(right))),
        "majority": float(counts.max() / counts.sum()),
        "balanced": float(np.mean(recalls)),
        "values": float(len(recalls)),
        "said": len(held) / len(truth),
        **({"coverage": float(covered.mean()), "set_size": float(sizes.mean())} if held else {}),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("wears", __doc__, 0)
    parser.add_argument("--photographs", type=Path, required=True, help="folder with images, keypoints and wears.tsv")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    reader, perception = KindReader.load(), Perception.load()
    stage = PerceptionStage.load(TrackingConfig(quality="full"))
    held_back = list(judged_people("people", options.photographs, "test").items())[: _QUICK if options.quick else None]
    in_boxes: list[Reading] = []
    of_product: list[Reading] = []
    for (name, _), people in held_back:
        image = read_image(options.photographs / "images" / name)
        in_boxes += annotated(reader, perception, image, people)
        of_product += product(reader, stage, image, people)
    systems = {
        f"{how} {name}": figures(readings, name, reader.mass)
        for how, readings in (("annotated", in_boxes), ("product", of_product))
        for name in VALUES
    }
    found = len(of_product) / max(len(in_boxes), 1)
    report.publish(options, systems, f"{len(in_boxes)} people, {found:.0%} found by the sender", found_share=found)


if __name__ == "__main__":
    sys.exit(main())
