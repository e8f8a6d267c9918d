"""Reports of a session: a summary, and a contact sheet of what was sent above what was made of it.

Checks a published session and prints a summary.

Compares the directory that a receiver published into with the clip, or the folder of pictures, that was sent.  Checks
that every frame was received, that its meshes are watertight and connected, and that every frame of a clip has
somebody.  Prints a table and writes contact-sheet.png (of pictures: photographs.png), which shows the input
above its meshes, into the directory.

Exit codes: 0 all checks passed, 1 a check failed, 2 usage error, 3 the clip cannot be read, 5 the contact sheet cannot
be written.

usage: python -m receiver.report DIRECTORY --clip CLIP [--session N]
"""

import argparse
import json
import math
import sys
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
from common.body.triangles import vertex_components
from common.errors import BodywireError, SourceError, UsageError, exit_code_of
from common.frames import Camera
from common.io.files import read_regular
from common.text import counted
from receiver.mesh.body_file import read_mesh
from receiver.mesh.render import render
from receiver.mesh.triangle_mesh import is_watertight, signed_volume_m3
from receiver.publish.files import check_writable, publish_file
from receiver.publish.frame_record import mesh_path

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
        frames: dict[Key, Image] = {
            n: np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
            for n, frame in enumerate(_decode(path))
            if n in selected
        }
    except (av.FFmpegError, OSError, IndexError) as error:
        raise SourceError(f"{path} cannot be read as a video: {error}") from error
    if frame_count == 0:
        raise SourceError(f"{path} has no frames")
    return Clip(range(frame_count), frames)


