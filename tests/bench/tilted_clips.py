"""Rendered clips of one person before tilted and portrait cameras, with the true box of every frame.

The person walks through the frame, approaches, is hidden by a passing board, moves on the spot, or leaves and returns,
before a view of a panorama or a rendered background, with the roll and pitch of the camera.  A clip is rendered once
and kept as a file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import cv2
import numpy as np
import torch
from numpy.random import Generator

from common.arrays import BoolArray, Box, ByteArray, FloatArray
from common.body.model import BodyModel, BodyParameters
from common.body.rotations import axis_angle_to_matrix
from common.errors import SourceError
from common.frames import Camera
from common.synthetic.assets.appearance import sample_appearance, sample_light
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.dataset.split import identity_rows
from common.synthetic.motion.motion_table import Clip, clips
from common.synthetic.renderer.renderer import Figure, Renderer, View
from common.synthetic.scene.backgrounds import make_background
from sender.train.photograph_frames import perspective
from tests.bench.clip_frames import encoded_with_noise, frames_in, save_clip

Kind = Literal["through", "approach", "hidden", "spot", "return"]
KINDS: tuple[Kind, ...] = ("through", "approach", "hidden", "spot", "return")

FRAMES = 60
LONG_SIDE, SHORT_SIDE = 854, 480
HIDDEN_FRAMES = 15
_PERSON_M = 1.7
_MAX_ROLL_DEG, _MAX_PITCH_DEG = 25.0, 30.0
# Rendered at this multiple of the frame's resolution.
_OVERSAMPLING = 2
_VERSION = 1


@dataclass(frozen=True, slots=True)
class TiltedClip:
    """One clip.

    Args:
        encoded: T frames as JPEG.
        boxes: (T, 4) of the person's pixels in the frame if nothing hid them, pixels; NaN outside the frame.
        visible: (T,) share of the person that is in the frame and not hidden.
    """

    kind: Kind
    camera: Camera
    encoded: tuple[ByteArray, ...]
    boxes: FloatArray
    visible: FloatArray

    def save(self, path: Path) -> None:
        camera = np.array([self.camera.width, self.camera.height, self.camera.focal_px])
        save_clip(path, self.encoded, kind=self.kind, camera=camera, boxes=self.boxes, visible=self.visible)

    @classmethod
    def read(cls, path: Path) -> Self:
        with np.load(path) as file:
            width, height, focal_px = file["camera"].tolist()
            camera = Camera(int(width), int(height), focal_px)
            return cls(str(file["kind"]), camera, frames_in(file), file["boxes"], file["visible"])  # type: ignore[arg-type]


class ClipRenderer:
    """Renders clips; the same seed, number and panoramas give the same clip.

    Args:
        panoramas: equirectangular pictures; without them, and in every third clip, the background is rendered.

    Raises:
        RendererUnavailable: OpenGL over EGL is not available.
    """

    def __init__(self, panoramas: Sequence[Path]) -> None:
        self._panoramas = sorted(panoramas)
        self._model = BodyModel.load()
        self._rows = identity_rows("test", len(self._model.shape_table))
        self._renderer = Renderer(Canvas.from_model(self._model))

    def clip(self, seed: int, number: int, folder: Path) -> TiltedClip:
        """Clip `number` of a seed, from `folder` if it was rendered before.

        Raises:
            SourceError: a panorama cannot be read.
        """
        places = "places" if self._panoramas else "rooms"
        path = folder / f"{places}-{_VERSION}-{seed}-{number:03d}.npz"
        if not path.exists():
            self._render(np.random.default_rng([seed, number]), KINDS[number % len(KINDS)], number).save(path)
        return TiltedClip.read(path)

    def _render(self, rng: Generator, kind: Kind, number: int) -> TiltedClip:
        portrait = bool(rng.random() < 0.6)
        size = (SHORT_SIDE, LONG_SIDE) if portrait else (LONG_SIDE, SHORT_SIDE)
        camera = Camera(*size, float(LONG_SIDE * rng.uniform(0.7, 1.4)))
        roll = float(np.radians(rng.uniform(-_MAX_ROLL_DEG, _MAX_ROLL_DEG)))
        pitch = float(np.radians(rng.uniform(-_MAX_PITCH_DEG, 10.0)))
        place = self._place(rng, camera, roll, pitch, number)
        board = cv2.resize(make_background(rng), (LONG_SIDE, LONG_SIDE), interpolation=cv2.INTER_CUBIC)
        tilt = _tilt(roll, pitch)
        vertices = self._bodies(rng, tilt, walked_path(rng, kind, camera))
        appearance, light = sample_appearance(rng), sample_light(rng)
        view = View(_OVERSAMPLING * camera.width, _OVERSAMPLING * camera.height, _OVERSAMPLING * camera.focal_px)
        jpegs, boxes, visible = [], [], []
        for index, body in enumerate(vertices):
            rendering = self._renderer.render([Figure(body, appearance)], view, light, -tilt[:, 1])
            person = cv2.resize(rendering.colour.astype(np.float32), size, interpolation=cv2.INTER_AREA)
            alpha = person[..., 3:] / 255
            picture = person[..., :3] + (1 - alpha) * place
            mask = alpha[..., 0] >= 0.5
            hidden = np.zeros_like(mask)
            if kind == "hidden":
                hidden = hidden_columns(index, mask)
                picture[hidden] = board[: camera.height, : camera.width][hidden]
            jpegs.append(encoded_with_noise(rng, picture))
            boxes.append(box_of(mask))
            shown = float((mask & ~hidden).sum() / max(mask.sum(), 1))
            visible.append(shown * _inside_share(body, camera))
        return TiltedClip(kind, camera, tuple(jpegs), np.stack(boxes).astype(np.float32), np.array(visible, np.float32))

    def _place(self, rng: Generator, camera: Camera, roll: float, pitch: float, number: int) -> FloatArray:
        side = max(camera.width, camera.height)
        yaw = float(rng.uniform(-np.pi, np.pi))
        if self._panoramas and number % 3 != 2:
            path = self._panoramas[int(rng.integers(len(self._panoramas)))]
            panorama = cv2.imread(str(path))
            if panorama is None:
                raise SourceError(f"{path} is no picture: choose another --panoramas")
            angle = 2 * float(np.arctan(side / 2 / camera.focal_px))
            rgb = np.asarray(panorama[..., ::-1], np.uint8)
            square = perspective(rgb, yaw, pitch, roll, angle, side)
        else:
            level = cv2.resize(make_background(rng), (side, side), interpolation=cv2.INTER_CUBIC)
            turn = cv2.getRotationMatrix2D((side / 2, side / 2), float(np.degrees(roll)), 1.0)
            square = np.asarray(cv2.warpAffine(level, turn, (side, side), borderMode=cv2.BORDER_REFLECT), np.uint8)
        x, y = (side - camera.width) // 2, (side - camera.height) // 2
        return np.asarray(square[y : y + camera.height, x : x + camera.width], np.float32)

    def _bodies(self, rng: Generator, tilt: FloatArray, path: FloatArray) -> FloatArray:
        """(T, V, 3) in camera space: a captured motion in the scene's orientation, its root on the path (T, 3)."""
        available = [clip for clip in clips("test") if len(clip.rotation_vectors) >= 20]
        clip = available[int(rng.integers(len(available)))]
        motion = _played(clip, len(path))
        heading = _around_y(float(rng.uniform(-np.pi, np.pi)))
        rotations = axis_angle_to_matrix(torch.from_numpy(motion.copy()))
        rotations[:, 0] = torch.from_numpy(tilt @ heading) @ rotations[:, 0]
        shape = self._model.shape_table[int(rng.choice(self._rows))].expand(len(path), -1)
        curl = torch.full((len(path), 4), 0.3)
        parameters = BodyParameters(rotations, curl, shape, torch.zeros(len(path), 3))
        with torch.no_grad():
            vertices = [self._model(parameters[slice(k, k + 8)]).vertices for k in range(0, len(path), 8)]
        bodies = torch.cat(vertices).numpy()
        centre = (bodies.min(axis=1) + bodies.max(axis=1)) / 2
        return np.asarray(bodies - centre.mean(axis=0) + path[:, None], np.float32)


