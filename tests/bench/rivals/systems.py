"""All systems on one clip: what each sends, and the errors of what its receiver has.

labels ─┬─ Bodywire's codec ───────────────────────────── labels ─┐
        ├─ parameters as numbers ── a rival's code ── parameters ─┼─ body ─ joints, skin
        └─ template of the body ─── a rival's code ─────── meshes ┘
frames ─┬─ crops as JPEG, WebP, AVIF ─── perception of the crop, semantics ─── labels ─ …
        └─ H.264, HEVC, AV1 ──────────── detection, perception, semantics ──── labels ─ …
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import cv2
import numpy as np
import torch

from common.arrays import FloatArray
from common.body.model import BodyParameters
from common.frames import Camera
from common.synthetic.render_clip import FPS
from common.weights.manifest import model_hash
from sender.importance.importance import Importance
from tests.bench.perceived import FrameSender
from tests.bench.rate import LabelClip, codec_settings, through_codec
from tests.bench.rivals import meshes, stills, video
from tests.bench.rivals.bodies import Bodies, Figures, chosen, held
from tests.bench.rivals.clips import PerceivedClip, captured_frames
from tests.bench.rivals.parameter_coders import Coder, PlainCoder, RangeCoder, StaticTables, ZstdCoder, training_clips
from tests.bench.rivals.parameters import SLOW_SIZES, bodies_of, fast_vectors, quantised, received, unwrapped

OURS: Final = "bodywire"
BITS: Final = (16, 12, 10, 9, 8, 7, 6)
"""Bits of a parameter: 16 and 8 are what one would take, the others give the curve."""
RAW, ZSTD, DELTA, LINEAR = "raw numbers", "delta + zstd", "delta + range coder", "linear prediction + range coder"
DRACO, VERTEX_ZSTD, VERTEX_RANGE = "Draco", "template deltas + zstd", "template deltas + range coder"
STILLS: Final = {f"{name} crops": name for name in stills.FORMATS}
VIDEOS: Final = {f"{codec.name} video": codec for codec in video.CODECS}
PARAMETERS, MESHES = (RAW, ZSTD, DELTA, LINEAR), (DRACO, VERTEX_ZSTD, VERTEX_RANGE)
FAMILIES: Final = (OURS, *PARAMETERS, *STILLS, *VIDEOS, *MESHES)
"""Systems; each has several settings."""

_CRFS: Final = {
    "libx264": {1: (18, 26, 34, 42), 2: (18, 26, 34), 4: (18, 28)},
    "libx265": {1: (18, 26, 34, 42), 2: (18, 26, 34), 4: (18, 28)},
    "libsvtav1": {1: (22, 36, 50, 60), 2: (22, 36, 50), 4: (22, 40)},
}
"""Constant rate factors by encoder and scale of the picture."""


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
    if family in STILLS:
        return stills.missing(STILLS[family])
    if family in VIDEOS:
        return VIDEOS[family].missing
    return meshes.missing_draco() if family == DRACO else None


class Systems:
    """What all systems need; its methods measure the settings of a family on a clip.

    Args:
        quick: with about half of the settings.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self, quick: bool) -> None:
        self.bodies, self.sender, self.crops = Bodies(), FrameSender(), stills.CropReceiver()
        self._stride = 2 if quick else 1
        self._quick, self._networks, self._importance = quick, model_hash(), Importance.load()
        self._training = training_clips()
        self._fitted: dict[tuple[int, int], StaticTables] = {}

    def measure(self, family: str, clip: PerceivedClip) -> Iterator[Result]:
        if family == OURS:
            return self._ours(clip)
        if family in PARAMETERS:
            return self._parameters(family, clip)
        if family in STILLS:
            return self._stills(family, clip)
        return self._video(family, clip) if family in VIDEOS else self._meshes(family, clip)

    def _ours(self, clip: PerceivedClip) -> Iterator[Result]:
        whole = LabelClip(clip.clip.name, clip.people)
        for name, rho in codec_settings(self._importance, whole, self._quick).items():
            sent = list(through_codec(whole, rho, self._networks))
            labels = np.stack([frame.labels for frame in sent])
            errors = self._errors(clip, self.bodies.parameters(labels))
            errors["header_bytes"] = float(np.mean([frame.by_group.get("header", 0.0) for frame in sent]))
            errors["message_bytes"] = float(np.mean([frame.message - frame.size for frame in sent]))
            yield _result(OURS, name.replace("codec", OURS), tuple(frame.size for frame in sent), errors)

    def _parameters(self, family: str, clip: PerceivedClip) -> Iterator[Result]:
        fast = fast_vectors(clip.reference.parameters)
        for bits in BITS[:: self._stride]:
            make = self._coder(family, bits)
            frames = quantised(clip.labels, fast if family == RAW else unwrapped(fast), bits)
            encoder, decoder = make(), make()
            began_s = time.perf_counter()
            packed = [encoder.encode(frame) for frame in frames]
            encoded_s = time.perf_counter()
            found = [decoder.decode(data) for data in packed]
            times = _times(encoded_s - began_s, time.perf_counter() - encoded_s, len(frames))
            errors = self._errors(clip, received(found, bits))
            yield _result(family, f"{family}, {bits} bits", tuple(map(len, packed)), errors | times)

    def _coder(self, family: str, bits: int) -> Callable[[], Coder]:
        if family == RAW:
            return lambda: PlainCoder(bits)
        if family == ZSTD:
            return ZstdCoder
        tables = self._tables(bits, 2 if family == LINEAR else 1)
        return lambda: RangeCoder(tables)

    def _tables(self, bits: int, order: int) -> StaticTables:
        if (bits, order) not in self._fitted:
            self._fitted[bits, order] = StaticTables.fit(self._training, bits, order)
        return self._fitted[bits, order]

    def _stills(self, family: str, clip: PerceivedClip) -> Iterator[Result]:
        for still in stills.settings(STILLS[family], self._quick):
            cut = self.crops.cut(clip.clip.pictures, clip.observed, still.scale)
            sent = stills.through_stills(still, cut)
            labels = held(list(self.crops.labels(sent.pictures, clip.observed, clip.clip.camera, FPS)))
            times = {"encode_ms": sent.encode_ms, "decode_ms": sent.decode_ms, "perceive_ms": self.crops.frame_ms}
            errors = self._errors(clip, self.bodies.parameters(labels))
            yield _result(family, str(still), sent.sizes, errors | times)

    def _video(self, family: str, clip: PerceivedClip) -> Iterator[Result]:
        codec = VIDEOS[family]
        for scale, factors in list(_CRFS[codec.encoder].items())[: 2 if self._quick else None]:
            whole = clip.clip.camera
            camera = Camera(whole.width // scale, whole.height // scale, whole.focal_px / scale)
            size = (camera.width, camera.height)
            smaller = [cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in clip.clip.pictures]
            for crf in factors[:: self._stride]:
                name = f"{codec.name}, 1/{scale}, CRF {crf}"
                sent = video.through_video(codec, [np.asarray(each, np.uint8) for each in smaller], FPS, crf)
                began_s = time.perf_counter()
                frames = captured_frames(f"{clip.clip.name}, {name}", sent.pictures, camera)
                people = [self.sender.label(frame).people for frame in frames]
                perceive_ms = (time.perf_counter() - began_s) * 1e3 / len(people)
                labels = held([found[0].labels if found else None for found in people])
                times = {"encode_ms": sent.encode_ms, "decode_ms": sent.decode_ms, "perceive_ms": perceive_ms}
                errors = self._errors(clip, self.bodies.parameters(labels))
                errors["seen"] = float(np.mean([bool(found) for found in people]))
                yield _result(family, name, sent.sizes, errors | times)

    def _meshes(self, family: str, clip: PerceivedClip) -> Iterator[Result]:
        skins, faces = clip.reference.posed.skins, self.bodies.template.faces
        if family == DRACO:
            for bits in meshes.BITS[:: self._stride]:
                sent = meshes.through_draco(skins, faces, bits)
                yield self._mesh_result(family, f"{family}, {bits} bits", sent, clip)
            return
        numbers = chosen(len(clip.people))
        before = self._skins(clip.reference.parameters, [max(number - 1, 0) for number in numbers])
        for step_m in meshes.STEPS_M[:: self._stride]:
            coder = meshes.ZstdDeltas() if family == VERTEX_ZSTD else self._range_deltas(step_m)
            sent = meshes.through_deltas(before, skins, step_m, coder)
            yield self._mesh_result(family, f"{family}, {1000 * step_m:g} mm", sent, clip)

    def _mesh_result(self, family: str, name: str, sent: meshes.SentMeshes, clip: PerceivedClip) -> Result:
        times = {"encode_ms": sent.encode_ms, "decode_ms": sent.decode_ms}
        sizes = sent.sizes
        if family in (VERTEX_ZSTD, VERTEX_RANGE) and len(sizes) > 1:
            # The first size is of the first frame, the others stand for all frames after it.
            sizes = (sizes[0], *np.resize(sizes[1:], len(clip.people) - 1).tolist())
        return _result(family, name, sizes, clip.reference.mesh_errors(sent.skins) | times)

    def _skins(self, parameters: BodyParameters, numbers: list[int]) -> FloatArray:
        return self.bodies.skins(parameters[torch.tensor(numbers)])

    def _range_deltas(self, step_m: float) -> meshes.RangeDeltas:
        first, second = self._training_skins
        steps = [np.rint(skins / step_m).astype(np.int64) for skins in (first, second)]
        return meshes.RangeDeltas(steps[1] - steps[0], len(self.bodies.template))

    @cached_property
    def _training_skins(self) -> tuple[FloatArray, FloatArray]:
        """Skins of successive frames of the training sequences, from the middle of each."""
        pairs = [(clip[len(clip) // 2 - 1], clip[len(clip) // 2]) for clip in self._training]
        average = np.zeros((len(pairs), SLOW_SIZES["shape"]))
        first, second = (self.bodies.skins(bodies_of(np.stack(rows), average)) for rows in zip(*pairs, strict=True))
        return first, second

    def _errors(self, clip: PerceivedClip, parameters: BodyParameters) -> Figures:
        return clip.reference.errors(self.bodies.pose(parameters))


def _times(encode_s: float, decode_s: float, frames: int) -> Figures:
    return {"encode_ms": encode_s * 1e3 / frames, "decode_ms": decode_s * 1e3 / frames}


def _result(family: str, setting: str, sizes: tuple[int, ...], figures: Figures) -> Result:
    rate = {"bytes_per_frame": float(np.mean(sizes)), "payload_bytes_median": float(np.median(sizes))}
    return Result(family, setting, sizes, rate | figures)
