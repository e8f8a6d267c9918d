"""What more views of a person add to the clothes: `python -m tests.bench.clothes`.

    pictures of all sides ─ perception ─ semantics ─ clothing, one identity ─ `surface` after 1, 2, 4 and 8 pictures
    true pose and shape of the first picture ──────────────────────────────── receiver ─ Chamfer to the clothed truth

Dressed people of the test split turn by 45° from picture to picture; the pictures have the
backgrounds, bystanders, occluders, truncations and degradations of the preset.  The sender fuses what it reads in them
as in a clip; the poses that it reads them with are the perceived ones.  The receiver gets the true pose, so that only
clothes differ between the rows:

    no surface      nothing known of the clothes: plain ones
    1 view … 8      perceived clothes after so many pictures, as sure as the sender says
    true surface    the true entries of the label group
    …_over_bare     mean Chamfer distance over that of the skinned body without clothes, ± one standard error
    worse_share     people whose surface is farther from the truth than the skinned body

The true surface is the outer shell.  With `--changing-pose` every picture shows another pose; with `--whole` none is
truncated.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import PersonLabels
from common.synthetic.dataset.presets import DRESSED
from sender.perception.inference.crop import CropBox
from sender.perception.stage import ObservedPerson
from tests.bench import crops, report
from tests.bench.crops import people_of
from tests.bench.dressed_people import SIDES, DressedPeople, DressedPerson, SidePicture
from tests.bench.measures import Surface, centred, mean_by_key, ratio_of_means
from tests.bench.perceived import CropSender
from tests.bench.reconstruction_scores import Receiver, surface_figures

VIEWS = (1, 2, 4, SIDES)
GROUP = "surface"
_PROGRESS_STEP = 10
# The sender reads a tracked person's clothes in every fifth frame.
_FRAMES_A_PICTURE = 5

Figures = dict[str, float]


class ClothesReader(CropSender):
    """Perception, semantics and clothing on the pictures of one person.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def read(self, pictures: Sequence[SidePicture]) -> list[PersonLabels]:
        """The person's labels after each of the pictures, with entries and confidence of the label group."""
        self._clothing.reset()
        output = self._perception.observe([picture.image for picture in pictures])
        read = []
        for row, picture in enumerate(pictures):
            self._semantics.reset()
            crop = CropBox(0, 0, len(picture.image))
            observed = [ObservedPerson(0, 1.0, crop, output[row : row + 1])]
            labels = self._semantics.label(observed, picture.camera)
            dressed = self._clothing.label(picture.image, picture.camera, observed, labels)
            read.append(dressed[0])
            for _ in range(_FRAMES_A_PICTURE - 1):
                self._clothing.label(picture.image, picture.camera, [], [])
        return read


class ClothesBench:
    """Sender and receiver in process.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self) -> None:
        self.reader, self._receiver, self._space = ClothesReader(), Receiver(), LabelSpace.load()

    def figures(self, person: DressedPerson, identity: int) -> dict[str, Figures]:
        """Row of the table → figures of one person."""
        read = self.reader.read(person.pictures)
        true = replace(people_of(self._space.encode(person.pictures[0].parameters))[0], identity=identity)
        others = {name: values for name, values in true.labels.items() if name != GROUP}
        rows = {"no surface": replace(true, labels=others)}
        for count in VIEWS:
            seen = read[count - 1]
            confidence = {**true.confidence, GROUP: seen.confidence[GROUP]}
            labels = {**others, GROUP: seen.labels[GROUP]}
            rows[f"{count} view{'s' * (count > 1)}"] = replace(true, labels=labels, confidence=confidence)
        rows["true surface"] = replace(true, labels={**others, GROUP: person.surface})
        truth = Surface(centred(person.keypoints, person.shell.vertices), person.shell.faces)
        return {name: self._scores(labels, person, truth) for name, labels in rows.items()}

    def _scores(self, labels: PersonLabels, person: DressedPerson, truth: Surface) -> Figures:
        (found,) = self._receiver.reconstruct([labels], person.pictures[0].camera)
        return surface_figures(found, self._receiver.bare(labels), truth)


def summary(people: Sequence[Mapping[str, Figures]]) -> dict[str, Figures]:
    """Row of the table → means over the people, and ratios to the body without clothes."""
    return {name: _summary([person[name] for person in people]) for name in people[0]}


def _summary(rows: Sequence[Figures]) -> Figures:
    bare = np.array([row["chamfer_bare_mm"] for row in rows])
    figures = mean_by_key(rows)
    for kind in ("surface", "body"):
        own = np.array([row[f"chamfer_{kind}_mm"] for row in rows])
        ratio, error = ratio_of_means(own, bare)
        figures |= {f"{kind}_over_bare": ratio, f"{kind}_over_bare_standard_error": error}
    surface = np.array([row["chamfer_surface_mm"] for row in rows])
    return figures | {"worse_share": float((surface > bare).mean())}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("clothes", __doc__, crops.SEED)
    report.add_amount(parser, "--count", "number of people", 240, 24, report.at_least(1))
    parser.add_argument("--changing-pose", action="store_true", help="every picture has another pose")
    parser.add_argument("--whole", action="store_true", help="every picture shows the whole person")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    count = options.count
    bench, body = ClothesBench(), BodyModel.load()
    preset = replace(DRESSED, whole=1.0) if options.whole else DRESSED
    people = DressedPeople(body, preset, options.seed, bench.reader.size)
    rows: list[dict[str, Figures]] = []
    with torch.inference_mode():
        for person in people.people(count, changing_pose=options.changing_pose):
            rows.append(bench.figures(person, len(rows)))
            if len(rows) % _PROGRESS_STEP == 0:
                report.progress(f"{len(rows)}/{count} people")
    systems = summary(rows)
    poses = "another pose in every picture" if options.changing_pose else "one pose"
    framing = "whole in every picture" if options.whole else f"{DRESSED.whole:.0%} of the pictures whole"
    people_line = f"{count} dressed test people (seed {options.seed}), {poses}, {framing}"
    chosen_as = {name: getattr(options, name) for name in ("changing_pose", "whole")}
    report.publish(options, systems, people_line, people=count, **chosen_as)


if __name__ == "__main__":
    sys.exit(main())
