"""All systems on one clip: what each sends, and the errors of what its receiver has.

labels ── Bodywire's codec ────────────────────────────── labels ─┐
frames ─┬─ crops as WebP, AVIF ── perception, semantics ─ labels ─┼─ body ─ joints
        └─ H.264, AV1 ─ detection, perception, semantics ─ labels ┘
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from common.arrays import FloatArray, Image
from common.errors import SourceError
from common.frames import Camera
from common.labels import LABEL_SIZE, concatenate
from common.weights.manifest import model_hash
from sender.capture.source import CapturedFrame
from sender.config import SmoothingConfig
from sender.importance import Importance
from sender.perception.predictor import Perception
from sender.semantics.semantics_stage import SemanticsStage
from tests.bench.bytes.rate import LabelClip, codec_settings, through_codec
from tests.bench.measures import centred, mean_distance_mm
from tests.bench.motion.moving_clips import CAMERA
from tests.bench.perceived import FrameSender, LabelJoints
from tests.bench.rivals.coders import VIDEOS, Coder, Still, Video
from tests.bench.scenarios.footage import Footage
from tests.support.motion.rendered_clip import FPS

OURS: Final = "bodywire"
STILLS: Final = {f"{name} crops": name for name in ("WEBP", "AVIF")}
UNCODED: Final = "uncompressed"
_QUALITIES: Final = (5, 25, 50, 75, 92)
_CROP_SCALES: Final = (1, 2)

Result = tuple[str, str, dict[str, float]]
"""A system, one of its settings, and its figures."""


class Systems:
    """What all systems need.

    Args:
        quick: with about half of the settings.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self, quick: bool) -> None:
        self._joints, self._sender = LabelJoints(), FrameSender()
        self._perception, self._semantics = Perception.load(), SemanticsStage.load(SmoothingConfig())
        self._quick, self._stride = quick, 2 if quick else 1
        self._networks, self._importance = model_hash(), Importance.load()

    def results(self, name: str, footage: Footage) -> Iterator[Result]:
        """All settings of all systems on a clip. Raises SourceError if nobody is found in it."""
        found = []
        for index, frame in enumerate(_frames(name, footage.pictures, CAMERA)):
            perceived = self._sender.stages.perceive(frame)
            if people := self._sender.stages.label(perceived).people:
                found.append((index, people[0], perceived.observed[0]))
        if not found:
            raise SourceError(f"nobody is found in the clip {name}")
        kept, people, observed = zip(*found, strict=True)
        before = self._joints.of(np.stack([concatenate(person.labels) for person in people]))
        truth, pictures = footage.joints[list(kept)], [footage.pictures[index] for index in kept]

        def figures(sizes: Sequence[int] | Sequence[float], joints: FloatArray) -> dict[str, float]:
            shown = np.isfinite(joints).all(axis=(1, 2))
            own, uncoded, true = (np.stack([*map(centred, each[shown])]) for each in (joints, before, truth))
            errors = {"added_joint_error_mm": mean_distance_mm(own, uncoded), "mpjpe_mm": mean_distance_mm(own, true)}
            return {"bytes_per_frame": float(np.mean(sizes)), **errors}

        yield UNCODED, UNCODED, figures([np.nan], before)
        clip = LabelClip(name, people)
        for setting, rho in codec_settings(self._importance, clip, self._quick).items():
            sent = list(through_codec(clip, rho, self._networks))
            joints = self._joints.of(np.stack([frame.labels for frame in sent]))
            yield OURS, setting.replace("codec", OURS), figures([frame.size for frame in sent], joints)
        for system, setting, side, coder in self._crop_coders():
            cut = [person.crop.cut(picture, side) for picture, person in zip(pictures, observed, strict=True)]
            sizes, decoded = _through(coder, cut)
            semantics, labels = self._semantics.anew(SmoothingConfig()), []
            for number, (crop, person) in enumerate(zip(decoded, observed, strict=True)):
                seen = replace(person, output=self._perception.observe([crop]))
                labels.append(semantics.label([seen], CAMERA, number / FPS)[0].labels)
            yield system, setting, figures(sizes, self._joints.of(_held(labels)))
        for system, setting, scale, coder in self._video_coders():
            camera = Camera(CAMERA.width // scale, CAMERA.height // scale, CAMERA.focal_px / scale)
            sizes, decoded = _through(coder, pictures)
            received = [self._sender.label(frame).people for frame in _frames(f"{name}, {setting}", decoded, camera)]
            shown = _held([each[0].labels if each else None for each in received])
            yield system, setting, figures(sizes, self._joints.of(shown))

    def _crop_coders(self) -> Iterator[tuple[str, str, int, Coder]]:
        """System, setting, side of the crop in pixels, and coder."""
        for system, form in STILLS.items():
            for scale in _CROP_SCALES[: 1 if self._quick else None]:
                side = self._perception.size // scale
                for quality in _QUALITIES[:: self._stride]:
                    yield system, f"{form}, 1/{scale}, quality {quality}", side, Still(form, side, quality)

    def _video_coders(self) -> Iterator[tuple[str, str, int, Coder]]:
        """System, setting, what the picture's sides are divided by, and coder."""
        for system, codec in VIDEOS.items():
            for scale, factors in list(codec.factors.items())[: 2 if self._quick else None]:
                for crf in factors[:: self._stride]:
                    yield system, f"{system}, 1/{scale}, CRF {crf}", scale, Video(codec, scale, crf)


def _frames(name: str, pictures: Sequence[Image], camera: Camera) -> Iterator[CapturedFrame]:
    """Pictures as a source's frames; another name is another source."""
    for index, picture in enumerate(pictures):
        yield CapturedFrame(index, name, index / FPS, index / FPS, picture, camera)


def _held(labels: Sequence[Mapping[str, FloatArray] | None]) -> FloatArray:
    """(T, LABEL_SIZE) labels, those of the last person in frames without one, NaN before the first."""
    rows = np.full((len(labels), LABEL_SIZE), np.nan, np.float32)
    for number, groups in enumerate(labels):
        rows[number] = concatenate(groups) if groups is not None else rows[max(number - 1, 0)]
    return rows


def _through(coder: Coder, contents: Sequence[Image]) -> tuple[list[int], list[Any]]:
    """Bytes of each, and what is decoded."""
    sent = [coder.encode(content) for content in contents]
    return [len(data) for data in sent], [coder.decode(data) for data in sent]
