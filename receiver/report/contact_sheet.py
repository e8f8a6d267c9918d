"""A contact sheet of a session: the people that were sent, above the surfaces and bodies reconstructed from them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont, ImageOps

from common.arrays import Image
from common.errors import SourceError
from common.frames import Camera
from receiver.mesh.body_file import read_mesh
from receiver.mesh.render import render
from receiver.publish.files import publish_file

COLUMNS = 8
_TILE_HEIGHT_PX = 384
_CAPTION_HEIGHT_PX = 20
_NAMES_WIDTH_PX = 90
# Around people's joints, as a share of their larger extent: crown and feet are beyond these.
_MARGIN = 0.2
# So narrow a caption is still read.
_LEAST_ASPECT = 0.4
_MOST_ENLARGED = 4.0

Record = dict[str, Any]
"""One frame of `frames.jsonl`."""


Key = int | str
"""A frame of a video by number, a picture of a folder by name."""


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """What was sent.

    Args:
        keys: all frames of a video, or pictures of a folder.
        frames: some of them, evenly spread: (H, W, 3) RGB.
        stills: whether they are pictures of a folder.
    """

    keys: Sequence[Key]
    frames: Mapping[Key, Image]
    stills: bool = False

    def by_key(self, records: Sequence[Record]) -> dict[Key, Record]:
        """The records of the frames."""
        return {record["source"] if self.stills else int(record["seq"]): record for record in records}


def read_clip(path: Path) -> Clip:
    """A video or a folder of pictures, with at most `COLUMNS` evenly spread frames. Raises SourceError without any."""
    return _read_folder(path) if path.is_dir() else _read_video(path)


def _read_folder(path: Path) -> Clip:
    frames: dict[Key, Image] = {}
    try:
        known = PillowImage.registered_extensions()
        names = sorted(each.name for each in path.iterdir() if each.suffix.lower() in known)
        if not names:
            raise SourceError(f"{path} has no pictures")
        for name in (names[n] for n in spread(len(names), COLUMNS)):
            with PillowImage.open(path / name) as picture:
                frames[name] = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"), np.uint8)
    except (OSError, ValueError, PillowImage.DecompressionBombError) as error:
        raise SourceError(f"{path} cannot be read as a folder of pictures: {error}") from error
    return Clip(names, frames, stills=True)


def _read_video(path: Path) -> Clip:
    try:
        frame_count = sum(1 for _ in _decode(path))
        selected = set(spread(frame_count, COLUMNS))
        frames: dict[Key, Image] = {n: _rgb(frame) for n, frame in enumerate(_decode(path)) if n in selected}
    except (av.FFmpegError, OSError, IndexError) as error:
        raise SourceError(f"{path} cannot be read as a video: {error}") from error
    if frame_count == 0:
        raise SourceError(f"{path} has no frames")
    return Clip(range(frame_count), frames)


def _decode(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        yield from container.decode(container.streams.video[0])


def _rgb(frame: av.VideoFrame) -> Image:
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def spread(count: int, columns: int) -> list[int]:
    """At most `columns` evenly spread numbers below `count`, centred in equal intervals."""
    return sorted({int((column + 0.5) * count / columns) for column in range(columns)})


def render_people(directory: Path, record: Record | None, kind: str, source: Image, *, plain: bool = False) -> Image:
    """Renders all people of a frame as the sender's camera saw them, on white.

    Args:
        record: of the frame; None if it was not received.
        kind: of mesh, `surface` or `body`; of a person without it, the other one.
        source: the input frame (H, W, 3), of any size, which alone matters.
        plain: in a neutral colour, which shows the shape alone.

    Returns:
        (H, W, 3) RGB.
    """
    height, width = source.shape[:2]
    canvas: Image = np.full((height, width, 3), 255, np.uint8)
    if record is None or "camera" not in record:
        return canvas
    camera = Camera(width, height, record["camera"]["focal_px"] * width / record["camera"]["width"])
    # Painter's algorithm: farthest person first.
    for person in sorted(record["people"], key=lambda person: -float(np.mean(person["joints_3d"], axis=0)[2])):
        path = person[kind] or person["surface"] or person["body"]
        if path is None:
            continue
        try:
            mesh = read_mesh(directory / path)
            shown = replace(mesh, colours=None) if plain else mesh
            canvas = render(shown, camera, onto=canvas)
        except ValueError:
            cv2.putText(canvas, "unreadable", (4, height // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 0, 0), 1)
    return canvas


def caption(text: str, width: int, height: int) -> Image:
    """A line of black text centred on a white strip (height, width, 3)."""
    strip = PillowImage.new("RGB", (width, height), "white")
    font = ImageFont.load_default(0.7 * height)
    ImageDraw.Draw(strip).text((width / 2, height / 2), text, fill="black", font=font, anchor="mm")
    return np.asarray(strip, np.uint8)


def sheet_path(directory: Path, clip: Clip) -> Path:
    """Where the sheet of a clip is written to."""
    return directory / ("photographs.png" if clip.stills else "contact-sheet.png")


def write_contact_sheet(directory: Path, records: Sequence[Record], clip: Clip) -> Path:
    """Writes a column per frame of a video with input, surface and body of its people into `contact-sheet.png`.

    Pictures of a folder are in `photographs.png`, with the surface in its colours and plain.

    Raises:
        OutputError: it cannot be written.
    """
    by_key = clip.by_key(records)
    columns = [_column(directory, by_key.get(key), image, key) for key, image in clip.frames.items()]
    names = ("input", "surface", "shape" if clip.stills else "body")
    sheet = np.concatenate([_row_names(names, columns[0].shape[0]), *columns], axis=1)
    _, encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    path = sheet_path(directory, clip)
    publish_file(path, encoded.tobytes())
    return path


def _row_names(names: Sequence[str], height: int) -> Image:
    """A white strip (height, width, 3) with a name in the middle of each row of tiles."""
    strip = np.full((height, _NAMES_WIDTH_PX, 3), 255, np.uint8)
    for row, name in enumerate(names):
        top = _CAPTION_HEIGHT_PX + round((row + 0.5) * _TILE_HEIGHT_PX)
        strip[top : top + _CAPTION_HEIGHT_PX] = caption(name, _NAMES_WIDTH_PX, _CAPTION_HEIGHT_PX)
    return strip


def _column(directory: Path, record: Record | None, image: Image, key: Key) -> Image:
    """Caption, and around the people of one frame input, surface, and body or plain surface."""
    still = isinstance(key, str)
    rows, columns = _around_people(record, image)
    factor = min(_TILE_HEIGHT_PX / (rows.stop - rows.start), _MOST_ENLARGED)
    size = [max(1, round(factor * pixels)) for pixels in (image.shape[1], image.shape[0])]
    enlarged = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    last = render_people(directory, record, "surface" if still else "body", enlarged, plain=still)
    tiles = [enlarged, render_people(directory, record, "surface", enlarged), last]
    across, down = (slice(round(factor * each.start), max(1, round(factor * each.stop))) for each in (columns, rows))
    width = max(1, round((columns.stop - columns.start) * _TILE_HEIGHT_PX / (rows.stop - rows.start)))
    shown = [cv2.resize(tile[down, across], (width, _TILE_HEIGHT_PX), interpolation=cv2.INTER_AREA) for tile in tiles]
    name = "" if still else f"{key}: "
    text = f"{key}" if record is None else f"{name}labels {record['bytes']['total']} B"
    return np.concatenate([caption(text, width, _CAPTION_HEIGHT_PX), *shown], axis=0).astype(np.uint8)


def _around_people(record: Record | None, image: Image) -> tuple[slice, slice]:
    """Rows and columns of an image (H, W, 3) that have all people; all of it if there is nobody."""
    height, width = image.shape[:2]
    whole = slice(0, height), slice(0, width)
    joints = [person["keypoints_2d"] for person in record["people"]] if record else []
    if not joints or record is None or "camera" not in record:
        return whole
    points = np.array(joints, np.float64)[..., :2].reshape(-1, 2) * width / record["camera"]["width"]
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return whole
    low, high = points.min(axis=0), points.max(axis=0)
    middle, extent = (low + high) / 2, high - low + 2 * _MARGIN * max(*(high - low), 1.0)
    half = np.maximum(extent, [_LEAST_ASPECT * extent[1], 0.0]) / 2
    left, top = np.floor(middle - half).clip(0, [width - 1, height - 1]).astype(int).tolist()
    right, bottom = np.ceil(middle + half).clip([left + 1, top + 1], [width, height]).astype(int).tolist()
    return slice(top, bottom), slice(left, right)