def walked_path(rng: Generator, kind: Kind, camera: Camera) -> FloatArray:
    """(T, 3) camera space: where the person is, 10 to 90 % of the frame's height tall."""
    time = np.linspace(0, 1, FRAMES)
    start = np.exp(rng.uniform(np.log(0.1), np.log(0.9)))
    share = np.full(FRAMES, start)
    across = rng.uniform(0.35, 0.65) + rng.normal(0, 0.08) * time
    side = 1 if rng.random() < 0.5 else -1
    if kind == "through":
        across = 0.5 + side * (time - 0.5) * rng.uniform(1.3, 2.0)
    elif kind == "approach":
        share = np.exp(np.interp(time, [0.1, 0.7], [np.log(rng.uniform(0.1, 0.3)), np.log(rng.uniform(0.6, 0.9))]))
    elif kind == "return":
        across = 0.5 + side * np.interp(time, [0, 0.3, 0.5, 0.6, 0.9], [0, 0.1, 0.9, 0.9, 0.0])
    down = 0.5 + rng.uniform(-0.4, 0.4) * (1 - share)
    depth = camera.focal_px * _PERSON_M / (share * camera.height)
    x = (across - 0.5) * camera.width * depth / camera.focal_px
    y = (down - 0.5) * camera.height * depth / camera.focal_px
    return np.stack([x, y, depth], axis=1).astype(np.float32)


