"""What each part is worth: give everybody somebody else's, and measure: `python -m tests.bench.ablations`.

    labels          every group of the vocabulary, of perceived people and of true ones
    u_m             the condition of the diffusion (24)
    z'              the latent of the decode stage (21)
    depth           the depth head's answer, before pose and semantics read it; and, if the scores of two trainings are
                    given, a perception that was trained without the depth head's loss

Who gets whose part is fixed: the next person's in a batch of 32.  Prints a Markdown table for the model card.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from common.body.anatomy import JOINT_INDEX, REGION_INDEX
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyOutput
from common.errors import SourceError
from common.frames import PersonLabels
from common.labels import GROUP_NAMES
from common.synthetic.dataset.shards import Batch, CropDataset
from receiver.body.skinning import BodySkin
from receiver.decode.stage import DecodeStage
from receiver.diffusion.condition import Condition
from receiver.diffusion.stage import DiffusionStage
from sender.train.semantics import true_parameters
from tests.bench import crops, quality, report
from tests.bench.measures import HIPS, mean_by_key, point_chamfer_mm
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
    ("u_m", "chamfer_points_mm"),
    ("z_prime", "chamfer_points_mm"),
    ("depth", "depth_mm"),
    ("depth", "mpjpe_mm"),
)
"""Part, and a figure that shows what it is for; all others are in the JSON."""

_SKIN_REGIONS: Mapping[str, tuple[str, ...]] = {
    "head": ("face", "scalp"),
    "left_arm": ("upper_arm.L", "forearm.L", "hand.L"),
    "right_arm": ("upper_arm.R", "forearm.R", "hand.R"),
    "left_leg": ("thigh.L", "shin.L", "foot.L"),
    "right_leg": ("thigh.R", "shin.R", "foot.R"),
}
"""What a group turns, and little else does."""

Figures = dict[str, float]
Rows = dict[str, list[Mapping[str, float]]]


@dataclass(frozen=True)
class Measured:
    """B people, about the middles of their hips, metres, axes of the crops' cameras.

    Args:
        keypoints: (B, 17, 3).
        skin: (B, V, 3).
        region: (V,) of the skin.
        hands: (B, H, 3) both hands' skin, each in the frame of its forearm, from the wrist.
        stature: (B,) height when standing upright.
        points: (B, 2048, 3) on the surface.
        colours: (B, R, 3) in 0…1.
    """

    keypoints: Tensor
    skin: Tensor
    region: Tensor
    hands: Tensor
    stature: Tensor
    points: Tensor
    colours: Tensor

    def compare(self, truth: "Measured") -> Figures:
        """Means over the people."""
        pairs = list(zip(self.points.numpy(), truth.points.numpy(), strict=True))
        return {
            "mpjpe_mm": _distance_mm(self.keypoints, truth.keypoints),
            "pve_mm": _distance_mm(self.skin, truth.skin),
            "hands_mm": _distance_mm(self.hands, truth.hands),
            "stature_mm": 1000 * float((self.stature - truth.stature).abs().mean()),
            "chamfer_points_mm": sum(point_chamfer_mm(found, true) for found, true in pairs) / len(pairs),
            "colour_error": float((self.colours - truth.colours).abs().mean()),
            **{f"{group}_skin_mm": self._skin_mm(truth, names) for group, names in _SKIN_REGIONS.items()},
        }

    def _skin_mm(self, truth: "Measured", names: Sequence[str]) -> float:
        own = torch.isin(self.region, torch.tensor([REGION_INDEX[name] for name in names]))
        return _distance_mm(self.skin[:, own], truth.skin[:, own])


def _distance_mm(found: Tensor, truth: Tensor) -> float:
    return 1000 * float((found - truth).norm(dim=-1).mean())


class Laboratory:
    """The receiver up to the points, with parts that can be shuffled; poses the truth beside it.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self) -> None:
        self._body = BodyModel.load()
        self._decode, self._diffusion = DecodeStage.load(), DiffusionStage.load(body=self._body)
        self._skin = torch.from_numpy(BodySkin.of(self._body).kept)
        self._space = LabelSpace.load()

    @torch.inference_mode()
    def truth(self, batch: Batch) -> tuple[list[PersonLabels], Measured]:
        """The people of a batch as true labels and as they are."""
        parameters = true_parameters(batch)
        colours = torch.from_numpy(batch["colours"]).float()
        labels = self._space.encode(parameters, colours)
        posed = self._body(parameters)
        points, _ = self._body.surface_points(posed.vertices)
        return crops.people_of(labels), self._measured(posed, parameters.shape, points, colours)

    @torch.inference_mode()
    def receive(self, people: Sequence[PersonLabels]) -> Measured:
        """What the receiver makes of labels."""
        decoded = self._decode.decode(people)
        posed = self._body(decoded.parameters)
        clouds = self._diffusion.reconstruct(decoded)
        points = torch.stack([torch.from_numpy(cloud.points) for cloud in clouds])
        placed = points @ decoded.parameters.rotations[:, 0].mT + decoded.parameters.translation[:, None]
        return self._measured(posed, decoded.parameters.shape, placed, decoded.colours)

    @contextmanager
    def shuffled_u_m(self) -> Iterator[None]:
        """Everybody's points are denoised under the next person's condition."""

        def roll(_module: torch.nn.Module, _inputs: object, condition: Condition) -> Condition:
            return condition[torch.arange(len(condition.u_m)).roll(1)]

        handle = self._diffusion.network.conditioner.register_forward_hook(roll)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def shuffled_z_prime(self) -> Iterator[None]:
        """Everybody's geometry is unfolded from the next person's latent."""

        def roll(_module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (inputs[0].roll(1, 0),)

        handle = self._decode.network.decoder.register_forward_pre_hook(roll)
        try:
            yield
        finally:
            handle.remove()

    def _measured(self, posed: BodyOutput, shape: Tensor, points: Tensor, colours: Tensor) -> Measured:
        keypoints = self._body.coco_keypoints(posed.vertices)
        hips = keypoints[:, list(HIPS)].mean(1, keepdim=True)
        skin = posed.vertices[:, self._skin] - hips
        region = self._body.vertex_region[self._skin]
        height = self._body.rest(shape)[0][:, self._skin, 1]
        stature = height.amax(1) - height.amin(1)
        return Measured(keypoints - hips, skin, region, self._hands(posed), stature, points - hips, colours)

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
    """Everybody's pose and labels are read with the next person's depth map."""

    def roll(_module: torch.nn.Module, _inputs: object, answer: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return answer[0].roll(1, 0), answer[1].roll(1, 0)

    handle = sender.network.depth.register_forward_hook(roll)
    try:
        yield
    finally:
        handle.remove()


def with_next_group(people: Sequence[PersonLabels], group: str) -> list[PersonLabels]:
    """Everybody with one group of the next person."""
    donors = [*people[1:], people[0]]
    return [
        replace(one, labels={**one.labels, group: donor.labels[group]})
        for one, donor in zip(people, donors, strict=True)
    ]


def experiment(sender: CropSender, laboratory: Laboratory, batch: Batch, rows: Rows) -> None:
    """All ablations on one batch; figures are appended to `rows` under the names of the systems."""

    def note(
        name: str, people: Sequence[PersonLabels], truth: Measured, more: Mapping[str, float] | None = None
    ) -> None:
        rows.setdefault(name, []).append({**laboratory.receive(people).compare(truth), **(more or {})})

    true_labels, truth = laboratory.truth(batch)
    perceived, seen = _perceive(sender, batch)
    for name, people, extra in (("labels", perceived, seen), ("truth_labels", true_labels, {})):
        note(name, people, truth, extra)
        for group in GROUP_NAMES:
            note(f"{name} shuffled {group}", with_next_group(people, group), truth)
        shuffles: dict[str, Callable[[], AbstractContextManager[None]]] = {
            "u_m": laboratory.shuffled_u_m,
            "z_prime": laboratory.shuffled_z_prime,
        }
        for part, shuffle in shuffles.items():
            with shuffle():
                note(f"{name} shuffled {part}", people, truth)
    with shuffled_depth(sender):
        misled, seen = _perceive(sender, batch)
    note("labels shuffled depth", misled, truth, seen)


def _perceive(sender: CropSender, batch: Batch) -> tuple[list[PersonLabels], Figures]:
    answers = sender.perceive(batch)
    return [labels for labels, _ in answers], mean_by_key([seen for _, seen in answers])


def ablation_table(systems: report.Systems) -> str:
    """A row for each part: its figure as it is, with somebody else's part, and what came of it."""
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
        SourceError: a file is there and holds no scores.
    """
    missing = [str(path) for path in (with_depth, without_depth) if not path.exists()]
    if missing:
        return f"depth head's loss: not run (no {' and no '.join(missing)})", {}
    systems = {"all losses": read_scores(with_depth), "without depth": read_scores(without_depth)}
    return report.transposed(systems), {f"training, {name}": scores for name, scores in systems.items()}


def read_scores(path: Path) -> Figures:
    """Scores of a training: a JSON object of numbers, alone or under "scores".

    Raises:
        SourceError: the file cannot be read or is something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        scores = document.get("scores", document)
        return {str(name): float(value) for name, value in scores.items() if isinstance(value, int | float)}
    except (OSError, ValueError, AttributeError) as error:
        raise SourceError(f"{path} holds no scores of a training") from error


def _parser() -> argparse.ArgumentParser:
    parser = report.flags("ablations", "Shuffle each part among people and measure what it was worth.", crops.SEED)
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
        sender, laboratory = CropSender(), Laboratory()
        dataset = CropDataset([crops.crop_set(count, options.seed, sender.size)], "test")
        rows: Rows = {}
        for number in range(batches):
            experiment(sender, laboratory, dataset.batch(range(number * BATCH, (number + 1) * BATCH)), rows)
            report.tell(f"{(number + 1) * BATCH}/{batches * BATCH} images")
        systems: dict[str, report.Figures] = {name: mean_by_key(own) for name, own in rows.items()}
        trained, training = training_table(options.with_depth, options.without_depth)
        print(f"{batches * BATCH} test images (seed {options.seed}), {report.machine_line()}\n")
        print(ablation_table(systems), f"\n\n{trained}")
        report.write_json(options.json, "ablations", options.seed, {**systems, **training})

    return report.run("ablations", work)


if __name__ == "__main__":
    sys.exit(main())
