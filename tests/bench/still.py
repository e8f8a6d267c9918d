"""How far a person who stands still moves: `python -m tests.bench.still`.

    one render ─ fresh sensor noise, JPEG ─ sender ─ codec ─ codec ─ receiver ─ movement from frame to frame

Dressed people of the test split stand before a room, seen whole; only noise differs between the frames of a clip.
All of a movement is therefore an error:

    template_rms_mm, _p95   distance of each vertex of the template from itself in the frame before
    surface_rms_mm, _p95    distance of each vertex of the surface from the nearest point of the surface before
    seen                    frames with the person

`settled` leaves out the first second, in which the sender still learns shape and clothes.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
import torch

from common.arrays import Float64Array, Image
from common.body.model import BodyModel
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.dataset.split import identity_rows
from common.synthetic.motion.motion_table import Clip, clips
from common.synthetic.render_clip import FPS, HEIGHT, WIDTH, place_motion, turned
from common.synthetic.renderer.renderer import Renderer, View
from common.synthetic.scene.backgrounds import make_room
from common.synthetic.scene.dressing import Dresser
from receiver.engine.engine import ReconstructedPerson
from sender.capture.source import CapturedFrame
from sender.perception.config import TrackerConfig
from tests.bench import report
from tests.bench.crops import worn_body
from tests.bench.measures import Surface, mean_by_key, percentile
from tests.bench.moving_clips import CAMERA, decoded, encoded
from tests.bench.whole_system import WholeSystem

_MOTION = "cmu/002_06"
_LARGEST_HEADING_RAD = 0.7
_BLUR_PX = 1.2
FRAMES, QUICK_FRAMES = 60, 40
SETTLING_FRAMES = FPS
# Noise of a webcam in a lit room: standard deviation at black, and its growth with the root of brightness, of 255.
_READ_NOISE, _SHOT_NOISE = 1.5, 0.15
Figures = dict[str, float]


class StandingPeople:
    """Renders people; the same seed and number give the same picture.

    Raises:
        RendererUnavailable: OpenGL is not available.
    """

    def __init__(self, body: BodyModel, seed: int) -> None:
        self._body, self._seed = body, seed
        self._renderer = Renderer(Canvas.from_model(body))
        self._dresser = Dresser(self._renderer.canvas, dressed=True)
        self._rows = identity_rows("test", len(body.shape_table))
        self._motion = next(clip for clip in clips("test") if clip.name == _MOTION)

    def picture(self, number: int) -> Image:
        """(480, 640, 3) RGB of one person before `moving_clips.CAMERA`, the whole body in the picture."""
        rng = np.random.default_rng([self._seed, number])
        placed = place_motion(self._body, self._pose(rng), int(rng.choice(self._rows)))
        with torch.inference_mode():
            posed = self._body(placed.parameters)
        outfit, light = self._dresser.draw(rng)
        figure = worn_body(self._body, outfit, posed, 0, placed.parameters.shape[0].numpy())
        view = View(2 * WIDTH, 2 * HEIGHT, 2 * CAMERA.focal_px)
        rendering = self._renderer.render([figure], view, light)
        person = cv2.resize(rendering.colour, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32)
        room = cv2.GaussianBlur(make_room(rng, WIDTH), (0, 0), _BLUR_PX)[WIDTH - HEIGHT :]
        return (
            np.asarray(person[..., :3] + (1 - person[..., 3:] / 255) * room, np.float32).clip(0, 255).astype(np.uint8)
        )

    def _pose(self, rng: np.random.Generator) -> Clip:
        """One frame of a captured motion, about facing the camera."""
        frame = int(rng.integers(len(self._motion.rotation_vectors)))
        still = replace(
            self._motion,
            rotation_vectors=self._motion.rotation_vectors[frame : frame + 1],
            root_translation=self._motion.root_translation[frame : frame + 1],
        )
        return turned(still, float(rng.uniform(-_LARGEST_HEADING_RAD, _LARGEST_HEADING_RAD)))


@dataclass(frozen=True, slots=True)
class Movement:
    """What moved between two successive frames, metres."""

    template: Float64Array
    surface: Float64Array

    @classmethod
    def between(cls, before: ReconstructedPerson, after: ReconstructedPerson) -> "Movement":
        """Of one person."""
        template = after.body.mesh.vertices.astype(np.float64) - before.body.mesh.vertices
        old = Surface(before.surface.vertices, before.surface.faces)
        surface, _ = old.nearest(after.surface.vertices.astype(np.float64))
        return cls(np.linalg.norm(template, axis=1), surface)


def figures(movements: Sequence[Movement]) -> Figures:
    found: Figures = {}
    for name in ("template", "surface"):
        moved = [1000 * getattr(movement, name) for movement in movements]
        together = np.concatenate([np.zeros(0), *moved])
        found[f"{name}_rms_mm"] = _rms(together)
        found[f"{name}_p95_mm"] = percentile(together, 95)
    return found


def _rms(values: Float64Array) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")


def noisy_frames(picture: Image, count: int, rng: np.random.Generator) -> Iterator[Image]:
    """Frames of a camera that sees one picture (H, W, 3), as JPEG."""
    level = _READ_NOISE + _SHOT_NOISE * np.sqrt(picture.astype(np.float32))
    for _ in range(count):
        noisy = picture + level * rng.standard_normal(picture.shape, np.float32)
        yield from decoded([encoded(np.rint(noisy).clip(0, 255).astype(np.uint8))])


def follow(system: WholeSystem, frames: Iterator[Image], source: str) -> list[ReconstructedPerson | None]:
    """The person of each frame of a clip as the receiver rebuilds them, None where nobody is found."""
    found: list[ReconstructedPerson | None] = []
    for index, image in enumerate(frames):
        rebuilt = system.rebuild(CapturedFrame(index, source, index / FPS, index / FPS, image, CAMERA))
        found.append(rebuilt.people[0] if rebuilt.people else None)
    return found


def clip_figures(people: Sequence[ReconstructedPerson | None]) -> dict[str, Figures]:
    """Figures of one clip: of all frames, and after the first second."""
    systems = {}
    for name, start in (("all frames", 0), ("settled", SETTLING_FRAMES)):
        pairs = pairwise(people[start:])
        movements = [Movement.between(a, b) for a, b in pairs if a is not None and b is not None]
        seen = [person is not None for person in people[start:]]
        systems[name] = figures(movements) | {"seen": float(np.mean(seen)) if seen else float("nan")}
    return systems


def summary(clips: Sequence[Mapping[str, Figures]]) -> dict[str, Figures]:
    """Means over the clips."""
    return {name: mean_by_key([clip[name] for clip in clips]) for name in clips[0]}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("still", __doc__, 7)
    report.add_amount(parser, "--clips", "number of people", 10, 2, report.at_least(1))
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    clips = options.clips
    count = QUICK_FRAMES if options.quick else FRAMES
    people = StandingPeople(BodyModel.load(), options.seed)
    rows = []
    for number in range(clips):
        # A session of its own: the codec and the sender remember people.
        system = WholeSystem(TrackerConfig(max_people=1))
        frames = noisy_frames(people.picture(number), count, np.random.default_rng([options.seed, number]))
        with torch.inference_mode():
            rows.append(clip_figures(follow(system, frames, f"still-{number}")))
        report.progress(f"clip {number}: template {rows[-1]['all frames']['template_rms_mm']:.2f} mm RMS")
    systems = summary(rows)
    report.publish(options, systems, f"{clips} clips of {count} frames, seed {options.seed}", clips=clips, frames=count)


if __name__ == "__main__":
    sys.exit(main())
