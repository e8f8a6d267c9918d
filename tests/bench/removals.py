"""Benefit of parts of the networks, by their removal: `python -m tests.bench.removals --work DIR`.

    u_m             the condition of the diffusion (24) is zero; fine-tuned from the shipped weights
    geometry bias   B(s) of the attention (25) is zero; fine-tuned likewise
    scale weights   ω of (24) are equal; fine-tuned likewise
    denoiser        the linear reconstruction of the `surface` labels, not denoised; needs no training
    surface         no `surface` labels arrive; needs no training
    discriminator   γ = 0 in (11); trained from random weights
    learned prior   N(0, I) in place of p(z|X); trained from random weights

Each training has a control of the same data, seed and number of steps.  On people of the test split, with true and with
perceived labels, each row has the mean figure with the part (the control) and without it, and the difference, which is
the benefit of the part, ± one standard error over people.  The standard error does not include the variation between
trainings.  Data and trainings are in `--work`, where a second run continues; the bench prints their commands.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.arrays import Float64Array, FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyOutput, KeypointKinematics
from common.body.surface_space import SurfaceSpace
from common.frames import PersonLabels
from common.labels import concatenate
from common.synthetic.dataset.presets import DRESSED
from common.synthetic.dataset.shards import Batch, CropDataset
from common.training.checkpoint import AveragedNetwork, load_checkpoint
from receiver.body.skinning import BodySkin
from receiver.decode.clothing import Clothing
from receiver.decode.stage import DecodedBody, DecodeStage
from receiver.diffusion.stage import DiffusionNetwork, DiffusionStage, load_network
from sender.semantics.crop_labels import FEATURE_SIZE
from sender.semantics.cvae import SemanticCVAE, SemanticsConfig
from sender.semantics.refine import Refiner
from sender.semantics.stage import SemanticsStage
from tests.bench import crops, measures, report
from tests.bench.crops import TRUTH_FIELDS, TruePerson, Truth
from tests.bench.measures import Surface, centred
from tests.bench.perceived import CropSender
from tests.bench.removal_trainings import CONTROL, DIFFUSION_REMOVALS, NETWORKS, SEMANTICS_REMOVALS, Sizes, Trainings

SIZES = Sizes(unseen=(4096, 384), fresh=(12288, 1024), outfits=(4096, 512), semantics_steps=500, diffusion_steps=300)
QUICK_SIZES = Sizes(unseen=(64, 16), fresh=(64, 16), outfits=(64, 32), semantics_steps=20, diffusion_steps=8)
COUNT, QUICK_COUNT = 256, 32
BATCH = 32
SHIPPED, SKIPPED, UNDRESSED = "shipped", "denoiser skipped", "without surface labels"
# Points drawn on each surface for a distance: few, since differences are averaged over people.
_SAMPLES = 1000

Rows = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Comparison:
    """One row of the table: a part, a figure that is better when lower, and the systems with and without the part."""

    part: str
    figure: str
    with_part: str
    without: str

    @property
    def network(self) -> str:
        """Which of `NETWORKS` the part belongs to."""
        return self.with_part.split()[0]


COMPARISONS = (
    *(
        Comparison(part, f"chamfer_{labels}_mm", f"diffusion {CONTROL}", f"diffusion without {removal}")
        for part, removal in (("u_m", "u_m"), ("geometry bias", "geometry-bias"), ("scale weights", "scale-weights"))
        for labels in ("truth_labels", "labels")
    ),
    *(
        Comparison(part, f"chamfer_{labels}_mm", f"diffusion {SHIPPED}", f"diffusion {without}")
        for part, without in (("denoiser", SKIPPED), ("surface", UNDRESSED))
        for labels in ("truth_labels", "labels")
    ),
    *(
        Comparison(part, figure, f"semantics {CONTROL}", f"semantics without {removal}")
        for part, removal in (("discriminator", "discriminator"), ("learned prior", "learned-prior"))
        for figure in ("mpjpe_mm", "pa_mpjpe_mm")
    ),
)


@dataclass(frozen=True)
class Benefit:
    """The benefit of a part: the figure without it minus the figure with it.

    Args:
        with_part, without: means over people.
        difference: mean of without − with, positive where the part helps.
        standard_error: of the difference, over people.
        people: their number.
    """

    with_part: float
    without: float
    difference: float
    standard_error: float
    people: int

    @property
    def verdict(self) -> str:
        """Whether the difference exceeds two standard errors, and in which direction."""
        if abs(self.difference) <= 2 * self.standard_error:
            return "no benefit shown"
        return "benefit" if self.difference > 0 else "better without it"


def benefit(with_part: Sequence[float], without: Sequence[float]) -> Benefit:
    """Paired comparison of one figure of the same people.

    Raises:
        ValueError: there are fewer than two people, or not equally many.
    """
    if len(with_part) != len(without) or len(with_part) < 2:
        raise ValueError(f"a paired comparison of {len(with_part)} and {len(without)} people")
    difference: Float64Array = np.asarray(without) - np.asarray(with_part)
    error = measures.standard_error(difference)
    return Benefit(float(np.mean(with_part)), float(np.mean(without)), float(difference.mean()), error, len(difference))


Displace = Callable[[DecodedBody], Tensor]


class Receivers:
    """The receiver from labels to the displaced template, in all its variants.

    Args:
        trainings: has the checkpoints.
        body: poses the template.

    Raises:
        WeightsError: weights are missing or of another version.
        UsageError: a checkpoint cannot be read.
    """

    def __init__(self, trainings: Trainings, body: BodyModel) -> None:
        self._body, self._skin, self._decode = body, BodySkin.of(body), DecodeStage.load()
        shipped, space = DiffusionStage.load(), SurfaceSpace.load()
        self._variants: dict[str, Displace] = {
            f"diffusion {SHIPPED}": _sampled(shipped),
            f"diffusion {SKIPPED}": lambda decoded: space.decode(decoded.clothing.entries),
            f"diffusion {UNDRESSED}": lambda decoded: _sampled(shipped)(_without_surface(decoded)),
        }
        for name in (CONTROL, *DIFFUSION_REMOVALS) if "diffusion" in trainings.networks else ():
            stage = DiffusionStage(trained_diffusion(trainings.checkpoint("diffusion", name)), space)
            self._variants[f"diffusion {name}" if name == CONTROL else f"diffusion without {name}"] = _sampled(stage)

    @torch.inference_mode()
    def chamfer_mm(self, people: Sequence[PersonLabels], truth: Sequence[TruePerson]) -> dict[str, list[float]]:
        """System → Chamfer distance of each person's template to the truth, relative to the midpoint of the hips."""
        decoded, parameters = self._decode.decode(people), self._decode.read(people).parameters
        keypoints = self._body.coco_keypoints(self._body(parameters).vertices).numpy()
        return {
            system: self._chamfer_mm(self._skin.templates(parameters, displace(decoded)), keypoints, truth)
            for system, displace in self._variants.items()
        }

    def _chamfer_mm(self, posed: BodyOutput, keypoints: FloatArray, truth: Sequence[TruePerson]) -> list[float]:
        distances = []
        for row, person in enumerate(truth):
            mesh = self._skin.pose(posed, row).mesh
            surface = Surface(centred(keypoints[row], mesh.vertices), mesh.faces)
            distances.append(measures.surface_distances(surface, person.surface, _SAMPLES)["chamfer_mm"])
        return distances


