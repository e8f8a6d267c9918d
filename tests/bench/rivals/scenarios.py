"""Scenarios A and B of the AFLSC paper (§6.2), computed from measured bytes and measured times of the stages.

Nothing is sent: a link is a capacity and a delay, each way.  A frame's bytes on it are its payload and the headers of
its packets (`comparison.to_receiver_bytes`).  Sender, link and receiver work on successive models at the same time,
each on one at a time and in order, so that the slowest of the three decides how long many models take.

    A   N pictures of one person each become N meshes at the receiver, over one link.
    B   300 frames of the demo clip, 30 a second, over a thin link.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Self

import numpy as np

from receiver.engine.engine import ReconstructionRequest
from receiver.engine.reconstructor import Reconstructor
from tests.bench.perceived import FrameSender
from tests.bench.rates import as_frame
from tests.bench.rivals.bodies import Figures
from tests.bench.rivals.clips import PerceivedClip, captured_frames
from tests.bench.rivals.comparison import Comparison, criteria, to_receiver_bytes
from tests.bench.rivals.systems import DRACO, OURS, STILLS, VIDEOS

MODELS = (1, 2, 4, 8, 16, 32, 64)
KBPS = (10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 400)
FRAMES, FPS = 300, 30
LINK_A_KBPS, DELAY_MS = 1000.0, 30.0
IMAGES, VIDEO, WITHOUT = "image transmission", "video", "without semantic communication"
_TIMED_FRAMES = 40
# The first frames, with cold caches and the search for people, are left out.
_WARM_UP = 5

Row = dict[str, float | str | bool | None]


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Median times of the stages that systems share, milliseconds.

    Args:
        perceive_ms: detection, perception and semantics of a frame.
        reconstruct_ms: labels to meshes.
    """

    perceive_ms: float
    reconstruct_ms: float

    @classmethod
    def measure(cls, clip: PerceivedClip, sender: FrameSender) -> Self:
        """Of the first frames of a clip."""
        reconstructor, spent_ms = Reconstructor.load(), list[tuple[float, float]]()
        frames = captured_frames("stage times", clip.clip.pictures[:_TIMED_FRAMES], clip.clip.camera)
        for captured, person in zip(frames, clip.people, strict=False):
            labels = as_frame(person, captured.sequence, captured.camera)
            began_s = time.perf_counter()
            sender.label(captured)
            perceived_s = time.perf_counter()
            reconstructor.reconstruct(ReconstructionRequest("bench", "bench", labels))
            spent_ms.append((1e3 * (perceived_s - began_s), 1e3 * (time.perf_counter() - perceived_s)))
        return cls(*np.median(spent_ms[_WARM_UP:] or spent_ms, axis=0).tolist())


