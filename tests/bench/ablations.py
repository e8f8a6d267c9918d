"""Permutation importance of label groups and of the depth map: `python -m tests.bench.ablations`.

    labels          each group of the vocabulary, for perceived and for true labels
    depth           the depth head's output, before pose and semantics read it; and, if the scores of two trainings are
                    given, a perception that was trained without the depth head's loss

Each person receives the part of the next person in a batch of 32.  `tests.bench.removals` measures what u_m, z', the
denoiser, the discriminator and the learned prior contribute.  Prints a Markdown table for the model card.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from common.body.anatomy import JOINT_INDEX, REGION_INDEX
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyOutput, BodyParameters
from common.errors import SourceError
from common.frames import PersonLabels
from common.labels import GROUP_NAMES, concatenate
from common.synthetic.dataset.shards import Batch, CropDataset
from receiver.body.skinning import BodySkin
from sender.train.semantics import true_parameters
from tests.bench import crops, quality, report
from tests.bench.measures import HIPS, mean_by_key
from tests.bench.perceived import CropSender
from tests.bench.report import cell

BATCH = 32
BATCHES, QUICK_BATCHES = 8, 3

SHOWN: tuple[tuple[str, str], ...] = (
    ("root", "mpjpe_mm"),
    ("shape", "stature_mm"),
    ("shape", "pve_mm"),
    ("torso", "pve_mm"),
    ("head", "head_skin_mm"),
    ("left_arm", "left_arm_skin_mm"),
    ("right_arm", "right_arm_skin_mm"),
    ("left_leg", "left_leg_skin_mm"),
    ("right_leg", "right_leg_skin_mm"),
    ("hands", "hands_mm"),
    ("appearance", "colour_error"),
    ("depth", "depth_mm"),
    ("depth", "mpjpe_mm"),
)
"""Part, and a figure that it should affect; the JSON has all figures."""

_SKIN_REGIONS: Mapping[str, tuple[str, ...]] = {
    "head": ("face", "scalp"),
    "left_arm": ("upper_arm.L", "forearm.L", "hand.L"),
    "right_arm": ("upper_arm.R", "forearm.R", "hand.R"),
    "left_leg": ("thigh.L", "shin.L", "foot.L"),
    "right_leg": ("thigh.R", "shin.R", "foot.R"),
}
"""Regions of the skin that mostly this group moves."""

Figures = dict[str, float]
Rows = dict[str, list[Mapping[str, float]]]


@dataclass(frozen=True)
class Measured:
    """B people relative to the midpoints of their hips, metres, axes of the crops' cameras.

    Args:
        keypoints: (B, 17, 3).
        skin: (B, V, 3).
        region: (V,) of the skin.
        hands: (B, H, 3) skin of both hands, each in the frame of its forearm, relative to the wrist.
        stature: (B,) height when standing upright.
        colours: (B, R, 3) in 0…1.
    """

    keypoints: Tensor
    skin: Tensor
    region: Tensor
    hands: Tensor
    stature: Tensor
    colours: Tensor

    def compare(self, truth: Self) -> Figures:
        """Mean errors over the people."""
        return {
            "mpjpe_mm": _distance_mm(self.keypoints, truth.keypoints),
            "pve_mm": _distance_mm(self.skin, truth.skin),
            "hands_mm": _distance_mm(self.hands, truth.hands),
            "stature_mm": 1000 * float((self.stature - truth.stature).abs().mean()),
            "colour_error": float((self.colours - truth.colours).abs().mean()),
            **{f"{group}_skin_mm": self._skin_mm(truth, names) for group, names in _SKIN_REGIONS.items()},
        }

    def _skin_mm(self, truth: Self, names: Sequence[str]) -> float:
        own = torch.isin(self.region, torch.tensor([REGION_INDEX[name] for name in names]))
        return _distance_mm(self.skin[:, own], truth.skin[:, own])


def _distance_mm(found: Tensor, truth: Tensor) -> float:
    return 1000 * float((found - truth).norm(dim=-1).mean())


class LabelDecoder:
    """Poses the bodies of labels, and the true bodies."""

    def __init__(self) -> None:
        self._body = BodyModel.load()
        self._skin = torch.from_numpy(BodySkin.of(self._body).template.kept)
        self._space = LabelSpace.load()

    @torch.inference_mode()
    def truth(self, batch: Batch) -> tuple[list[PersonLabels], Measured]:
        """True labels and true bodies of a batch."""
        parameters = true_parameters(batch)
        colours = torch.from_numpy(batch["colours"]).float()
        labels = self._space.encode(parameters, colours)
        return crops.people_of(labels), self._measured(parameters, colours)

    @torch.inference_mode()
    def decode(self, people: Sequence[PersonLabels]) -> Measured:
        """The bodies of labels, as the receiver skins them."""
        labels = torch.from_numpy(np.stack([concatenate(person.labels) for person in people]))
        return self._measured(self._space.decode(labels), self._space.decode_colours(labels))

    def _measured(self, parameters: BodyParameters, colours: Tensor) -> Measured:
        posed = self._body(parameters)
        keypoints = self._body.coco_keypoints(posed.vertices)
        hips = keypoints[:, list(HIPS)].mean(1, keepdim=True)
        skin = posed.vertices[:, self._skin] - hips
        region = self._body.vertex_region[self._skin]
        height = self._body.rest(parameters.shape)[0][:, self._skin, 1]
        stature = height.amax(1) - height.amin(1)
        return Measured(keypoints - hips, skin, region, self._hands(posed), stature, colours)

    def _hands(self, posed: BodyOutput) -> Tensor:
        hands = []
        for side in (".L", ".R"):
            own = self._body.vertex_region == REGION_INDEX[f"hand{side}"]
            wrist = posed.joint_positions[:, JOINT_INDEX[f"wrist{side}"]]
            forearm = posed.joint_rotations[:, JOINT_INDEX[f"lowerarm01{side}"]]
            hands.append((posed.vertices[:, own] - wrist[:, None]) @ forearm)
        return torch.cat(hands, dim=1)


@contextmanager
def shuffled_depth(sender: CropSender) -> Iterator[None]:
    """Perception reads each person's pose and labels with the next person's depth map."""

    def roll(_module: torch.nn.Module, _inputs: object, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return output[0].roll(1, 0), output[1].roll(1, 0)

    handle = sender.network.depth.register_forward_hook(roll)
    try:
        yield
    finally:
        handle.remove()


def with_next_group(people: Sequence[PersonLabels], group: str) -> list[PersonLabels]:
    """Each person with one group of the next person."""
    donors = [*people[1:], people[0]]
    return [
        replace(person, labels={**person.labels, group: donor.labels[group]})
        for person, donor in zip(people, donors, strict=True)
    ]


def experiment(sender: CropSender, decoder: LabelDecoder, batch: Batch, rows: Rows) -> None:
    """All permutations on one batch; figures are appended to `rows` under the names of the systems."""

    def record(
        name: str, people: Sequence[PersonLabels], truth: Measured, heads: Mapping[str, float] | None = None
    ) -> None:
        rows.setdefault(name, []).append({**decoder.decode(people).compare(truth), **(heads or {})})

    true_labels, truth = decoder.truth(batch)
    perceived, heads = _perceive(sender, batch)
    for name, people, extra in (("labels", perceived, heads), ("truth_labels", true_labels, {})):
        record(name, people, truth, extra)
        for group in GROUP_NAMES:
            record(f"{name} shuffled {group}", with_next_group(people, group), truth)
    with shuffled_depth(sender):
        perceived, heads = _perceive(sender, batch)
    record("labels shuffled depth", perceived, truth, heads)


def _perceive(sender: CropSender, batch: Batch) -> tuple[list[PersonLabels], Figures]:
    perceived = sender.predict(batch)
    return [labels for labels, _ in perceived], mean_by_key([heads for _, heads in perceived])


def ablation_table(systems: report.Systems) -> str:
    """A row per part: its figure without and with the permutation, and the change."""
    rows = [["shuffled among people", "figure", "perceived labels", "shuffled", "change", "true labels", "shuffled"]]
    for part, key in SHOWN:
        before, after = systems["labels"].get(key), systems[f"labels shuffled {part}"].get(key)
        change = f"{after / before - 1:+.0%}" if before and after is not None else "–"
        ideal = [systems.get(name, {}).get(key) for name in ("truth_labels", f"truth_labels shuffled {part}")]
        if f"truth_labels shuffled {part}" not in systems:
            ideal = [None, None]
        cells = [cell(key, value) for value in (before, after)]
        rows.append([part, key, *cells, change, *(cell(key, value) for value in ideal)])
    return report.markdown(rows)


def training_table(with_depth: Path, without_depth: Path) -> tuple[str, report.Systems]:
    """The scores of two trainings of perception, with all losses and `--without depth`, side by side.

    Raises:
        SourceError: an existing file has no scores.
    """
    missing = [str(path) for path in (with_depth, without_depth) if not path.exists()]
    if missing:
        return f"depth head's loss: not run (no {' and no '.join(missing)})", {}
    systems = {"all losses": read_scores(with_depth), "without depth": read_scores(without_depth)}
    return report.table(systems), {f"training, {name}": scores for name, scores in systems.items()}


def read_scores(path: Path) -> Figures:
    """Scores of a training: a JSON object of numbers, at the top level or under "scores".

    Raises:
        SourceError: the file cannot be read or has no scores.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        scores = document.get("scores", document)
        return {str(name): float(value) for name, value in scores.items() if isinstance(value, int | float)}
    except (OSError, ValueError, AttributeError) as error:
        raise SourceError(f"{path} has no scores of a training") from error


