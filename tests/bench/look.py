"""A contact sheet of what comes out for photographs or a clip: `python -m tests.bench.look --folder DIR --out FILE`.

Each image passes sender, codec and receiver in process.  A row of the sheet shows the input, the keypoints head's
keypoints with their probability of being visible as brightness, the received meshes over the darkened input, and the
meshes from the side.  It is there to be looked at; nothing is measured.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from common.arrays import FloatArray, Image
from common.frames import Camera
from common.io.atomic_write import atomic_replacement
from common.weights.loader import model_hash
from receiver.engine.engine import ReconstructedPerson
from receiver.mesh.render import render
from sender.capture.open import CaptureConfig, open_source
from sender.capture.source import CapturedFrame
from sender.importance.importance import Importance
from sender.perception.stage import ObservedPerson, TrackingConfig
from tests.bench import report
from tests.bench.perceived import FrameSender
from tests.bench.rates import CodecPair, unconstrained_rho
from tests.bench.reconstruction_scores import Receiver

_TILE_PX = 300
_ROWS_A_COLUMN = 10
_LIMBS = ((5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16), (5, 6), (11, 12), (5, 11), (6, 12))
_LEFT_RGB, _RIGHT_RGB, _MIDDLE_RGB = (90, 220, 90), (250, 90, 90), (240, 220, 60)


class Viewer:
    """Sender, codec and receiver in process.

    Args:
        max_people: per frame; None as the sender's default in files.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self, max_people: int | None) -> None:
        self._sender = FrameSender(limits=TrackingConfig(max_people).limits(live=False))
        self._receiver = Receiver()
        self._codec, self._importance = CodecPair(model_hash()), Importance.load()

    def row(self, frame: CapturedFrame) -> Image:
        """One row of the sheet, (_TILE_PX, 4 · _TILE_PX, 3)."""
        observed = self._sender.observe(frame)
        labels = self._sender.label_observed(frame, observed)
        rho = unconstrained_rho(self._importance, labels.people[0]) if labels.people else {}
        arrived = self._codec.send(labels, rho).frame
        people = self._receiver.reconstruct(arrived.people, arrived.camera) if arrived.people else ()
        dark = np.asarray(frame.image * 0.45, np.uint8)
        tiles = (
            frame.image,
            with_keypoints(frame.image, observed),
            with_meshes(dark, arrived.camera, people),
            from_the_side(np.full_like(frame.image, 255), arrived.camera, people),
        )
        return np.hstack([tile(picture) for picture in tiles])


def with_keypoints(image: Image, observed: Sequence[ObservedPerson]) -> Image:
    """The image with each person's keypoints: left green, right red."""
    canvas = image.copy()
    width = max(1, round(max(image.shape[:2]) / 250))
    for person in observed:
        pixels = person.crop.to_pixels(person.output.keypoints_2d[0].float().numpy())
        visible = person.output.visible_logit[0].float().sigmoid().numpy()
        for first, second in _LIMBS:
            same_side = first % 2 == second % 2
            colour = (_LEFT_RGB if first % 2 else _RIGHT_RGB) if same_side else _MIDDLE_RGB
            strength = float(0.25 + 0.75 * min(visible[first], visible[second]))
            ends = [tuple(int(value) for value in pixels[index]) for index in (first, second)]
            cv2.line(canvas, ends[0], ends[1], [strength * value for value in colour], width, cv2.LINE_AA)
        for place in pixels[:5]:
            cv2.circle(canvas, (int(place[0]), int(place[1])), width, _MIDDLE_RGB, -1)
    return canvas


def with_meshes(image: Image, camera: Camera, people: Sequence[ReconstructedPerson]) -> Image:
    """The people's surfaces over the image, the nearest last."""
    for person in sorted(people, key=lambda person: -float(person.joints_3d[:, 2].mean())):
        image = render(person.surface, camera, onto=image)
    return image


def from_the_side(image: Image, camera: Camera, people: Sequence[ReconstructedPerson]) -> Image:
    """The same surfaces, each turned a quarter about the vertical axis through its joints."""
    turn = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], np.float32)
    for person in people:
        centre = person.joints_3d.mean(axis=0)
        vertices: FloatArray = ((person.surface.vertices - centre) @ turn.T + centre).astype(np.float32)
        image = render(replace(person.surface, vertices=vertices), camera, onto=image)
    return image


def tile(image: Image) -> Image:
    """The image, scaled to fit a white square of `_TILE_PX`."""
    height, width = image.shape[:2]
    factor = _TILE_PX / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    square = np.full((_TILE_PX, _TILE_PX, 3), 255, np.uint8)
    left, top = (_TILE_PX - size[0]) // 2, (_TILE_PX - size[1]) // 2
    square[top : top + size[1], left : left + size[0]] = small
    return square


def frames_of(folder: Path, every: int, clip: bool, limit: int | None) -> Iterator[CapturedFrame]:
    """Every `every`-th image of a folder, or frame of a video, as photographs of their own or as one clip."""
    pattern = str(folder / "*.jpg") if folder.is_dir() else str(folder)
    with open_source(CaptureConfig(pattern)) as source:
        for index, frame in enumerate(source):
            if limit is not None and index >= limit * every:
                return
            yield replace(frame, source=folder.name, media_time_s=index / 24) if clip else frame


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("look", "Draw a contact sheet of what comes out for photographs or a clip.", 0)
    parser.add_argument("--folder", type=Path, required=True, help="photographs NAME.jpg, or a video")
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    parser.add_argument("--clip", action="store_true", help="the images are the frames of one clip")
    parser.add_argument("--every", type=int, default=1, help="frames from one row to the next (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="most rows")
    parser.add_argument("--max-people", type=int, help="people a frame (default: everybody prominent, as the sender)")
    options = parser.parse_args(arguments)

    def work() -> None:
        viewer = Viewer(options.max_people)
        rows = []
        for index, frame in enumerate(frames_of(options.folder, options.every, options.clip, options.limit)):
            row = viewer.row(frame)
            if index % options.every == 0:
                rows.append(row)
        blank = np.full_like(rows[0], 255)
        columns = [rows[start : start + _ROWS_A_COLUMN] for start in range(0, len(rows), _ROWS_A_COLUMN)]
        height = len(columns[0])
        sheet = np.hstack([np.vstack([*column, *[blank] * (height - len(column))]) for column in columns])
        with atomic_replacement(options.out) as partial:
            partial.write_bytes(cv2.imencode(options.out.suffix, np.ascontiguousarray(sheet[..., ::-1]))[1].tobytes())
        print(f"{len(rows)} rows in {options.out}")

    return report.run("look", work)


if __name__ == "__main__":
    sys.exit(main())
