"""Clips of people who move, as perception sees them, to learn lifting from: even ones as of a file, odd ones as live.

A clip is NNNN.npz: what was seen and what is true of 64 frames.  Rendering continues where it was interrupted.

Examples:
  python -m sender.train.lifting.clips --windows windows30 --photographs photographs --count 500 --out clips
  python -m sender.train.lifting.clips --windows windows30 --photographs photographs --split val --count 60 --out clips

Arrays of T frames, 17 keypoints; crop units are 0…1 in perception's crop.

    time_s, seen (T,)            seconds; whether perception found somebody: where not, the next seven rows are 0
    crop (T, 4), view (T,)       left, top, side in pixels, roll in radians (`CropBox`); 0 plain, 1 mirrored, 2 both
    keypoints_2d (T, 17, 2), keypoints_sigma, visible_logit (T, 17), joints_3d (T, 17, 3), joints_log_variance (T, 17)
    joint_depth (T, 17), depth_log_variance (T,), summary (T, 96)     these two rows of `PerceptionOutput`
    entries, log_sigma (T, 80)                                        fitted to the frame (`sender.semantics.refine`)
    score (T,)                                                        `ObservedPerson.score`
    turn, pelvis, keypoints, body, contacts, up (T, …), size, focal, still     the truth, as of `Moving`
    camera (3,), assumed_focal () width, height, true focal length; what a sender would assume; pixels
"""

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from common.arrays import Image
from common.frames import Camera
from common.imaging.pictures import guessed_focal_px
from common.io.command_line import parser_of
from common.io.files import atomic_replacement
from common.synthetic.dataset import SPLITS
from common.synthetic.motion.windows import open_windows
from sender.config import TrackingConfig
from sender.perception.perception_stage import PerceptionStage
from sender.perception.track import ObservedPerson
from sender.semantics.refine import CropFits
from sender.train.lifting.motions import FPS, Moving
from sender.train.lifting.moving_people import MovingPeople, Take
from sender.train.photographs.dataset import PhotographDataset

FRAMES: Final = 64
_VIEWS: Final = ("plain", "mirrored", "both")
_OF_OUTPUT: Final = (
    *("keypoints_2d", "keypoints_sigma", "visible_logit", "joints_3d", "joints_log_variance"),
    *("joint_depth", "depth_log_variance", "summary"),
)

Arrays = dict[str, NDArray[Any]]


class Observer:
    """What is seen of the most prominent person of clips. Raises WeightsError: weights are missing or damaged."""

    def __init__(self) -> None:
        tracking = TrackingConfig(max_people=1, quality="full")
        of_files = PerceptionStage.load(tracking)
        self._perceptions = of_files, of_files.anew(tracking, cameras=1)
        self._fits = CropFits.load()

    @torch.inference_mode()
    def observe(self, frames: Iterable[Image], *, live: bool) -> Arrays:
        """The arrays that are seen in the frames (H, W, 3) of a clip; empty where perception never finds anybody."""
        perception, rows = self._perceptions[live], list[Arrays]()
        perception.reset()
        for number, image in enumerate(frames):
            camera = assumed_camera(image.shape[1], image.shape[0])
            people = perception.process(image, camera, number / FPS)
            rows.append(self._seen(people[0], camera) if people else {})
        if not (known := max(rows, key=len)):
            return {}
        arrays = {name: np.stack([row.get(name, np.zeros_like(each)) for row in rows]) for name, each in known.items()}
        return arrays | {"time_s": np.arange(len(rows)) / FPS, "seen": np.array([bool(row) for row in rows])}

    def _seen(self, person: ObservedPerson, camera: Camera) -> Arrays:
        crop, output, fitted = person.crop, person.output, self._fits.fitted([person], camera)
        seen: Arrays = {name: getattr(output, name)[0].float().numpy() for name in _OF_OUTPUT}
        return seen | {
            "crop": np.array([crop.left, crop.top, crop.side, crop.roll], np.float32),
            "view": np.array(_VIEWS.index(person.view), np.int8),
            "score": np.array(person.score, np.float32),
            "entries": fitted.refined[0],
            "log_sigma": np.log(fitted.sigma[0]),
        }


def assumed_camera(width: int, height: int) -> Camera:
    """What a sender takes the camera for, of which it knows nothing."""
    return Camera(width, height, guessed_focal_px(width, height))


def truth_of(take: Take) -> Arrays:
    """The arrays that are true of a clip."""
    camera = take.camera
    return {item.name: getattr(take.moving, item.name)[0] for item in fields(Moving)} | {
        "camera": np.array([camera.width, camera.height, camera.focal_px], np.float32),
        "assumed_focal": np.array(assumed_camera(camera.width, camera.height).focal_px, np.float32),
    }


def main() -> None:
    parser = parser_of("python -m sender.train.lifting.clips", __doc__)
    add = parser.add_argument
    add("--windows", type=Path, required=True, help="folder of windows of motion, 30 frames a second")
    add("--photographs", type=Path, help="folder of photographs, for places (default: they are drawn)")
    add("--split", choices=SPLITS[:2], default="train", help="of motions and people (default: %(default)s)")
    add("--count", type=int, default=500, help="clips (default: %(default)s)")
    add("--seed", type=int, default=87, help="(default: %(default)s)")
    add("--out", type=Path, default=Path("clips"), help="folder with a folder for each split (default: %(default)s)")
    options = parser.parse_args()
    folder, observer = options.out / options.split, Observer()
    photographs = PhotographDataset(options.photographs, options.split) if options.photographs else None
    people = MovingPeople(open_windows(options.windows, FPS), options.split, photographs)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(options.count):
        path = folder / f"{number:04d}.npz"
        if path.exists():
            continue
        rng = np.random.default_rng([options.seed, SPLITS.index(options.split), number])
        take = people.take(rng, FRAMES)
        if seen := observer.observe(people.frames(rng, take), live=number % 2 == 1):
            with atomic_replacement(path) as partial, open(partial, "wb") as file:
                np.savez_compressed(file, allow_pickle=False, **(truth_of(take) | seen))
        print(f"{number}: seen in {seen['seen'].sum() if seen else 0} of {FRAMES} frames", flush=True)


if __name__ == "__main__":
    main()