def _parser() -> argparse.ArgumentParser:
    parser = report.flags("ablations", "Measure how errors grow when a part is permuted among people.", crops.SEED)
    parser.add_argument("--with-depth", type=Path, default=Path("runs/perception/scores.json"), metavar="FILE")
    parser.add_argument(
        "--without-depth",
        type=Path,
        default=Path("runs/perception-without-depth/scores.json"),
        metavar="FILE",
        help="scores of two equally long trainings of sender.train.perception, the second with --without depth",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    batches = QUICK_BATCHES if options.quick else BATCHES
    count = quality.QUICK_COUNT if options.quick else quality.COUNT

    def work() -> None:
        sender, decoder = CropSender(), LabelDecoder()
        dataset = CropDataset([crops.crop_set(count, options.seed, sender.size)], "test")
        rows: Rows = {}
        for number in range(batches):
            experiment(sender, decoder, dataset.batch(range(number * BATCH, (number + 1) * BATCH)), rows)
            report.progress(f"{(number + 1) * BATCH}/{batches * BATCH} images")
        systems: dict[str, report.Figures] = {name: mean_by_key(own) for name, own in rows.items()}
        trained, training = training_table(options.with_depth, options.without_depth)
        print(f"{batches * BATCH} test images (seed {options.seed}), {report.machine_line()}\n")
        print(ablation_table(systems), f"\n\n{trained}")
        report.write_json(options, {**systems, **training})

    return report.run(_parser(), lambda _: work(), arguments)


if __name__ == "__main__":
    sys.exit(main())
