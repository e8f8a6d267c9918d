"""Draws one wide picture of a session: input frames, their meshes in the camera view, and the meshes from the side.

Exit codes: 0 the picture is written, 2 usage error, 3 the clip cannot be read, 5 the picture cannot be written.

usage: python -m receiver.report.picture DIRECTORY --clip CLIP [--out FILE]
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from common.arrays import Image
from common.errors import exit_code_of
from receiver.mesh.mesh_files import publish_file
from receiver.report.contact_sheet import Clip, Record, caption, read_clip, render_people
from receiver.report.summary import command_parser, read_frames

COLUMNS = 6
_TILE_WIDTH_PX, _TILE_HEIGHT_PX = 224, 280
_MARGIN_PX = 6
_CAPTION_HEIGHT_PX = 24
_LABELS = ("input", "mesh, camera view", "mesh, side view")
_SIDE_VIEW_RAD = math.pi / 2
# Meshes are rendered at this height, above that of a tile, so that downscaling smooths their edges.
_RENDER_HEIGHT_PX = 1080
# Space on each side of the meshes, as a share of the height that they cover.
_PADDING = 0.08
_JPEG_QUALITY = 88

_EXAMPLES = (
    "python -m receiver.report.picture demo-out --clip sender/capture/data/demo.mp4",
    "python -m receiver.report.picture demo-out --clip sender/capture/data/demo.mp4 --out docs/demo.jpg",
    "python -m receiver.report.picture out --clip recording.mp4 --out recording.jpg",
)

Window = tuple[slice, slice]


def write_picture(path: Path, directory: Path, records: Sequence[Record], clip: Clip) -> None:
    """Writes a JPEG with one column per frame of the clip.

    Raises:
        OutputError: the file cannot be written.
    """
    by_sequence = {int(record["seq"]): record for record in records}
    numbers = sorted(clip.frames)
    chosen = [by_sequence.get(n) for n in numbers]
    scale = _RENDER_HEIGHT_PX / clip.frames[numbers[0]].shape[0]
    rows = _rows(directory, chosen, [clip.frames[n] for n in numbers], scale)
    window = crop_window([*rows[1], *rows[2]], _TILE_WIDTH_PX / _TILE_HEIGHT_PX)
    tiles = [[_tile(image, window) for image in row] for row in rows]
    sent = ["not received" if record is None else f"{record['bytes']['total']} bytes" for record in chosen]
    picture = _assemble(tiles, [f"frame {n}" for n in numbers], sent)
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)
    publish_file(path, encoded.tobytes())


def _rows(
    directory: Path, records: Sequence[Record | None], frames: Sequence[Image], scale: float
) -> tuple[list[Image], list[Image], list[Image]]:
    """Input, camera view and side view of each frame, all of the same size."""
    camera_view, side_view = (
        [
            render_people(directory, record, "surface", frame, scale, yaw_rad)
            for record, frame in zip(records, frames, strict=True)
        ]
        for yaw_rad in (0.0, _SIDE_VIEW_RAD)
    )
    height, width = camera_view[0].shape[:2]
    inputs = [_resized(frame, (width, height), cv2.INTER_CUBIC) for frame in frames]
    return inputs, camera_view, side_view


def _resized(image: Image, size: tuple[int, int], interpolation: int) -> Image:
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)


def crop_window(renderings: Sequence[Image], aspect: float) -> Window:
    """The region with all non-white pixels, padded and extended to the aspect ratio.

    Args:
        renderings: images (H, W, 3) of equal size.
        aspect: width / height of the region, unless the image is too small for it.

    Returns:
        Rows and columns; the whole image if all pixels are white.
    """
    height, width = renderings[0].shape[:2]
    drawn = np.any([image.min(axis=2) < 255 for image in renderings], axis=0)
    if not drawn.any():
        return slice(0, height), slice(0, width)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    drawn_height, drawn_width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    padding = 2 * _PADDING * drawn_height
    window_height = max(drawn_height + padding, (drawn_width + padding) / aspect)
    return (
        _interval((rows[0] + rows[-1] + 1) / 2, window_height, height),
        _interval((columns[0] + columns[-1] + 1) / 2, window_height * aspect, width),
    )


def _interval(centre: float, length: float, limit: int) -> slice:
    """`length` pixels around `centre`, shifted and shortened to lie in 0…limit."""
    size = min(math.ceil(length), limit)
    start = min(max(round(centre - size / 2), 0), limit - size)
    return slice(start, start + size)


def _tile(image: Image, window: Window) -> Image:
    """The window of an image, scaled to fit a white tile."""
    part = image[window]
    scale = min(_TILE_WIDTH_PX / part.shape[1], _TILE_HEIGHT_PX / part.shape[0])
    size = max(1, round(scale * part.shape[1])), max(1, round(scale * part.shape[0]))
    tile: Image = np.full((_TILE_HEIGHT_PX, _TILE_WIDTH_PX, 3), 255, np.uint8)
    left, top = (_TILE_WIDTH_PX - size[0]) // 2, (_TILE_HEIGHT_PX - size[1]) // 2
    tile[top : top + size[1], left : left + size[0]] = _resized(part, size, cv2.INTER_AREA)
    return tile


def _assemble(tiles: Sequence[Sequence[Image]], above: Sequence[str], below: Sequence[str]) -> Image:
    """Three labelled rows of tiles, with captions above and below the first row."""
    inputs, camera_view, side_view = (_row(label, row) for label, row in zip(_LABELS, tiles, strict=True))
    margin: Image = np.full((_MARGIN_PX, inputs.shape[1], 3), 255, np.uint8)
    parts = [_captions(above), inputs, _captions(below), camera_view, margin, side_view, margin]
    return np.concatenate(parts).astype(np.uint8)


def _row(label: str, tiles: Sequence[Image]) -> Image:
    rotated = cv2.rotate(caption(label, _TILE_HEIGHT_PX, _CAPTION_HEIGHT_PX), cv2.ROTATE_90_COUNTERCLOCKWISE)
    return _beside([np.asarray(rotated), *tiles])


def _captions(texts: Sequence[str]) -> Image:
    corner = caption("", _CAPTION_HEIGHT_PX, _CAPTION_HEIGHT_PX)
    return _beside([corner, *(caption(text, _TILE_WIDTH_PX, _CAPTION_HEIGHT_PX) for text in texts)])


def _beside(images: Sequence[Image]) -> Image:
    """Concatenates images of equal height from left to right, with a margin after each."""
    margin = np.full((len(images[0]), _MARGIN_PX, 3), 255, np.uint8)
    return np.concatenate([part for image in images for part in (image, margin)], axis=1).astype(np.uint8)


def draw(directory: Path, clip_path: Path, out: Path) -> None:
    """Reads a session and its clip and writes the picture.

    Raises:
        UsageError: the directory has no frames.
        SourceError: the clip cannot be read.
        OutputError: the picture cannot be written.
    """
    write_picture(out, directory, read_frames(directory), read_clip(clip_path, COLUMNS))
    print(f"picture: {out}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    parser = command_parser("picture", (__doc__ or "").strip(), _EXAMPLES)
    parser.add_argument("--out", type=Path, metavar="FILE", help="JPEG file to write (default: DIRECTORY/picture.jpg)")
    options = parser.parse_args(arguments)
    out = options.out or options.directory / "picture.jpg"
    return exit_code_of("picture", lambda: draw(options.directory, options.clip, out))


if __name__ == "__main__":
    sys.exit(main())
