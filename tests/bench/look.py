"""A contact sheet of what comes out for photographs or a clip: `python -m tests.bench.look --folder DIR --out FILE`.

Each image passes sender, codec and receiver in process.  A row of the sheet shows the input, the keypoints head's
skeletons, the received meshes over the darkened input, and the meshes from the side.
It is there to be looked at; nothing is measured.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from common.arrays import Image
from common.frames import Camera
from receiver.engine.engine import ReconstructedPerson
from receiver.mesh.mesh_files import publish_file
from receiver.mesh.render import render
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.report.contact_sheet import rotated
from sender.capture.config import CaptureConfig
from sender.capture.open import open_source
from sender.capture.source import CapturedFrame
from sender.perception.config import TrackingConfig
from sender.preview.draw import draw_skeletons
from sender.preview.sinks import letterboxed
from tests.bench import report
from tests.bench.whole_system import Rebuilt, WholeSystem

_TILE_PX = 300
_ROWS_A_COLUMN = 10
_SIDE_VIEW_RAD = np.pi / 2
# Of a clip in a folder of images.
_FPS = 24.0


def row_of(frame: CapturedFrame, rebuilt: Rebuilt) -> Image:
    """One row of the sheet, (_TILE_PX, 4 · _TILE_PX, 3)."""
    keypoints = frame.image.copy()
    draw_skeletons(
        keypoints,
        [person.crop.to_pixels(person.output.keypoints_2d[0].float().numpy()) for person in rebuilt.observed],
        [person.output.visible_logit[0].numpy() > 0 for person in rebuilt.observed],
    )
    surfaces = [person.surface for person in farthest_first(rebuilt.people)]
    turned = [
        rotated(person.surface, person.joints_3d.mean(axis=0), _SIDE_VIEW_RAD)
        for person in farthest_first(rebuilt.people)
    ]
    tiles = (
        frame.image,
        keypoints,
        with_meshes(np.asarray(frame.image * 0.45, np.uint8), rebuilt.camera, surfaces),
        with_meshes(np.full_like(frame.image, 255), rebuilt.camera, turned),
    )
    return np.hstack([letterboxed(picture, _TILE_PX, _TILE_PX) for picture in tiles])


def farthest_first(people: Sequence[ReconstructedPerson]) -> list[ReconstructedPerson]:
    """The people in the order in which they are painted."""
    return sorted(people, key=lambda person: -float(person.joints_3d[:, 2].mean()))


def with_meshes(image: Image, camera: Camera, meshes: Sequence[SurfaceMesh]) -> Image:
    """The meshes over the image, the last one on top."""
    for mesh in meshes:
        image = render(mesh, camera, onto=image)
    return image


def frames_of(folder: Path, *, clip: bool) -> Iterator[CapturedFrame]:
    """The images of a folder, or the frames of a video, as photographs of their own or as one clip."""
    pattern = str(folder / "*.jpg") if folder.is_dir() else str(folder)
    with open_source(CaptureConfig(pattern)) as source:
        for index, frame in enumerate(source):
            yield replace(frame, source=folder.name, media_time_s=index / _FPS) if clip else frame


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("look", "Draw a contact sheet of what comes out for photographs or a clip.", 0)
    parser.add_argument("--folder", type=Path, required=True, help="photographs NAME.jpg, or a video")
    parser.add_argument("--out", type=Path, required=True, help="picture to write, .png")
    parser.add_argument("--clip", action="store_true", help="the images are the frames of one clip")
    parser.add_argument("--every", type=int, default=1, help="frames from one row to the next (default: %(default)s)")
    parser.add_argument("--max-people", type=int, help="people a frame (default: everybody prominent, as the sender)")
    options = parser.parse_args(arguments)

    def work() -> None:
        system = WholeSystem(TrackingConfig(options.max_people).limits(live=False))
        rows = []
        for index, frame in enumerate(frames_of(options.folder, clip=options.clip)):
            rebuilt = system.rebuild(frame)
            if index % max(options.every, 1) == 0:
                rows.append(row_of(frame, rebuilt))
        blank = [np.zeros_like(rows[0])] * (-len(rows) % min(_ROWS_A_COLUMN, len(rows)))
        filled = [*rows, *blank]
        columns = [np.vstack(filled[start : start + _ROWS_A_COLUMN]) for start in range(0, len(filled), _ROWS_A_COLUMN)]
        sheet = cv2.cvtColor(np.hstack(columns), cv2.COLOR_RGB2BGR)
        publish_file(options.out, cv2.imencode(".png", sheet)[1].tobytes())
        print(f"{len(rows)} rows in {options.out}")

    return report.run("look", work)


if __name__ == "__main__":
    sys.exit(main())