def _decode(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        yield from container.decode(container.streams.video[0])


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


# Half a million frames with one person.
_MAX_BYTES = 2_000_000_000
# From one half of a session to the other, ages may change by so much of the time that was played.
_PACED = 0.1

_EXAMPLES = (
    "python -m receiver.report demo-out --clip sender/capture/data/demo.mp4",
    "python -m receiver.report out --clip photographs/ --session 2",
    "python -m receiver.report out --clip recording.mp4 && echo all checks passed",
)


class PublishedFramesError(BodywireError):
    """Frames are missing or a mesh is invalid."""


def read_frames(directory: Path, session: int | None = None) -> list[Record]:
    """The frames of a session by number; default: the last. Raises UsageError if `frames.jsonl` is not valid."""
    path = directory / "frames.jsonl"
    if (directory / "meshes").is_symlink():
        raise UsageError(f"{directory / 'meshes'} is a link: put the folder that it leads to in its place")
    try:
        lines: list[Record] = [json.loads(line) for line in read_regular(path, _MAX_BYTES).splitlines()]
        wanted = max((line["session"] for line in lines), default=0) if session is None else session
        return sorted((line for line in lines if line["session"] == wanted), key=lambda line: int(line["seq"]))
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist: give the directory that a receiver published into") from error
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def check_records(records: Sequence[Record]) -> None:
    """Checks what the summary uses of lines that somebody else may have written. Raises UsageError."""
    for record in records:
        try:
            _check_record(record)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise UsageError(f"a line of frames.jsonl cannot be read: {type(error).__name__}: {error}") from error


def _check_record(record: Record) -> None:
    numbers = [record["captured_at"], record["bytes"]["total"], record["seq"]]
    numbers += [value for value in (record["age_ms"],) if value is not None]
    if not np.isfinite(np.array(numbers, np.float64)).all():
        raise ValueError("a number is out of range")
    if "camera" in record and not all(0 < record["camera"][name] < math.inf for name in ("width", "focal_px")):
        raise ValueError("no camera is like that")
    if not isinstance(record["source"], str):
        raise TypeError("a source is no text")
    for person in record["people"]:
        mesh_path(person["surface"]), mesh_path(person["body"])
        if any(np.array(person[name], np.float64).shape != (17, 3) for name in ("keypoints_2d", "joints_3d")):
            raise ValueError("a person does not have 17 joints")


def is_sound(path: Path) -> bool:
    """Whether a mesh can be read, and is watertight, wound outwards and in one piece."""
    try:
        mesh = read_mesh(path)
    except ValueError:
        return False
    count = len(mesh.vertices)
    components, _ = vertex_components(mesh.faces, count)
    return components == 1 and is_watertight(mesh.faces, count) and signed_volume_m3(mesh.vertices, mesh.faces) > 0.0


def check_meshes(directory: Path, records: Sequence[Record], kind: str) -> dict[str, bool]:
    """Whether each mesh of a kind, `surface` or `body`, of the given frames is sound, by its path."""
    paths = [person[kind] for record in records for person in record["people"]]
    return {path: is_sound(directory / path) for path in paths if path is not None}


def frames_per_second(times_s: Sequence[float]) -> str:
    """Mean rate of frames at some times; unknown of fewer than two."""
    span_s = max(times_s) - min(times_s) if len(times_s) > 1 else 0.0
    return f"{(len(times_s) - 1) / span_s:.1f}" if span_s > 0.0 else "unknown"


def ages_ms(records: Sequence[Record]) -> list[float]:
    """The known ages; none of a video that was not played at its own pace, whose ages say how far it is behind that."""
    known = [record for record in records if record["age_ms"] is not None]
    ages = [record["age_ms"] for record in known]
    half = len(ages) // 2
    if not half:
        return ages
    played_ms = 1e3 * (known[-1]["captured_at"] - known[0]["captured_at"])
    change_ms = abs(np.median(ages[half:]) - np.median(ages[:half]))
    return ages if change_ms <= max(_PACED * played_ms, 1.0) else []


def find_faults(records: Sequence[Record], clip: Clip, meshes: Mapping[str, bool]) -> list[str]:
    """One line per fault; empty if all checks passed."""
    faults = []
    received = clip.by_key(records)
    missing = [key for key in clip.keys if key not in received]
    if missing:
        faults.append(f"{len(missing)} of {len(clip.keys)} frames are missing, the first is {missing[0]}")
    # `--meshes` says which kinds there are of a session.
    kinds = [kind for kind in ("surface", "body") if any(p[kind] for r in records for p in r["people"])]
    empty = [r["seq"] for r in records if not any(kinds and all(p[kind] for kind in kinds) for p in r["people"])]
    if empty and not clip.stills:
        frames = counted(len(empty), "frame has", "frames have")
        faults.append(f"{frames} no person with {' and '.join(kinds) or 'meshes'}, the first is {empty[0]}")
    not_closed = [path for path, sound in meshes.items() if not sound]
    if not_closed:
        open_meshes = counted(len(not_closed), "mesh is", "meshes are")
        faults.append(f"{open_meshes} not watertight and connected, the first is {not_closed[0]}")
    return faults


def table(records: Sequence[Record], surfaces: Mapping[str, bool], bodies: Mapping[str, bool]) -> str:
    """The summary as two columns of text."""
    total_bytes = [record["bytes"]["total"] for record in records]
    ages = ages_ms(records)
    # Of replays and uploads it is not known when.
    aged = [record for record in records if record["age_ms"] is not None]
    published = [record["captured_at"] + record["age_ms"] / 1e3 for record in aged]
    links_bytes = [record["link_bytes"] for record in records if record.get("link_bytes") is not None]
    watertight = (("watertight surfaces", surfaces), ("watertight bodies", bodies))
    rows = [
        ("frames", f"{len(records)}"),
        ("frames a second, published", frames_per_second(published)),
        ("frames a second, of the source", frames_per_second([record["captured_at"] for record in records])),
        ("everything on the link, bytes", f"{max(links_bytes):,}" if links_bytes else "unknown"),
        ("labels, bytes", f"{sum(total_bytes):,}"),
        ("labels, bytes a frame, median", f"{_percentile(total_bytes, 50):.0f}"),
        ("labels, bytes a frame, p95", f"{_percentile(total_bytes, 95):.0f}"),
        *((f"age p{percent}, ms", f"{_percentile(ages, percent):.0f}") for percent in (50, 95) if ages),
        *((name, f"{sum(meshes.values())} of {len(meshes)}") for name, meshes in watertight if meshes),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value:>14}" for name, value in rows)


def _percentile(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else float("nan")


def summarise(directory: Path, clip_path: Path, session: int | None = None) -> None:
    """Prints the table, writes the contact sheet and raises an error for failed checks.

    Args:
        session: default: the last.

    Raises:
        PublishedFramesError: a check failed.
        UsageError: the directory has no frames.
        SourceError: the clip cannot be read.
        OutputError: the contact sheet cannot be written.
    """
    records = read_frames(directory, session)
    check_records(records)
    clip = read_clip(clip_path)
    check_writable(sheet_path(directory, clip), "directory")
    surfaces, bodies = (check_meshes(directory, records, kind) for kind in ("surface", "body"))
    print(table(records, surfaces, bodies))
    print(f"contact sheet: {write_contact_sheet(directory, records, clip)}")
    faults = find_faults(records, clip, {**surfaces, **bodies})
    if faults:
        raise PublishedFramesError("; ".join(faults))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="summary",
        usage=argparse.SUPPRESS,  # it would precede the description, which contains it
        description=(__doc__ or "").strip(),
        epilog="\n  ".join(("examples:", *_EXAMPLES)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("directory", type=Path, help="the directory that a receiver published into")
    parser.add_argument("--clip", type=Path, required=True, help="the video, or folder of pictures, that was sent")
    parser.add_argument("--session", type=int, help="session of the directory (default: the last)")
    options = parser.parse_args(arguments)
    return exit_code_of("summary", lambda: summarise(options.directory, options.clip, options.session))


if __name__ == "__main__":
    sys.exit(main())