def hidden_columns(index: int, mask: BoolArray) -> BoolArray:
    """The pixels that a board hides: it enters from the left, hides the person for 15 frames, leaves to the right."""
    columns = np.flatnonzero(mask.any(axis=0))
    hidden = np.zeros_like(mask)
    if not len(columns):
        return hidden
    left, right = columns[0], columns[-1] + 1
    begin = FRAMES // 2 - HIDDEN_FRAMES // 2
    moving = 5
    lead = np.clip((index - begin + moving) / moving, 0, 1)
    trail = np.clip((index - begin - HIDDEN_FRAMES + 1) / moving, 0, 1)
    margin = 2 + (right - left) // 8
    first, last = (
        left - margin + trail * (right - left + 2 * margin),
        left - margin + lead * (right - left + 2 * margin),
    )
    hidden[:, max(0, int(first)) : max(0, int(np.ceil(last)))] = lead > 0 and trail < 1
    return hidden


def box_of(mask: BoolArray) -> Box:
    """The box (4,) around a mask (H, W), pixels; NaN if it is empty."""
    if not mask.any():
        return np.full(4, np.nan, np.float32)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def _inside_share(vertices: FloatArray, camera: Camera) -> float:
    """Share of the vertices (V, 3) that project into the frame."""
    centre = np.array([camera.width, camera.height]) / 2
    pixels = camera.focal_px * vertices[:, :2] / vertices[:, 2:] + centre
    return float(((pixels >= 0) & (pixels < 2 * centre)).all(axis=1).mean())


def _played(clip: Clip, count: int) -> FloatArray:
    """(count, 22, 3): the motion, forwards and backwards."""
    last = len(clip.rotation_vectors) - 1
    return np.asarray(clip.rotation_vectors[last - np.abs(np.arange(count) % (2 * last) - last)])


def _tilt(roll: float, pitch: float) -> FloatArray:
    """(3, 3) rotation from the level scene to a camera pitched upwards and rolled clockwise."""
    c, s = np.cos(pitch), np.sin(pitch)
    around_x = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    c, s = np.cos(roll), np.sin(roll)
    around_z = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    return np.asarray(around_z @ around_x, np.float32)


def _around_y(angle: float) -> FloatArray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
