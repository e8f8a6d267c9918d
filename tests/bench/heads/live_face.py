"""What a live face shows, at a number of kbit/s in all: `python -m tests.bench.live_face --clip FILE`.

A clip of one head goes through both ends, and its head is drawn from the camera, as the page draws it, but in the light
of the picture.  It is compared with the picture inside the face, which a similarity has laid over the drawn head:

    N kbit/s     live, with the share that the sender's rate control gives faces of N kbit/s both ways, headers counted
    still        textures alone, as with --no-face-picture
    …, not moved the same without moving the head's vertices to the picture's landmarks
    first        the face of one picture, well placed, for all of them
    uncoded      every picture of the face, not coded
    video_N      the square of the head as VP9 video, with all of N kbit/s, laid over itself

`third` is the part of the way in PSNR from `first` to `uncoded`.  `bytes` is the mean of a picture, `hz` pictures a
second, `ms` what the coder takes of a processor for one.
"""

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from skimage.metrics import structural_similarity

from bodywire.loading import loaded
from common.arrays import BoolArray, Float64Array, FloatArray, Image
from common.errors import UsageError
from common.frames import LabelFrame, PersonLabels
from common.texture.face_picture import (
    FaceAssembly,
    FaceChart,
    FaceVideoDecoder,
    FaceVideoEncoder,
    LandmarkShapes,
    LiveFace,
)
from receiver.engine.engine import ReconstructedPerson
from sender.capture.open import open_source
from sender.config import SenderConfig
from sender.congestion.pacing import USED_SHARE
from sender.perception.crop import CropBox
from sender.rate.controller import ASSUMED, Means, beside_faces, decide, faces_bps
from sender.rate.face_video import LiveFaces
from tests.bench import report
from tests.bench.heads.textured_view import SIDE_PX, HeadView, moved_to, pixels_of

_KBITS = (8, 16, 32, 48, 64)
# Frames before the first one that is looked at, and from one to the next.
_SETTLED, _STEP = 20, 5
_FACING, _OPAQUE = 0.5, 0.7
_VIDEO_SIDE, _VIDEO_SHARE = 128, 0.9
_USUAL_LABEL_BYTES = 15
# Where the face hardly moves, one picture is as good as all.
_TELLING_DB = 0.3


@dataclass(eq=False)
class Stream:
    """A live face at a rate, in the time of the clip."""

    bps: float
    faces: LiveFaces = field(default_factory=LiveFaces)
    parts: FaceAssembly = field(default_factory=FaceAssembly)
    video: FaceVideoDecoder = field(default_factory=FaceVideoDecoder)
    shown: LiveFace | None = None
    sizes: list[int] = field(default_factory=list)
    spent_s: float = 0.0

    def take(self, frame: LabelFrame) -> LabelFrame:
        """Sends what is due with the next frame of the clip, and returns the frame."""
        began_s = time.process_time()
        part = self.faces.part(frame, self.bps, _USUAL_LABEL_BYTES, frame.captured_at)
        packet = self.parts.take(part) if part else None
        self.spent_s += time.process_time() - began_s
        if packet is not None:
            self.sizes.append(len(packet.body))
            picture = self.video.decode(packet.data, packet.side, key=packet.key)
            self.shown = picture if picture is None else LiveFace(picture, LandmarkShapes.load().decode(packet.shape))
        return frame


@dataclass(eq=False)
class HeadVideo:
    """The square of the head as video."""

    bps: float
    coder: FaceVideoEncoder = field(default_factory=lambda: FaceVideoEncoder(_VIDEO_SIDE))
    decoder: FaceVideoDecoder = field(default_factory=FaceVideoDecoder)
    shown: Image | None = None
    then_s: float = -math.inf

    def take(self, square: Image, now_s: float) -> None:
        """The next frame; twelve pictures a second are coded."""
        key = self.shown is None
        if now_s - self.then_s < 1 / 12.5:
            return
        bits = self.bps * min(now_s - self.then_s, 0.4)
        self.shown = self.decoder.decode(self.coder.encode(square, bits, key=key), _VIDEO_SIDE, key=key)
        self.then_s = now_s