def _sampled(stage: DiffusionStage) -> Displace:
    return lambda decoded: stage.displacements(decoded, [0] * len(decoded))


def _without_surface(decoded: DecodedBody) -> DecodedBody:
    clothing = decoded.clothing
    nothing = torch.zeros_like(clothing.entries)
    return replace(decoded, clothing=Clothing(nothing, nothing, clothing.shape))


def trained_diffusion(checkpoint: Path) -> DiffusionNetwork:
    """The averaged network of a checkpoint of `receiver.train.diffusion` that began with the shipped weights."""
    average = AveragedNetwork(load_network())
    average.load_state_dict(load_checkpoint(checkpoint)["average"])
    return average.network


def trained_semantics(checkpoint: Path) -> SemanticCVAE:
    """The averaged network of a checkpoint of `sender.train.semantics`."""
    average = AveragedNetwork(SemanticCVAE(SemanticsConfig(FEATURE_SIZE)))
    average.load_state_dict(load_checkpoint(checkpoint)["average"])
    return average.network


class Semantics:
    """The semantics stage in all its variants.

    Args:
        trainings: has the checkpoints.
        body, space: pose bodies from labels.
    """

    def __init__(self, trainings: Trainings, body: BodyModel, space: LabelSpace) -> None:
        self._space, self._kinematics = space, KeypointKinematics(body)
        refiner = Refiner(space, self._kinematics)
        self.stages = {f"semantics {SHIPPED}": SemanticsStage.load()}
        for name in (CONTROL, *SEMANTICS_REMOVALS) if "semantics" in trainings.networks else ():
            system = f"semantics {name}" if name == CONTROL else f"semantics without {name}"
            network = trained_semantics(trainings.checkpoint("semantics", name))
            self.stages[system] = SemanticsStage(network, space, refiner)

    @torch.inference_mode()
    def errors(self, people: Sequence[PersonLabels], truth: Sequence[TruePerson]) -> dict[str, list[float]]:
        """`mpjpe_mm` and `pa_mpjpe_mm` of each person."""
        labels = torch.from_numpy(np.stack([concatenate(person.labels) for person in people]))
        found = [centred(keypoints) for keypoints in self._kinematics(self._space.decode(labels))[0].numpy()]
        pairs = [(joints, person.keypoints) for joints, person in zip(found, truth, strict=True)]
        return {
            "mpjpe_mm": [measures.mean_distance_mm(joints, true) for joints, true in pairs],
            "pa_mpjpe_mm": [
                measures.mean_distance_mm(measures.procrustes(joints, true), true) for joints, true in pairs
            ],
        }


