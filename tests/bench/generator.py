"""What each part of the generator is worth on photographs: `python -m tests.bench.generator --folder DIR`.

For the `dressed` preset as it is, and with each part of it left out in turn (garments, degradations, occluders,
captured poses, backgrounds): renders a training set, trains a small perception network on it from scratch, and holds
its keypoints against those of annotated photographs, cropped around the annotations, so that the detector plays no
part. Short trainings: the order is the result, not the figures.  With the same `--work` folder it goes on where it
stopped.
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
from sender.capture.open import CaptureConfig, open_source
from sender.capture.source import CapturedFrame
from sender.perception.inference.crop import CropBox
from sender.perception.inference.predictor import Perception
from sender.perception.network.network import PerceptionConfig, PerceptionNet
from tests.bench import report
from tests.bench.photos import AnnotatedPerson, image_id, read_annotations

WHOLE = "everything"
# Annotated keypoints end at ankles and eyes; the person goes on beyond them.
_BEYOND = 1.15
_SEED = 30


def errors_of(
    perception: Perception, frames: Sequence[CapturedFrame], annotations: Mapping[int, list[AnnotatedPerson]]
) -> list[Float64Array]:
    """Each annotated person's distances of keypoints from those perceived, in box sides."""
    errors = []
    for frame in frames:
        for person in annotations.get(image_id(frame.source) or -1, []):
            places = person.keypoints[person.labelled]
            crop = CropBox.around(np.concatenate([places.min(axis=0), places.max(axis=0)]), 1.25 * _BEYOND)
            seen = perception.observe([crop.cut(frame.image, perception.size)])
            errors.append(person.errors(crop.to_pixels(seen.keypoints_2d[0].float().numpy())))
    return errors


def pck(errors: Sequence[Float64Array]) -> dict[str, float]:
    """Share of keypoints within 0.05, 0.1 and 0.2 of the box."""
    return {f"pck{round(100 * limit):02d}": within(errors, limit) for limit in (0.05, 0.1, 0.2)}


def within(errors: Sequence[Float64Array], limit: float) -> float:
    """Share of all people's keypoints whose error is below a limit."""
    return float((np.concatenate(errors) < limit).mean())


def change(errors: Sequence[Float64Array], whole: Sequence[Float64Array], limit: float = 0.2) -> dict[str, float]:
    """How much larger the share within a limit is than of the `whole` generator, and its standard error.

    The error is that of another draw of the same people (bootstrap), not of another training.
    """
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(errors), len(errors)) for _ in range(1000)]
    apart = [within([errors[i] for i in draw], limit) - within([whole[i] for i in draw], limit) for draw in draws]
    name = f"pck{round(100 * limit):02d}"
    return {
        f"change_{name}": within(errors, limit) - within(whole, limit),
        f"standard_error_{name}": float(np.std(apart)),
    }


def trained(work: Path, without: str | None, options: argparse.Namespace) -> Perception:
    """Perception trained on a data set that lacks a part; what is there already is not made again.

    Raises:
        BodywireError: rendering or training ended with an error, which stands above.
    """
    data, out = work / "crops", work / "training"
    left_out = ["--without", without] if without else []
    size = ["--size", str(options.size)]
    render = ["common.synthetic.render_shards", "--out", str(data), "--preset", DRESSED.name, *left_out, *size]
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
        raise BodywireError(f"python -m {arguments[0]} ended with exit code {ended.returncode}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("generator", "Leave parts of the generator out; see what photographs say.", 0)
    parser.add_argument("--folder", required=True, metavar="DIR", help="photographs")
    parser.add_argument("--keypoints", type=Path, required=True, metavar="FILE", help="annotations in COCO's format")
    parser.add_argument("--work", type=Path, default=Path("runs/generator"), help="data sets and trainings go here")
    parser.add_argument("--count", type=int, help="crops a training set (default: 6144, 64 with --quick)")
    parser.add_argument("--size", type=int, default=96, help="side of the crops, pixels (default: %(default)s)")
    parser.add_argument("--images", type=int, help="crops that a training sees (default: 32768, 256 with --quick)")
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
            report.tell(f"{name}: {systems[name]}")
        print(f"{options.count} crops of {options.size}², {options.images} of them seen by each training")
        print(f"{report.machine_line()}\n")
        print(report.table(dict(sorted(systems.items(), key=lambda item: item[1]["pck10"]))))
        report.write_json(options.json, "generator", options.seed, systems, crops=options.count)

    return report.run("generator", work)


if __name__ == "__main__":
    sys.exit(main())
