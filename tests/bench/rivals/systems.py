"""All systems on one clip: what each sends, and the errors of what its receiver has.

labels ─┬─ Bodywire's codec ──────────────────────────── labels ─┐
        ├─ numbers of 8 or 16 bits, with zstandard ───── labels ─┼─ body ─ joints, skin
        └─ template of the body ─── Draco ───────────── meshes ──┘
frames ─┬─ crops as JPEG, WebP ─── perception of the crop, semantics ─── labels ─ …
        └─ H.264, AV1 ───────────── detection, perception, semantics ─── labels ─ …
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np

from common.arrays import FloatArray, Image
from common.frames import Camera
from common.synthetic.render_clip import FPS
from common.weights.manifest import model_hash
from sender.importance.importance import Importance
from sender.perception.inference.predictor import Perception
from sender.perception.stage import ObservedPerson
from sender.semantics.config import SmoothingConfig
from sender.semantics.stage import SemanticsStage
from tests.bench.perceived import FrameSender
from tests.bench.rate import LabelClip, codec_settings, raw, through_codec
from tests.bench.rivals import codes
from tests.bench.rivals.bodies import Bodies, Figures, held
from tests.bench.rivals.clips import PerceivedClip, captured_frames

OURS: Final = "bodywire"
RAW, RAW_ZSTD, DRACO = "raw numbers", "raw numbers + zstd", "Draco"
STILLS: Final = {f"{name} crops": name for name in ("JPEG", "WEBP")}
VIDEOS: Final = {f"{codec.name} video": codec for codec in codes.CODECS}
FAMILIES: Final = (OURS, RAW, RAW_ZSTD, *STILLS, *VIDEOS, DRACO)
"""Systems; each has several settings."""

_QUALITIES: Final = {"JPEG": (10, 25, 50, 75, 92), "WEBP": (5, 25, 50, 75, 92)}
_CRFS: Final = {
    "libx264": {1: (18, 26, 34, 42), 2: (18, 26, 34), 4: (18, 28)},
    "libsvtav1": {1: (22, 36, 50, 60), 2: (22, 36, 50), 4: (22, 40)},
}
"""Constant rate factors by encoder and scale of the picture."""
_DRACO_BITS: Final = (5, 6, 7, 8, 9, 10, 11)
_CROP_SCALES: Final = (1, 2)


@dataclass(frozen=True, eq=False)
class Result:
    """One setting of a system on one clip.

    Args:
        setting: its name in tables, the system's included.
        sizes: bytes of each frame; of each chosen frame where frames do not depend on others.
        figures: bytes, errors and times.
    """

    family: str
    setting: str
    sizes: tuple[int, ...]
    figures: Figures


def missing(family: str) -> str | None:
    """Why a system cannot run here, and what to install; None if it can."""
    if family in VIDEOS:
        return VIDEOS[family].missing
    return codes.missing_draco() if family == DRACO else None


class CropReceiver:
    """Perception and semantics on received crops; people are told apart by the sender.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self) -> None:
        self._perception = Perception.load()
        self._semantics = SemanticsStage.load(SmoothingConfig())

    def cut(self, pictures: Sequence[Image], people: Sequence[ObservedPerson], scale: int) -> list[Image]:
        """The square of each frame that perception would read, at 1 / scale of its size: no other pixel is sent."""
        size = self._perception.size // scale
        return [person.crop.cut(picture, size) for picture, person in zip(pictures, people, strict=True)]

    def labels(
        self, crops: Sequence[Image], people: Sequence[ObservedPerson], camera: Camera, fps: float
    ) -> Iterator[Mapping[str, FloatArray]]:
        """Labels of received crops, one a frame, of people who are seen there."""
        self._semantics.reset()
        for number, (crop, person) in enumerate(zip(crops, people, strict=True)):
            observed = replace(person, output=self._perception.observe([crop]))
            yield self._semantics.label([observed], camera, number / fps)[0].labels


