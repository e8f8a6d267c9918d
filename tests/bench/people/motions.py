"""People who sit, gesture, talk and reach, in motions that nothing was trained on: `python -m tests.bench.motions`.

Perception and semantics of rendered crops of the preset `everyday`, in captured poses alone: by kind of motion those of
`--motions`, and those of the package's own table, each of clips of the test split.  MPJPE is about the hips.

`--motions DIR` has folders as for training (docs/training.md, "Motion"); read are mesh2motion, rocketbox and uiprmd.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array
from common.errors import SourceError
from common.synthetic.dataset.presets import EVERYDAY
from common.synthetic.dataset.split import SEED_RANGES, clip_split
from common.synthetic.motion.clips import clip_kind
from common.synthetic.motion.motion_table import MotionTable, load_table
from common.synthetic.motion.retarget import Motion, heading, resample
from common.synthetic.motion.sources import read_motions
from common.synthetic.scene.scene import scene_maker
from tests.bench import report
from tests.bench.measures import centred, mean_distance_mm, procrustes, standard_error
from tests.bench.perceived import CropSender, LabelJoints

_KINDS = ("sit", "gesture", "stand_talk", "reach")
_SOURCES = ("mesh2motion", "rocketbox", "uiprmd")
_POSE_FPS = 15.0
_CAPTURED = replace(EVERYDAY, recipes=(1.0, 0.0, 0.0, 0.0))


def _table_of(motions: Sequence[Motion]) -> MotionTable:
    """All poses of some motions, at least one, without contiguous clips."""
    poses = [_poses_of(motion) for motion in motions]
    clip = np.repeat(np.arange(len(motions)), [len(each) for each in poses])
    names = tuple(motion.name for motion in motions)
    return MotionTable(np.concatenate(poses).astype(np.float32), clip, names, ())


def _poses_of(motion: Motion) -> Float64Array:
    """(N, 22, 3) rotation vectors of its poses, without heading."""
    local = resample(motion, _POSE_FPS).local_rotations.copy()
    upright = Rotation.from_rotvec(-heading(local[:, 0])[:, None] * [0.0, 1.0, 0.0])
    local[:, 0] = upright.as_matrix() @ local[:, 0]
    return np.asarray(Rotation.from_matrix(local.reshape(-1, 3, 3)).as_rotvec().reshape(*local.shape[:2], 3))


def _work(options: argparse.Namespace) -> None:
    try:
        motions = [each for each in read_motions(options.motions, _SOURCES) if clip_split(each.name) == "test"]
        own = {kind: [each for each in motions if clip_kind(each.name, each.activity) == kind] for kind in _KINDS}
        tables = {"package": load_table()} | {kind: _table_of(clips) for kind, clips in own.items()}
    except (OSError, ValueError) as error:
        raise SourceError(f"--motions {options.motions}: {error}") from error
    sender, joints, systems = CropSender(), LabelJoints(), dict[str, report.Figures]()
    for kind, table in tables.items():
        scenes = scene_maker("test", np.random.default_rng(0), 48, _CAPTURED, table)
        batch = scenes.make(SEED_RANGES["test"].start + options.seed, options.count, sender.size)
        found = [centred(joints(labels)) for labels, _ in sender.predict(batch)]
        pairs = [(each, centred(true)) for each, true in zip(found, batch["joints_3d"], strict=True)]
        errors = np.array([mean_distance_mm(*pair) for pair in pairs])
        aligned = np.mean([mean_distance_mm(procrustes(*pair), pair[1]) for pair in pairs])
        figures = {"mpjpe_mm": float(errors.mean()), "standard_error_mm": standard_error(errors)}
        systems[kind] = figures | {"pa_mpjpe_mm": float(aligned)}
    report.publish(options, systems, f"{options.count} people of each kind, seed {options.seed}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("motions", __doc__, 7)
    parser.add_argument(
        "--motions", type=Path, metavar="DIR", required=True, help="folder with a folder of each source"
    )
    report.add_amount(parser, "--count", "people of each kind", 50, 16, report.at_least(2))
    return report.run(parser, _work, arguments)


if __name__ == "__main__":
    sys.exit(main())
