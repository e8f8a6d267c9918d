"""All systems on one clip: what each sends, and the errors of what its receiver has.

labels ── Bodywire's codec ────────────────────────────── labels ─┐
frames ─┬─ crops as WebP, AVIF ── perception, semantics ─ labels ─┼─ body ─ joints
        └─ H.264, AV1 ─ detection, perception, semantics ─ labels ┘
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from common.arrays import FloatArray, Image
from common.frames import Camera
from common.weights.manifest import model_hash
from sender.importance.importance import Importance
from sender.perception.inference.predictor import Perception
from sender.perception.observed_person import ObservedPerson
from sender.semantics.config import SmoothingConfig
from sender.semantics.stage import SemanticsStage
from tests.bench.moving_clips import CAMERA
from tests.bench.perceived import FrameSender
from tests.bench.rate import LabelClip, codec_settings, through_codec
from tests.bench.rivals.clips import Figures, Joints, PerceivedClip, captured_frames, held
from tests.bench.rivals.coders import VIDEOS, Coder, Still, Video
from tests.support.motion.rendered_clip import FPS

OURS: Final = "bodywire"
STILLS: Final = {f"{name} crops": name for name in ("WEBP", "AVIF")}
FAMILIES: Final = (OURS, *STILLS, *VIDEOS)
"""Systems; each has several settings."""

_QUALITIES: Final = (5, 25, 50, 75, 92)
_CROP_SCALES: Final = (1, 2)


@dataclass(frozen=True, eq=False)
class Result:
    """One setting of a system on one clip.

    Args:
        setting: its name in tables, the system's included.
        figures: bytes and errors.
    """

    family: str
    setting: str
    figures: Figures


class Systems:
    """What all systems need; `measure` gives the settings of a family on a clip.

    Args:
        quick: with about half of the settings.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self, quick: bool) -> None:
        self.joints, self.sender = Joints(), FrameSender()
        self._perception, self._semantics = Perception.load(), SemanticsStage.load(SmoothingConfig())
        self._quick, self._stride = quick, 2 if quick else 1
        self._networks, self._importance = model_hash(), Importance.load()

    def measure(self, family: str, clip: PerceivedClip) -> Iterator[Result]:
        if family in STILLS:
            return self._stills(family, clip)
        if family in VIDEOS:
            return self._video(family, clip)
        return self._labels(clip)

    def _labels(self, clip: PerceivedClip) -> Iterator[Result]:
        """Labels through the codec."""
        whole = LabelClip(clip.name, clip.people)
        for name, rho in codec_settings(self._importance, whole, self._quick).items():
            sent = list(through_codec(whole, rho, self._networks))
            errors = self._errors(clip, np.stack([frame.labels for frame in sent]))
            errors["header_bytes"] = float(np.mean([frame.by_group.get("header", 0.0) for frame in sent]))
            yield _result(OURS, name.replace("codec", OURS), [frame.size for frame in sent], errors)

    def _stills(self, family: str, clip: PerceivedClip) -> Iterator[Result]:
        for scale in _CROP_SCALES[: 1 if self._quick else None]:
            side = self._perception.size // scale
            cut = [person.crop.cut(each, side) for each, person in zip(clip.pictures, clip.observed, strict=True)]
            for quality in _QUALITIES[:: self._stride]:
                sizes, decoded = _through(Still(STILLS[family], side, quality), cut)
                errors = self._errors(clip, held(list(self._read(decoded, clip.observed))))
                yield _result(family, f"{STILLS[family]}, 1/{scale}, quality {quality}", sizes, errors)

    def _read(self, crops: Sequence[Image], people: Sequence[ObservedPerson]) -> Iterator[Mapping[str, FloatArray]]:
        """Labels of received crops, one a frame; people are told apart by the sender."""
        semantics = self._semantics.anew(SmoothingConfig())
        for number, (crop, person) in enumerate(zip(crops, people, strict=True)):
            observed = replace(person, output=self._perception.observe([crop]))
            yield semantics.label([observed], CAMERA, number / FPS)[0].labels

    def _video(self, family: str, clip: PerceivedClip) -> Iterator[Result]:
        codec = VIDEOS[family]
        for scale, factors in list(codec.factors.items())[: 2 if self._quick else None]:
            camera = Camera(CAMERA.width // scale, CAMERA.height // scale, CAMERA.focal_px / scale)
            for crf in factors[:: self._stride]:
                name = f"{family}, 1/{scale}, CRF {crf}"
                sizes, decoded = _through(Video(codec, scale, crf), clip.pictures)
                frames = captured_frames(f"{clip.name}, {name}", decoded, camera)
                people = [self.sender.label(frame).people for frame in frames]
                errors = self._errors(clip, held([found[0].labels if found else None for found in people]))
                yield _result(family, name, sizes, errors)

    def _errors(self, clip: PerceivedClip, labels: FloatArray) -> Figures:
        return clip.errors(self.joints(labels))


def _through(coder: Coder, contents: Iterable[Any]) -> tuple[list[int], list[Any]]:
    """Bytes of each, and what is decoded."""
    sent = [coder.encode(content) for content in contents]
    return [len(data) for data in sent], [coder.decode(data) for data in sent]


def _result(family: str, setting: str, sizes: Sequence[float], figures: Figures) -> Result:
    rate = {"bytes_per_frame": float(np.mean(sizes)), "payload_bytes_median": float(np.median(sizes))}
    return Result(family, setting, rate | figures)
