"""Clips of people who move, as perception sees them, to learn lifting from: even ones as of a file, odd ones as live.

One synthetic person moves before panoramas, photographs where nobody is, and drawn rooms.

A clip is NNNN.npz: what was seen and what is true of 64 frames.  Rendering continues where it was interrupted.

Examples:
  python -m sender.train.lifting.clips --windows windows30 --photographs photographs --count 500 --out clips
  python -m sender.train.lifting.clips --windows windows30 --photographs photographs --split val --count 60 --out clips

Arrays of T frames, 17 keypoints; crop units are 0…1 in perception's crop.

    time_s, seen (T,)            seconds; whether perception found somebody: where not, the next four rows are 0
    crop (T, 4), view (T,)       left, top, side in pixels, roll in radians (`CropBox`); 0 plain, 1 mirrored, 2 both
    keypoints_2d (T, 17, 2), keypoints_sigma, visible_logit (T, 17), joints_3d (T, 17, 3), joints_log_variance (T, 17)
    joint_depth (T, 17), depth_log_variance (T,)                      these two rows of `PerceptionOutput`
    entries, log_sigma (T, 80)                                        fitted to the frame (`sender.semantics.refine`)
    turn, pelvis, keypoints, body, contacts, up (T, …), size, focal, still     the truth, as of `Moving`
    camera (3,), assumed_focal () width, height, true focal length; what a sender would assume; pixels
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation
from torch.nn import functional

from common.arrays import Float64Array, FloatArray, Image
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters
from common.frames import Camera
from common.imaging.pictures import guessed_focal_px
from common.io.command_line import parser_of
from common.io.files import atomic_replacement
from common.labels import LABEL_SIZE
from common.synthetic.assets.appearance import Light
from common.synthetic.assets.garments import Canvas, PosedSkeleton
from common.synthetic.dataset import SPLITS, Split
from common.synthetic.motion.windows import MotionWindows, open_windows
from common.synthetic.renderer import Figure, Renderer, View
from common.synthetic.scene.backgrounds import BackgroundBank, degrade, make_background
from common.synthetic.scene.scene import Dresser, occluder, worn_figure
from sender.config import TrackingConfig
from sender.perception.perception_stage import PerceptionStage
from sender.perception.track import ObservedPerson
from sender.semantics.refine import CropFits
from sender.train.augment import perspective
from sender.train.lifting.motions import FPS, Motions, Moving
from sender.train.photographs.dataset import Photograph, PhotographDataset

FRAMES: Final = 64
_VIEWS: Final = ("plain", "mirrored", "both")
_OF_OUTPUT: Final = (
    *("keypoints_2d", "keypoints_sigma", "visible_logit", "joints_3d", "joints_log_variance"),
    *("joint_depth", "depth_log_variance"),
)
# Side of the picture that a camera which turns sees parts of, over the longer side of its frames.
_WIDER: Final = 1.5
# Shares of panoramas and of photographs; the others are drawn.
_PANORAMAS, _PHOTOGRAPHS = 0.4, 0.35
_DRAWN_PX, _TRIES, _PATCH = 320, 20, (0.3, 0.8)
_SIDE_PX: Final = 640
_DRESSED_SHARE, _OCCLUDED_SHARE = 0.5, 0.15
# Of cameras that are held in a hand, and of those that follow the person as well.
_HELD_SHARE, _PANNED_SHARE = 0.33, 0.13
# A hand turns a camera about each axis as a sum of sines: the root mean square, and their range.
_TURN_RAD, _HERTZ, _SINES = np.radians(1.2), (0.3, 3.0), 12
_LAG_FRAMES = 12
# Of a clip: keypoints in the picture, share of the frames that have so many, and height of the person, pixels.
_LEAST_INSIDE, _LEAST_SHARE, _LEAST_PX = 6, 0.8, 100
# People are rendered so much larger, and averaged; sizes of pictures are multiples, so that few differ.
_FINER, _STEP_PX, _MARGIN_PX = 1.5, 96, 8
_NEAR_M: Final = 0.1
_BATCH: Final = 8

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Take:
    """A clip before it is drawn.

    Args:
        moving: the truth, one window of T frames.
        body: T bodies in camera space.
        held: (T, 3, 3) by which a hand turns the camera.
        person_px: height of the person in the picture, pixels.
    """

    camera: Camera
    moving: Moving
    body: BodyParameters
    held: Float64Array
    person_px: float


class MovingPeople:
    """Draws clips of a split.

    Args:
        photographs: places to put people in; None: places are drawn.

    Raises:
        RendererUnavailable: OpenGL is missing.
    """

    def __init__(self, windows: MotionWindows, split: Split, photographs: PhotographDataset | None = None) -> None:
        self._motions, self._model, self._space = Motions(windows, split), BodyModel.load(), LabelSpace.load()
        self._renderer = Renderer(Canvas.from_model(self._model))
        self._dressers = [Dresser(self._renderer.canvas, dressed) for dressed in (False, True)]
        self._photographs = photographs
        self._textures = BackgroundBank(np.random.default_rng(0), 12)

    def take(self, rng: np.random.Generator, frames: int, *, still: bool = False) -> Take:
        """A person who is in the picture in most of the frames.

        Args:
            still: the camera stands still; else a third of all cameras is held in a hand.
        """
        while True:
            moving = self._motions.draw(1, frames, rng)
            held = np.tile(np.eye(3), (frames, 1, 1)) if still else _held(rng, moving)
            moving = _turned(moving, held)
            enough = (moving.inside[0].sum(-1) >= _LEAST_INSIDE).mean() >= _LEAST_SHARE
            width = _SIDE_PX / float(moving.size[0].max())
            person_px = width * float(np.median(np.ptp(moving.places[0, ..., 1], axis=-1)))
            if enough and person_px >= _LEAST_PX:
                break
        size = np.rint(moving.size[0] * width).astype(int)
        camera = Camera(int(size[0]), int(size[1]), float(moving.focal[0] * size[0]))
        entries = functional.pad(torch.from_numpy(moving.body[0]), (9, 0))
        body = self._space.decode(functional.pad(entries, (0, LABEL_SIZE - entries.shape[1])))
        rotations = torch.cat([torch.from_numpy(moving.turn[0])[:, None], body.rotations[:, 1:]], 1)
        body = replace(body, rotations=rotations, translation=torch.from_numpy(moving.pelvis[0]))
        return Take(camera, moving, body, held, min(person_px, camera.height))

    @torch.no_grad()
    def frames(self, rng: np.random.Generator, take: Take) -> Iterator[Image]:
        """Yields the frames (H, W, 3) of a take: somebody dressed at random, in a place, with a camera's errors."""
        camera, up = take.camera, take.moving.up[0]
        outfit, light = self._dressers[int(rng.random() < _DRESSED_SHARE)].draw(rng)
        place = place_of(rng, self._photographs, camera, take.held[0].T.astype(np.float32) @ up[0])
        front = occluder(rng, _SIDE_PX, self._textures) if rng.random() < _OCCLUDED_SHARE else None
        seed = int(rng.integers(1 << 31))
        for frame, (vertices, skeleton) in enumerate(self._posed(take.body)):
            picture = seen_background(place, camera, take.held[frame])
            figure, turned = worn_figure(outfit, vertices, skeleton), light.directions @ take.held[frame].T
            lit = replace(light, directions=turned.astype(np.float32))
            self._draw(picture, figure, camera, lit, up[frame])
            if front is not None:
                part = np.s_[: camera.height, : camera.width]
                picture = replace(front, colour=front.colour[part], alpha=front.alpha[part]).over(picture)
            yield degrade(np.random.default_rng(seed), picture, rng, take.person_px)

    def _posed(self, body: BodyParameters) -> Iterator[tuple[FloatArray, PosedSkeleton]]:
        """Vertices (V, 3) and skeleton of each body."""
        rest, shape = self._model.rest_joints_of(body.shape[:1])[0].numpy(), body.shape[0].numpy()
        for first in range(0, len(body), _BATCH):
            posed = self._model(body[first : first + _BATCH])
            columns = (posed.vertices, posed.joint_positions, posed.joint_rotations)
            for vertices, *bones in zip(*(column.numpy() for column in columns), strict=True):
                yield vertices, PosedSkeleton(shape, rest, *bones)

    def _draw(self, picture: FloatArray, figure: Figure, camera: Camera, light: Light, up: FloatArray) -> None:
        """Draws a person over a picture (H, W, 3), in place."""
        window = _window(figure.vertices, camera)
        if window is None:
            return
        left, top, width, height = window
        principal = (camera.width - 2 * left) / width - 1, (camera.height - 2 * top) / height - 1
        view = View(round(_FINER * width), round(_FINER * height), _FINER * camera.focal_px, principal)
        colour = self._renderer.render([figure], view, light, up).colour
        person = cv2.resize(colour, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
        part = picture[top : top + height, left : left + width]
        person = person[: part.shape[0], : part.shape[1]]
        part *= 1 - person[..., 3:] / 255
        part += person[..., :3]


def place_of(
    rng: np.random.Generator, photographs: PhotographDataset | None, camera: Camera, up: FloatArray
) -> FloatArray:
    """A square (S, S, 3) with the camera's focal length, larger than its frames; `up` (3,) in camera space.

    It is a panorama in a random direction, a part of a photograph, or drawn (`photographs` None: always drawn).
    """
    side, kind, place = round(_WIDER * max(camera.width, camera.height)), rng.random(), None
    if photographs and kind < _PANORAMAS:
        panorama = photographs[int(rng.choice(photographs.indices("panoramas")))].image
        pitch, roll = math.asin(float(np.clip(up[2], -1, 1))), -math.atan2(float(up[0]), -float(up[1]))
        view = 2 * math.atan(side / 2 / camera.focal_px)
        return perspective(panorama, float(rng.uniform(-np.pi, np.pi)), pitch, roll, view, side).astype(np.float32)
    if photographs and kind < _PANORAMAS + _PHOTOGRAPHS:
        place = _empty_part(rng, photographs[int(rng.choice(photographs.indices("openimages")))])
    place = make_background(rng, _DRAWN_PX) if place is None else place
    return np.asarray(cv2.resize(place, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)


def _empty_part(rng: np.random.Generator, photograph: Photograph) -> Image | None:
    """A square of a photograph in which nobody is annotated; None if none is found."""
    height, width = photograph.image.shape[:2]
    taken = np.concatenate([photograph.boxes, photograph.crowds])
    for _ in range(_TRIES):
        side = int(min(height, width) * rng.uniform(*_PATCH))
        left, top = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
        apart = (taken[:, :2] >= [left + side, top + side]) | (taken[:, 2:] <= [left, top])
        if apart.any(axis=1).all():
            return photograph.image[top : top + side, left : left + side]
    return None


def seen_background(place: FloatArray, camera: Camera, turn: Float64Array) -> FloatArray:
    """The part (H, W, 3) of a place that a camera sees when it is turned by (3, 3); all is far away."""
    side, size = len(place), (camera.width, camera.height)
    warp = _lens(camera.focal_px, *size) @ turn @ np.linalg.inv(_lens(camera.focal_px, side, side))
    return np.asarray(cv2.warpPerspective(place, warp, size, borderMode=cv2.BORDER_REFLECT), np.float32)


def _lens(focal_px: float, width: int, height: int) -> Float64Array:
    return np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])