@dataclass(frozen=True, slots=True)
class Way:
    """What one system does with a model.

    Args:
        sender_ms, receiver_ms: work before and after the link.
        sizes: payload bytes of successive models, repeated as needed.
    """

    sender_ms: float
    receiver_ms: float
    sizes: Sequence[int]


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a capacity."""

    kbps: float

    def ms(self, payload: int) -> float:
        """How long a frame occupies the link."""
        return to_receiver_bytes(payload) * 8 / self.kbps

    def needed_kbps(self, sizes: Sequence[int]) -> float:
        """Rate of frames of these payloads."""
        return sum(map(to_receiver_bytes, sizes)) / len(sizes) * 8 * FPS / 1e3


def passage_ms(way: Way, ready_ms: Sequence[float], over: Link) -> list[float]:
    """When each model is there, if it is ready to be worked on at a time; the first at 0."""
    sender = link = receiver = 0.0
    done = []
    for ready, size in zip(ready_ms, islice(cycle(way.sizes), len(ready_ms)), strict=True):
        sender = max(sender, ready) + way.sender_ms
        link = max(link, sender) + over.ms(size)
        receiver = max(receiver, link + DELAY_MS) + way.receiver_ms
        done.append(receiver)
    return done


def ways(comparison: Comparison, times: StageTimes, setting: str) -> Way:
    """How a setting of a system makes a mesh from a frame.

    Crops are charged no detection at the sender, which they need.
    """
    family, figures, sizes = comparison.family[setting], comparison.figures[setting], comparison.sizes[setting]
    encode_ms, decode_ms = figures["encode_ms"], figures["decode_ms"]
    if family == OURS:
        return Way(times.perceive_ms + encode_ms, decode_ms + times.reconstruct_ms, sizes)
    if family in STILLS or family in VIDEOS:
        return Way(encode_ms, decode_ms + figures["perceive_ms"] + times.reconstruct_ms, sizes)
    return Way(times.perceive_ms + times.reconstruct_ms + encode_ms, decode_ms, sizes)


def scenario_a(comparison: Comparison, times: StageTimes) -> list[Row]:
    """Total time for N models; every system in its cheapest setting with MPJPE within 5 %, or its most exact one.

    `link_s` is the time in which the link is busy.

    With semantic communication each model is a key frame of labels; without, the sender reconstructs the mesh and
    sends it with Draco; an image is a crop.
    """
    rows: list[Row] = []
    link = Link(LINK_A_KBPS)
    for system, families in ((OURS, (OURS,)), (WITHOUT, (DRACO,)), (IMAGES, tuple(STILLS))):
        setting = equal_setting(comparison, *families)
        if setting is None:
            continue
        way = ways(comparison, times, setting)
        # Pictures of different people: each is the first frame of its stream.
        first = Way(way.sender_ms, way.receiver_ms, way.sizes[:1])
        rows += [
            {
                "system": system,
                "setting": setting,
                "models": models,
                "kbps": link.kbps,
                "bytes": float(models * way.sizes[0]),
                "link_s": models * link.ms(way.sizes[0]) / 1e3,
                "total_s": passage_ms(first, [0.0] * models, link)[-1] / 1e3,
            }
            for models in MODELS
        ]
    return rows


def equal_setting(comparison: Comparison, *families: str) -> str | None:
    """The cheapest setting with MPJPE within 5 %, else the most exact one; None if none ran."""
    settings = comparison.settings(*families)
    if not settings:
        return None
    key, limit = next(pair for pair in criteria(comparison).values() if pair[0] == "mpjpe_mm")
    exact = [setting for setting in settings if comparison.figures[setting][key] <= limit]
    if not exact:
        return min(settings, key=lambda setting: comparison.figures[setting][key])
    return min(exact, key=lambda setting: comparison.figures[setting]["bytes_per_frame"])


def scenario_b(comparison: Comparison, times: StageTimes) -> list[Row]:
    """Time and error of 300 frames at each capacity; a system takes the setting with the least error that fits.

    If not even the cheapest one fits, it takes that.  `total_s` is for all 300 frames, whatever they wait; `link_s` is
    the link's part.  Ages are those of a live sender, which drops what does not fit and sends `live_fps`: a frame
    waits for nothing but its own transfer.
    """
    rows: list[Row] = []
    for system, families in ((OURS, (OURS,)), (IMAGES, tuple(STILLS)), (VIDEO, tuple(VIDEOS))):
        settings = comparison.settings(*families)
        links = [Link(kbps) for kbps in KBPS if settings]
        rows += [_at(comparison, times, system, settings, link) for link in links]
    return rows


def _at(comparison: Comparison, times: StageTimes, system: str, settings: Sequence[str], link: Link) -> Row:
    rate = {setting: link.needed_kbps(comparison.sizes[setting]) for setting in settings}
    fitting = [setting for setting in settings if rate[setting] <= link.kbps]
    errors = {setting: comparison.figures[setting]["added_joint_error_mm"] for setting in settings}
    setting = min(fitting, key=lambda name: errors[name]) if fitting else min(settings, key=lambda name: rate[name])
    figures, way = comparison.figures[setting], ways(comparison, times, setting)
    captured_ms = [number * 1e3 / FPS for number in range(FRAMES)]
    sent = list(islice(cycle(way.sizes), FRAMES))
    ages_ms = sorted(way.sender_ms + link.ms(size) + DELAY_MS + way.receiver_ms for size in sent)
    return {
        "system": system,
        "setting": setting,
        "kbps": float(link.kbps),
        "needed_kbps": rate[setting],
        "fits": bool(fitting),
        "live_fps": min(FPS, FPS * link.kbps / rate[setting]),
        "link_s": sum(map(link.ms, sent)) / 1e3,
        "total_s": passage_ms(way, captured_ms, link)[-1] / 1e3,
        "age_p50_ms": ages_ms[len(ages_ms) // 2],
        "age_p95_ms": ages_ms[int(0.95 * len(ages_ms))],
        "added_joint_error_mm": errors[setting],
        "added_chamfer_mm": figures["added_chamfer_mm"],
        "mpjpe_mm": figures["mpjpe_mm"],
    }


def as_figures(rows: Sequence[Row]) -> dict[str, Figures]:
    """Rows of a scenario as a table: system and its variable → its other numbers."""
    return {
        f"{row['system']}, {row['models']} models" if "models" in row else f"{row['system']}, {row['kbps']:g} kbit/s": {
            key: float(value) for key, value in row.items() if isinstance(value, int | float) and key != "models"
        }
        for row in rows
    }
