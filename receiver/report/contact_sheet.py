"""A picture of input beside output: frames of the clip above the surface and the body that came of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from common.arrays import ByteArray, FloatArray
from common.errors import SourceError
from common.frames import Camera
from receiver.mesh.mesh_files import publish_file, read_mesh
from receiver.mesh.render import render

COLUMNS = 8
_TILE_HEIGHT = 288
_CAPTION_HEIGHT = 20

Line = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """What the sheet needs of a clip.

    Args:
        frame_count: frames in all.
        chosen: frame number → (H, W, 3) RGB of a few frames spread over the clip.
    """

    frame_count: int
    chosen: dict[int, ByteArray]


def read_clip(path: Path) -> Clip:
    """Decode a video, keeping only the frames that the sheet shows.

    Raises:
        SourceError: it is missing or is no video.
    """
    try:
        frame_count = sum(1 for _ in _decode(path))
        wanted = set(spread(frame_count, COLUMNS))
        chosen = {n: frame.to_ndarray(format="rgb24") for n, frame in enumerate(_decode(path)) if n in wanted}
    except (av.FFmpegError, OSError, IndexError) as error:
        raise SourceError(f"{path} cannot be read as a video: {error}") from error
    if frame_count == 0:
        raise SourceError(f"{path} holds no frames")
    return Clip(frame_count, chosen)


def _decode(path: Path) -> Any:
    """The clip's frames one after the other."""
    with av.open(str(path)) as container:
        yield from container.decode(container.streams.video[0])


def spread(count: int, columns: int) -> list[int]:
    """At most `columns` numbers below `count`, evenly spread, none at the very ends."""
    return sorted({int((column + 0.5) * count / columns) for column in range(columns)})


def fit_focal_px(keypoints_2d: FloatArray, joints_3d: FloatArray, width: int, height: int) -> float:
    """The focal length with which the joints (17, 3) come closest to the keypoints (17, 3); pixels.

    `frames.jsonl` does not say which camera the sender assumed, but keypoints and joints give it away.
    """
    rays = (joints_3d[:, :2] / joints_3d[:, 2:]).ravel()
    pixels = (keypoints_2d[:, :2] - np.array([width / 2.0, height / 2.0])).ravel()
    focal_px = float(rays @ pixels / max(float(rays @ rays), 1e-9))
    # Joints that say nothing (all on the axis) or nonsense must not stop a picture from being drawn.
    return float(np.clip(focal_px, 0.3 * max(width, height), 20.0 * max(width, height)))


def write_contact_sheet(directory: Path, frames: Sequence[Line], clip: Clip) -> Path:
    """Draw `contact-sheet.png` into the directory: a column per frame; input, surface and body below one another.

    Raises:
        OutputError: the file cannot be written.
    """
    by_sequence = {int(frame["seq"]): frame for frame in frames}
    columns = [_column(directory, by_sequence.get(n), image, n) for n, image in sorted(clip.chosen.items())]
    sheet = np.concatenate(columns, axis=1)
    _, encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    path = directory / "contact-sheet.png"
    publish_file(path, encoded.tobytes())
    return path


def _column(directory: Path, frame: Line | None, image: ByteArray, number: int) -> ByteArray:
    """Input, surface and body of one frame."""
    tiles = [image] + [_drawn(directory, frame, kind, image) for kind in ("surface", "body")]
    width = max(1, round(image.shape[1] * _TILE_HEIGHT / image.shape[0]))
    scaled = [cv2.resize(tile, (width, _TILE_HEIGHT), interpolation=cv2.INTER_AREA) for tile in tiles]
    caption = np.full((_CAPTION_HEIGHT, width, 3), 255, np.uint8)
    text = f"{number}" if frame is None else f"{number}: {frame['bytes']['total']} B"
    cv2.putText(caption, text, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([caption, *scaled], axis=0).astype(np.uint8)


def _drawn(directory: Path, frame: Line | None, kind: str, image: ByteArray) -> ByteArray:
    """Everybody's mesh of a kind as the camera would see it; empty where there is none."""
    height, width = image.shape[:2]
    canvas: ByteArray = np.full((height, width, 3), 255, np.uint8)
    people = [] if frame is None else [person for person in frame["people"] if person[kind] is not None]
    # The farthest first, so that who stands in front is drawn in front.
    for person in sorted(people, key=lambda person: -float(np.mean(person["joints_3d"], axis=0)[2])):
        focal_px = fit_focal_px(np.array(person["keypoints_2d"]), np.array(person["joints_3d"]), width, height)
        try:
            canvas = render(read_mesh(directory / person[kind]), Camera(width, height, focal_px), onto=canvas)
        except ValueError:
            cv2.putText(canvas, "unreadable", (4, height // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 0, 0), 1)
    return canvas