def evaluate(trainings: Trainings, dataset: CropDataset) -> Rows:
    """System → figure → one value per person."""
    body, space = BodyModel.load(), LabelSpace.load()
    sender, truth = CropSender(), Truth(body, space)
    receivers, semantics = Receivers(trainings, body), Semantics(trainings, body, space)
    rows: Rows = {}
    for start in range(0, len(dataset), BATCH):
        batch: Batch = dataset.batch(range(start, min(start + BATCH, len(dataset))), TRUTH_FIELDS)
        people, output = truth.people(batch), sender.observe(batch)
        perceived = {system: sender.labels(output, batch, stage) for system, stage in semantics.stages.items()}
        for system, labels in perceived.items():
            _extend(rows, system, semantics.errors(labels, people))
        true_labels = [person.labels for person in people]
        sources = {"truth_labels": true_labels, "labels": perceived[f"semantics {SHIPPED}"]}
        for name, labels in sources.items():
            for system, distances in receivers.chamfer_mm(labels, people).items():
                _extend(rows, system, {f"chamfer_{name}_mm": distances})
        report.progress(f"{start + len(people)}/{len(dataset)} people")
    return rows


def _extend(rows: Rows, system: str, values: Mapping[str, Sequence[float]]) -> None:
    for figure, numbers in values.items():
        rows.setdefault(system, {}).setdefault(figure, []).extend(numbers)


def removal_table(benefits: Mapping[Comparison, Benefit]) -> str:
    """A row per part and figure."""
    rows = [["part", "figure", "with", "without", "benefit ± standard error", ""]]
    for row, found in benefits.items():
        change = f"{found.difference:+.2f} ± {found.standard_error:.2f}"
        rows.append([row.part, row.figure, f"{found.with_part:.2f}", f"{found.without:.2f}", change, found.verdict])
    return report.markdown(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("removals", "Train without parts of the networks and measure the benefit of each.", 7)
    parser.add_argument(
        "--work", type=Path, default=Path("runs/removals"), help="folder of data and trainings (default: %(default)s)"
    )
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, default=NETWORKS, help="whose parts are removed (default: all)"
    )
    parser.add_argument("--count", type=int, help=f"test people (default: {COUNT}, {QUICK_COUNT} with --quick)")
    options = parser.parse_args(arguments)
    count = options.count or (QUICK_COUNT if options.quick else COUNT)
    sizes = QUICK_SIZES if options.quick else SIZES

    def measure() -> None:
        work = options.work / "quick" if options.quick else options.work
        trainings = Trainings(work, sizes, options.seed, options.networks)
        trainings.run()
        dataset = CropDataset([crops.crop_set(count, options.seed, CropSender().size, DRESSED.name)], "test")
        rows = evaluate(trainings, dataset)
        compared = [row for row in COMPARISONS if row.network in options.networks]
        benefits = {row: benefit(rows[row.with_part][row.figure], rows[row.without][row.figure]) for row in compared}
        print(f"{count} dressed test people (seed {options.seed}), {report.machine_line()}\n")
        print("positive: the figure is worse without the part; standard error over people, not over trainings\n")
        print(removal_table(benefits))
        print("\ntrained by\n\n" + "\n".join(f"    {command}" for command in trainings.commands))
        systems = {
            system: {figure: float(np.mean(values)) for figure, values in figures.items()}
            for system, figures in rows.items()
        }
        more = {"removals": [_as_json(row, found) for row, found in benefits.items()], "commands": trainings.commands}
        report.write_json(options, systems, people=count, **more)

    return report.run(parser, lambda _: measure(), arguments)


def _as_json(row: Comparison, found: Benefit) -> dict[str, str | float]:
    return {"part": row.part, "figure": row.figure, **vars(found), "verdict": found.verdict}


if __name__ == "__main__":
    sys.exit(main())
