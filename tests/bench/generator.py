"""Ablation of the synthetic generator on photographs: `python -m tests.bench.generator --folder DIR --keypoints FILE`.

For the complete `dressed` preset and for the preset without one of its parts (garments, degradations, occluders,
captured poses, backgrounds): a training set is rendered, a small perception network is trained on it from scratch, and
its keypoints are compared with annotated photographs, cropped around the annotations, so that the detector is not
involved.  The trainings are short: the order of the rows is the result.  A second run with the same `--work` folder
continues where the first one stopped.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from common.arrays import Float64Array
from common.errors import BodywireError
from common.synthetic.dataset.presets import DRESSED, PARTS
from common.training.checkpoint import AveragedNetwork, load_checkpoint
from sender.capture.config import CaptureConfig
from sender.capture.open import open_source
from sender.capture.source import CapturedFrame
from sender.perception.inference.crop import CropBox
from sender.perception.inference.predictor import Perception
from sender.perception.network.network import PerceptionConfig, PerceptionNet
from tests.bench import report
from tests.bench.photo_scores import AnnotatedPerson, image_id, read_annotations

WHOLE = "everything"
# The person extends beyond the annotated keypoints, which end at ankles and eyes.
_BOX_SCALE = 1.15
_SEED = 30


def errors_of(
    perception: Perception, frames: Sequence[CapturedFrame], annotations: Mapping[int, list[AnnotatedPerson]]
) -> list[Float64Array]:
    """Per annotated person, the errors of the perceived keypoints in box sides."""
    errors = []
    for frame in frames:
        for person in annotations.get(image_id(frame.source) or -1, []):
            places = person.keypoints[person.labelled]
            crop = CropBox.around(np.concatenate([places.min(axis=0), places.max(axis=0)]), 1.25 * _BOX_SCALE)
            seen = perception.observe([crop.cut(frame.image, perception.size)])
            errors.append(person.errors(crop.to_pixels(seen.keypoints_2d[0].float().numpy())))
    return errors


def pck(errors: Sequence[Float64Array]) -> dict[str, float]:
    """Shares of keypoints within 0.05, 0.1 and 0.2 of the box."""
    return {f"pck{round(100 * limit):02d}": within(errors, limit) for limit in (0.05, 0.1, 0.2)}


def within(errors: Sequence[Float64Array], limit: float) -> float:
    """Share of all people's keypoints whose error is below a limit."""
    return float((np.concatenate(errors) < limit).mean())


def change(errors: Sequence[Float64Array], whole: Sequence[Float64Array], limit: float = 0.2) -> dict[str, float]:
    """Change of the share within a limit against the `whole` generator, and its standard error.

    The standard error is over people (bootstrap); it does not include the variation between trainings.
    """
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(errors), len(errors)) for _ in range(1000)]
    changes = [within([errors[i] for i in draw], limit) - within([whole[i] for i in draw], limit) for draw in draws]
    name = f"pck{round(100 * limit):02d}"
    return {
        f"change_{name}": within(errors, limit) - within(whole, limit),
        f"standard_error_{name}": float(np.std(changes)),
    }


def trained(work: Path, without: str | None, options: argparse.Namespace) -> Perception:
    """Perception trained on a data set without a part; existing data and trainings in `work` are reused.

    Raises:
        BodywireError: rendering or training failed; its own message precedes this one.
    """
    data, out = work / "crops", work / "training"
    removal = ["--without", without] if without else []
    size = ["--size", str(options.size)]
    render = ["common.synthetic.render_shards", "--out", str(data), "--preset", DRESSED.name, *removal, *size]
    _run([*render, "--count", str(options.count), "--seed", str(_SEED + options.seed)])
    _run([*render, "--count", "256", "--split", "val", "--seed", str(_SEED + options.seed)])
    train = ["sender.train.perception", "--data", str(data), "--out", str(out), "--network", "probe", *size]
    train += ["--images", str(options.images), "--seed", str(options.seed), "--evaluate-minutes", "1000"]
    if not (out / "scores.json").exists():
        _run([*train, "--resume"])
    state = load_checkpoint(out / "checkpoint.pt")
    average = AveragedNetwork(PerceptionNet(PerceptionConfig(**state["facts"]["config"])))
    average.load_state_dict(state["average"])
    return Perception(average.network.to(memory_format=torch.channels_last))


def _run(arguments: Sequence[str]) -> None:
    ended = subprocess.run([sys.executable, "-m", *arguments], check=False, stdout=sys.stderr)
    if ended.returncode:
        raise BodywireError(f"python -m {arguments[0]} exited with code {ended.returncode}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("generator", "Train without each part of the generator and compare on photographs.", 0)
    parser.add_argument("--folder", required=True, metavar="DIR", help="photographs")
    parser.add_argument("--keypoints", type=Path, required=True, metavar="FILE", help="annotations in COCO's format")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("runs/generator"),
        help="folder of data sets and trainings (default: %(default)s)",
    )
    parser.add_argument("--count", type=int, help="crops per training set (default: 6144, 64 with --quick)")
    parser.add_argument("--size", type=int, default=96, help="side of the crops, pixels (default: %(default)s)")
    parser.add_argument(
        "--images", type=int, help="crops per training, with repetition (default: 32768, 256 with --quick)"
    )
    options = parser.parse_args(arguments)
    options.count = options.count or (64 if options.quick else 6144)
    options.images = options.images or (256 if options.quick else 32768)

    def work() -> None:
        annotations = read_annotations(options.keypoints)
        with open_source(CaptureConfig(options.folder)) as source:
            frames = list(source)
        systems = {}
        errors: dict[str, list[Float64Array]] = {}
        for part in (None, *PARTS):
            name = f"without {part}" if part else WHOLE
            perception = trained(options.work / (part or WHOLE), part, options)
            errors[name] = errors_of(perception, frames, annotations)
            systems[name] = pck(errors[name]) | change(errors[name], errors[WHOLE])
            report.progress(f"{name}: {systems[name]}")
        print(f"{options.count} crops of {options.size}², {options.images} drawn in each training")
        print(f"{report.machine_line()}\n")
        print(report.table(dict(sorted(systems.items(), key=lambda item: item[1]["pck10"]))))
        report.write_json(options.json, "generator", options.seed, systems, crops=options.count)

    return report.run("generator", work)


if __name__ == "__main__":
    sys.exit(main())