class Systems:
    """What all systems need; `measure` gives the settings of a family on a clip.

    Args:
        quick: with about half of the settings.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self, quick: bool) -> None:
        self.bodies, self.sender, self.crops = Bodies(), FrameSender(), CropReceiver()
        self._quick, self._stride = quick, 2 if quick else 1
        self._networks, self._importance = model_hash(), Importance.load()

    def measure(self, family: str, clip: PerceivedClip) -> Iterator[Result]:
        if family in STILLS:
            return self._stills(family, clip)
        if family in VIDEOS:
            return self._video(family, clip)
        return self._meshes(clip) if family == DRACO else self._labels(family, clip)

    def _labels(self, family: str, clip: PerceivedClip) -> Iterator[Result]:
        """Labels through the codec, or as numbers."""
        whole = LabelClip(clip.clip.name, clip.people)
        if family == OURS:
            settings = codec_settings(self._importance, whole, self._quick).items()
            ways = {name.replace("codec", OURS): through_codec(whole, rho, self._networks) for name, rho in settings}
        else:
            ways = {f"{family}, {bits} bits": raw(whole, bits, family == RAW_ZSTD) for bits in (16, 8)}
        for name, way in ways.items():
            began_s = time.perf_counter()
            sent = list(way)
            ms = (time.perf_counter() - began_s) * 1e3 / len(sent)
            errors = self._errors(clip, np.stack([frame.labels for frame in sent]))
            if family == OURS:
                errors["header_bytes"] = float(np.mean([frame.by_group.get("header", 0.0) for frame in sent]))
            times = {"encode_ms": ms / 2, "decode_ms": ms / 2}
            yield _result(family, name, tuple(round(frame.size) for frame in sent), errors | times)

    def _stills(self, family: str, clip: PerceivedClip) -> Iterator[Result]:
        name = STILLS[family]
        for scale in _CROP_SCALES[: 1 if self._quick else None]:
            cut = self.crops.cut(clip.clip.pictures, clip.observed, scale)
            for quality in _QUALITIES[name][:: self._stride]:
                sent = codes.through_stills(name, quality, cut)
                began_s = time.perf_counter()
                found = list(self.crops.labels(sent.decoded, clip.observed, clip.clip.camera, FPS))
                perceive = {"perceive_ms": (time.perf_counter() - began_s) * 1e3 / len(found)}
                errors = self._errors(clip, held(found))
                yield _result(
                    family, f"{name}, 1/{scale}, quality {quality}", sent.sizes, errors | sent.times | perceive
                )

    def _video(self, family: str, clip: PerceivedClip) -> Iterator[Result]:
        codec = VIDEOS[family]
        for scale, factors in list(_CRFS[codec.encoder].items())[: 2 if self._quick else None]:
            whole = clip.clip.camera
            camera = Camera(whole.width // scale, whole.height // scale, whole.focal_px / scale)
            size = (camera.width, camera.height)
            smaller = [cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in clip.clip.pictures]
            for crf in factors[:: self._stride]:
                name = f"{codec.name}, 1/{scale}, CRF {crf}"
                sent = codes.through_video(codec, [np.asarray(each, np.uint8) for each in smaller], FPS, crf)
                began_s = time.perf_counter()
                frames = captured_frames(f"{clip.clip.name}, {name}", sent.decoded, camera)
                people = [self.sender.label(frame).people for frame in frames]
                perceive = {"perceive_ms": (time.perf_counter() - began_s) * 1e3 / len(people)}
                errors = self._errors(clip, held([found[0].labels if found else None for found in people]))
                yield _result(family, name, sent.sizes, errors | sent.times | perceive)

    def _meshes(self, clip: PerceivedClip) -> Iterator[Result]:
        for bits in _DRACO_BITS[:: self._stride]:
            sent = codes.through_draco(clip.reference.posed.skins, self.bodies.template.faces, bits)
            errors = clip.reference.mesh_errors(np.stack(sent.decoded))
            yield _result(DRACO, f"{DRACO}, {bits} bits", sent.sizes, errors | sent.times)

    def _errors(self, clip: PerceivedClip, labels: FloatArray) -> Figures:
        return clip.reference.errors(self.bodies.pose(self.bodies.parameters(labels)))


def _result(family: str, setting: str, sizes: tuple[int, ...], figures: Figures) -> Result:
    rate = {"bytes_per_frame": float(np.mean(sizes)), "payload_bytes_median": float(np.median(sizes))}
    return Result(family, setting, sizes, rate | figures)
