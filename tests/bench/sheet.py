"""A sheet of people to be looked at: `python -m tests.bench.sheet --out FILE [--photos DIR] [--clips PATH ...]`.

Test people in rendered crops, people found in photographs, and frames of the demo clip and of other clips.  A row shows
the picture, the received surface plain, the surface in its colours from the camera's side and turned by 150°, and the
template in its colours.  Crops pass perception and the receiver; photographs and clips pass detector, codec and
receiver as well.  Colours are those of the texture atlas as it arrives; those of a clip, and its clothes, come from all
frames so far.  Nothing is measured.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2

from common.arrays import Image
from common.errors import SourceError
from common.synthetic.dataset.presets import DRESSED, PRESETS
from common.synthetic.dataset.shards import REQUIRED_FIELDS, CropDataset
from receiver.mesh.mesh_files import publish_file
from receiver.report.contact_sheet import spread
from sender.capture.config import CaptureConfig
from sender.capture.open import DEMO_CLIP, open_source
from sender.capture.source import CapturedFrame
from sender.perception.config import TrackingConfig
from tests.bench import crops, report
from tests.bench.perceived import CropSender
from tests.bench.published_colours import PublishedColours
from tests.bench.reconstruction_scores import Receiver
from tests.bench.sheet_rows import SheetRow, laid_out
from tests.bench.whole_system import Rebuilt, WholeSystem

PEOPLE, PHOTOGRAPHS, FRAMES = 24, 8, 3
QUICK_PEOPLE, QUICK_PHOTOGRAPHS, QUICK_CLIP_FRAMES = 4, 2, 30
_PEOPLE_A_PHOTOGRAPH = 2
_ROWS_A_BLOCK = 13
# Of a clip in a folder of images.
_FPS = 24.0


def rendered_rows(count: int, seed: int, preset: str) -> Iterator[SheetRow]:
    """People of the test split, each seen in one crop."""
    sender, receiver, colours = CropSender(), Receiver(), PublishedColours(stills=True)
    directory = crops.crop_set(count, seed, sender.size, preset)
    dataset = CropDataset([directory], "test")
    for number in range(count):
        crop = sender.perceive(dataset.batch([number], REQUIRED_FIELDS))[0]
        colours.update(crop.image, crop.camera, [crop.person], [crop.labels])
        found = receiver.reconstruct([crop.labels], crop.camera, colours.textures, colours.points)
        yield SheetRow(f"test person {number}", crop.image, crop.camera, crop.person.crop, found[0])


def frames_of(path: Path) -> list[CapturedFrame]:
    """The images of a folder, or the frames of a video.

    Raises:
        SourceError: there are none.
    """
    with open_source(CaptureConfig(str(path / "*.jpg") if path.is_dir() else str(path))) as source:
        return list(source)


def photograph_rows(folder: Path, count: int) -> Iterator[SheetRow]:
    """The most prominent people of the first photographs on which somebody is found."""
    system, colours = WholeSystem(TrackingConfig().limits(live=False)), PublishedColours(stills=True)
    shown = 0
    for frame in frames_of(folder):
        if shown == count:
            return
        sent = system.send(frame)
        if sent.observed:
            shown += 1
            colours.update(frame.image, frame.camera, sent.observed, sent.labels.people)
            yield from _rows(frame, system.receive(sent, colours), frame.source, _PEOPLE_A_PHOTOGRAPH)


def clip_rows(path: Path, count: int, limit: int | None) -> Iterator[SheetRow]:
    """The most prominent person of evenly spread frames of a clip.

    Args:
        path: a video, or a folder with its frames.
        count: how many frames.
        limit: of the frames that are read.
    """
    system, colours = WholeSystem(TrackingConfig().limits(live=False)), PublishedColours()
    frames = frames_of(path)[:limit]
    chosen = spread(len(frames), count)
    for index, frame in enumerate(frames):
        # The images of a folder are one clip here, not photographs of their own.
        timed = replace(frame, media_time_s=index / _FPS) if path.is_dir() else frame
        sent = system.send(replace(timed, source=path.name))
        colours.update(frame.image, frame.camera, sent.observed, sent.labels.people)
        if index in chosen:
            yield from _rows(frame, system.receive(sent, colours), f"{path.name}, frame {index}", 1)


def _rows(frame: CapturedFrame, rebuilt: Rebuilt, name: str, most: int) -> Iterator[SheetRow]:
    people = {person.labels.identity: person for person in rebuilt.people}
    for observed in rebuilt.observed[:most]:
        yield SheetRow(name, frame.image, rebuilt.camera, observed.crop, people[observed.identity])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("sheet", "Draw a sheet of people: pictures, surfaces and templates.", crops.SEED)
    parser.add_argument("--out", type=Path, required=True, help="picture to write, .png")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="folder of photographs NAME.jpg")
    parser.add_argument(
        "--clips", type=Path, nargs="*", default=[], metavar="PATH", help="videos, or folders of frames NAME.jpg"
    )
    parser.add_argument("--people", type=int, help=f"test people (default: {PEOPLE}, {QUICK_PEOPLE} with --quick)")
    parser.add_argument(
        "--preset", choices=tuple(PRESETS), default=DRESSED.name, help="of the test people (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    people = options.people or (QUICK_PEOPLE if options.quick else PEOPLE)
    photographs = QUICK_PHOTOGRAPHS if options.quick else PHOTOGRAPHS
    limit = QUICK_CLIP_FRAMES if options.quick else None

    def work() -> None:
        parts = {"test people": rendered_rows(people, options.seed, options.preset)}
        if options.photos:
            parts["photographs"] = photograph_rows(options.photos, photographs)
        parts |= {str(path): clip_rows(path, FRAMES, limit) for path in (DEMO_CLIP, *options.clips)}
        drawn: list[Image] = []
        counts: dict[str, dict[str, float]] = {}
        for name, rows in parts.items():
            before = len(drawn)
            drawn += [row.drawn() for row in rows]
            counts[name] = {"rows": float(len(drawn) - before)}
            report.progress(f"{name}: {len(drawn) - before} rows")
        if not drawn:
            raise SourceError("nobody is found in these pictures")
        sheet = cv2.cvtColor(laid_out(drawn, _ROWS_A_BLOCK), cv2.COLOR_RGB2BGR)
        publish_file(options.out, cv2.imencode(".png", sheet)[1].tobytes())
        report.write_json(options.json, "sheet", options.seed, counts)
        print(f"{len(drawn)} rows in {options.out}")

    return report.run("sheet", work)


if __name__ == "__main__":
    sys.exit(main())