@dataclass(frozen=True, eq=False)
class Compared:
    """A frame in which what is drawn can be compared with the picture.

    Args:
        picture: (S, S, 3) laid over what is drawn.
        inside: (S, S) the face.
        to_drawn: (2, 3) from pixels of the picture to those of what is drawn.
    """

    picture: Image
    inside: BoolArray
    to_drawn: Float64Array

    @classmethod
    def of(cls, view: HeadView, person: ReconstructedPerson, image: Image, face: PersonLabels) -> "Compared | None":
        """None where too little of the face is seen."""
        assert face.face_landmarks is not None
        chart = FaceChart.load()
        pixels, cosines = pixels_of(person, chart.vertices)
        chosen = (cosines > _FACING) & (chart.opacity > _OPAQUE)
        if chosen.sum() < 100:
            return None
        nearest = np.linalg.norm(chart.places[chosen, None] - chart.landmarks[None], axis=2)
        rows, columns = np.flatnonzero(chosen), nearest.argmin(axis=1)
        near = nearest.min(axis=1) < 0.012
        found, _ = cv2.estimateAffinePartial2D(
            face.face_landmarks[columns[near], :2], pixels[rows[near]], method=cv2.LMEDS
        )
        if found is None:
            return None
        laid = cv2.warpAffine(image, found, (SIDE_PX, SIDE_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = view.opacity(person) > _OPAQUE
        return cls(np.asarray(laid, np.uint8), inside, np.asarray(found))

    def scores(self, drawn: Image) -> tuple[float, float]:
        """PSNR, dB, and SSIM inside the face."""
        error = np.square(drawn.astype(np.float64) - self.picture).mean(axis=2)[self.inside].mean()
        _, ssim = structural_similarity(drawn, self.picture, channel_axis=2, full=True)
        return 10 * math.log10(255**2 / max(error, 1e-9)), float(ssim.mean(axis=2)[self.inside].mean())


class LiveFaceBench:
    """Of one clip."""

    def __init__(self, kbits: Sequence[float], sheet: Path | None) -> None:
        self._view, self._kbits, self._sheet = HeadView(), kbits, sheet
        self.rows: list[Image] = []

    def measure(self, clip: Path, most: int) -> dict[str, dict[str, float]]:
        """Figures by system. Raises UsageError where no face is found."""
        sent: list[LabelFrame] = []

        def between(labels: LabelFrame) -> LabelFrame:
            sent.append(labels)
            return labels

        ends = loaded().session(SenderConfig(), stills=False, between=between)
        scores: dict[str, list[tuple[float, float]]] = {}
        first: Image | None = None
        with open_source(str(clip)) as source:
            fps = source.fps or 30.0
            streams = {f"{kbit:g}": Stream(share_bps(kbit, fps)) for kbit in self._kbits}
            videos = {f"video_{kbit:g}": HeadVideo(_VIDEO_SHARE * 1e3 * kbit) for kbit in self._kbits if kbit}
            for number, frame in enumerate(source):
                if number >= most:
                    break
                people, now_s = ends.rebuild(frame).people, number / fps
                labels = sent[-1]
                face = next((each for each in labels.people if each.face_chart is not None), None)
                for stream in streams.values():
                    stream.take(labels)
                if face is None or face.face_landmarks is None or not people:
                    continue
                square = _square(face.face_landmarks)
                for video in videos.values():
                    video.take(square.cut(frame.image, _VIDEO_SIDE), now_s)
                if number < _SETTLED or number % _STEP:
                    continue
                person = next((each for each in people if each.labels.identity == face.identity), None)
                if person is None or person.body.texture is None:
                    continue
                assert face.face_chart is not None
                first = face.face_chart if first is None else first
                shapes = LandmarkShapes.load()
                now = shapes.decode(shapes.encode(face.face_landmarks))
                faces = {"still": None, "first": LiveFace(first, now), "uncoded": LiveFace(face.face_chart, now)}
                faces |= {name: stream.shown for name, stream in streams.items()}
                shown = {name: self._drawn(person, frame.image, face, each) for name, each in faces.items()}
                for name, stream in streams.items():
                    shown[f"{name}, not moved"] = self._drawn(person, frame.image, face, stream.shown, moves=False)
                compared = shown["uncoded"][1]
                if compared is None:
                    continue
                for name, video in videos.items():
                    if video.shown is not None:
                        shown[name] = _laid(video.shown, square, compared.to_drawn), compared
                for name, (image, its) in shown.items():
                    if its is not None:
                        scores.setdefault(name, []).append(its.scores(image))
                self._remember(compared.picture, {name: image for name, (image, _) in shown.items()})
        if not scores:
            raise UsageError(f"{clip}: nobody's face is seen for {_SETTLED} frames")
        return self._figures(scores, streams, number / fps)

    def _drawn(
        self,
        person: ReconstructedPerson,
        image: Image,
        face: PersonLabels,
        live: LiveFace | None,
        *,
        moves: bool = True,
    ) -> tuple[Image, Compared | None]:
        """What is drawn of somebody with a live face, and the picture laid over it."""
        if live is not None and moves:
            person = moved_to(person, live)
        drawn, _ = self._view.picture(person, 0, None if live is None else live.picture, is_lit=False)
        return drawn, Compared.of(self._view, person, image, face)

    def _remember(self, picture: Image, drawn: Mapping[str, Image]) -> None:
        chosen = [name for name in ("still", "first", "16", "32", "64", "uncoded", "video_32") if name in drawn]
        self.rows.append(np.hstack([picture, *(drawn[name] for name in chosen)]))

    def _figures(
        self, scores: Mapping[str, Sequence[tuple[float, float]]], streams: Mapping[str, Stream], seconds: float
    ) -> dict[str, dict[str, float]]:
        means = {name: np.mean(found, axis=0) for name, found in scores.items()}
        low, high = means["first"][0], means["uncoded"][0]
        figures = {
            name: {
                "psnr_db": float(psnr),
                "ssim": float(ssim),
                "third": float((psnr - low) / (high - low)) if high - low > _TELLING_DB else math.nan,
            }
            for name, (psnr, ssim) in means.items()
        }
        for name, stream in streams.items():
            if stream.sizes:
                count = len(stream.sizes)
                figures[name] |= {
                    "bytes": float(np.mean(stream.sizes)),
                    "hz": count / seconds,
                    "ms": 1e3 * stream.spent_s / count,
                }
        return figures


def _part_of_the_way(psnr_db: float, low_db: float, high_db: float) -> float:
    return float((psnr_db - low_db) / (high_db - low_db)) if high_db - low_db > _TELLING_DB else math.nan


def share_bps(kbit: float, fps: float) -> float:
    """What rate control gives faces of so many kbit/s both ways."""
    budget_bps = USED_SHARE * 1e3 * kbit
    if not budget_bps:
        return 0.0
    decision = decide(Means(math.inf, beside_faces(budget_bps), fps, cost=ASSUMED))
    return faces_bps(budget_bps - decision.used_bps)


def _square(landmarks: FloatArray) -> CropBox:
    """The head of landmarks (≥ 468, ≥ 2): twice their extent."""
    low, high = landmarks[:468, :2].min(axis=0), landmarks[:468, :2].max(axis=0)
    return CropBox.around([*low, *high], 1.6)


def _laid(square: Image, box: CropBox, to_drawn: Float64Array) -> Image:
    corners = np.array([[0, 0], [_VIDEO_SIDE, 0], [0, _VIDEO_SIDE]], np.float32)
    inside = box.to_pixels(np.asarray(corners / _VIDEO_SIDE, np.float32))
    to_picture = cv2.getAffineTransform(corners, np.asarray(inside, np.float32))
    whole = to_drawn @ np.vstack([to_picture, [0, 0, 1]])
    return np.asarray(cv2.warpAffine(square, whole, (SIDE_PX, SIDE_PX), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("live_face", __doc__, 0)
    parser.add_argument("--clip", type=Path, nargs="+", required=True, metavar="FILE", help="videos of one head")
    parser.add_argument("--kbit", type=float, nargs="+", default=_KBITS, metavar="N", help="in all, both ways")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="picture to write: picture, still, first, rates")
    report.add_amount(parser, "--frames", "frames of each clip", 300, 120, report.at_least(_SETTLED + _STEP))
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    bench = LiveFaceBench(options.kbit, options.sheet)
    by_clip = {}
    for clip in options.clip:
        by_clip[clip.stem] = bench.measure(clip, options.frames)
        report.progress(f"{clip.stem}\n{report.table(by_clip[clip.stem])}")
    names = list(next(iter(by_clip.values())))
    keys = ("psnr_db", "ssim", "third", "bytes", "hz", "ms")
    # The asked rates come first.
    names.sort(key=lambda name: name not in {f"{kbit:g}" for kbit in options.kbit})
    means = {
        name: {
            key: float(np.mean([each[name][key] for each in by_clip.values() if key in each.get(name, {})]))
            for key in keys
            if any(key in each.get(name, {}) for each in by_clip.values())
        }
        for name in names
    }
    if options.sheet is not None and bench.rows:
        chosen = bench.rows[:: max(len(bench.rows) // 8, 1)]
        cv2.imwrite(str(options.sheet), np.vstack(chosen)[..., ::-1])
    report.publish(options, means, f"{len(by_clip)} clips", clips=by_clip)


if __name__ == "__main__":
    sys.exit(main())