def _window(vertices: FloatArray, camera: Camera) -> tuple[int, int, int, int] | None:
    """Left, top, width and height of the part of the frame that shows a person, and more; None where none does."""
    size = np.array([camera.width, camera.height])
    low, high = np.zeros(2, int), size
    if vertices[:, 2].min() > _NEAR_M:
        pixels = camera.project(vertices)
        low = np.maximum((pixels.min(0) - _MARGIN_PX).astype(int), 0)
        high = np.minimum((pixels.max(0) + _MARGIN_PX).astype(int), size)
    if (high <= low).any():
        return None
    width, height = np.ceil((high - low) / _STEP_PX).astype(int) * _STEP_PX
    return int(low[0]), int(low[1]), int(width), int(height)


def _held(rng: np.random.Generator, moving: Moving) -> Float64Array:
    """(T, 3, 3) by which the camera of a window is turned."""
    frames = moving.time_s.shape[1]
    turns, kind = np.tile(np.eye(3), (frames, 1, 1)), rng.random()
    if kind >= _HELD_SHARE:
        return turns
    if kind < _PANNED_SHARE:
        # With some lag, relative to the middle of the path.
        x, y, z = gaussian_filter1d(moving.pelvis[0], _LAG_FRAMES, axis=0, mode="nearest").T
        yaw, pitch = np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))
        yaw, pitch = yaw - yaw.mean(), pitch - pitch.mean()
        following = Rotation.from_euler("x", pitch[:, None]) * Rotation.from_euler("y", -yaw[:, None])
        turns = following.as_matrix()
    return np.asarray(Rotation.from_rotvec(_TURN_RAD * _wandering(rng, frames)).as_matrix() @ turns)


def _turned(moving: Moving, held: Float64Array) -> Moving:
    """A window before a camera that is turned by (T, 3, 3)."""
    turn = held[None].astype(np.float32)
    back = turn.swapaxes(-1, -2)
    return replace(
        moving,
        turn=turn @ moving.turn,
        pelvis=(moving.pelvis[..., None, :] @ back)[..., 0, :],
        keypoints=moving.keypoints @ back,
        up=(moving.up[..., None, :] @ back)[..., 0, :],
        still=np.full(1, np.allclose(held, held[0])),
    )


def _wandering(rng: np.random.Generator, frames: int) -> Float64Array:
    """(T, 3) numbers with a root mean square of 1."""
    hertz, phases = rng.uniform(*_HERTZ, (_SINES, 3)), rng.uniform(0, 2 * np.pi, (_SINES, 3))
    sines = np.sin(2 * np.pi * hertz * np.arange(frames)[:, None, None] / FPS + phases) / hertz
    return np.asarray(sines.sum(axis=1) / np.sqrt((1 / hertz**2).sum(axis=0) / 2))


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
