"""Systems in a scenario, and their figures."""

import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np

from common.arrays import FloatArray, Image
from common.errors import OutputError
from receiver.mesh.body_file import read_mesh
from tests.bench import measures
from tests.bench.bytes.link import display_ages
from tests.bench.people.reconstruction_scores import VIEW, views_of
from tests.bench.scenarios.carrier import Item
from tests.bench.scenarios.footage import Footage
from tests.bench.scenarios.play import Daemons, Playing, Shown, place_of
from tests.bench.scenarios.ways import CROP_PX, WAYS, Way
from tests.netlab.hosts import TwoHosts
from tests.netlab.pipe import Shape
from tests.netlab.source import there_and_back
from tests.netlab.traces import Trace
from tests.support.motion.rendered_clip import FPS

DELAY_S: Final = 0.03
A_KBPS: Final = 1000.0
_SETTLING_S = 2.0
# Pictures on a thin link take seconds each.
_THIN_KBPS, _LONGER = 30, 2
_LIMIT_S, _POLL_S = 240.0, 0.02
_VIEWS, _SAMPLES, _FRAMES_PER_S = 8, 10, 10

Figures = dict[str, float]


def link(kbps: float, system: str) -> Shape:
    """To the receiver, for a system."""
    return Shape(Trace.constant(kbps / _share(system)), DELAY_S)


def counted(playing: Playing) -> float:
    """Bytes at the network devices until now, both ways."""
    return sum(playing.hosts.offered_bytes()) * _share(playing.system)


def _share(system: str) -> float:
    return WAYS[system].link_share if system in WAYS else 1.0


def quality(shown: Sequence[tuple[int, Shown]], footage: Footage) -> Figures:
    """Errors of meshes of pictures with these numbers."""
    found = [(number, one, one.joints) for number, one in shown if one.joints is not None]
    rows: list[Figures] = [{"mpjpe_mm": error_mm(joints, footage.joints[number])} for number, _, joints in found]
    for number, one, joints in found[:: max(1, len(found) // _VIEWS)]:
        if one.body is not None:
            rows.append(_views(footage, number, one.body, joints))
    return measures.mean_by_key(rows)


def error_mm(joints: FloatArray, truth: FloatArray) -> float:
    """Mean distance of joints (17, 3), relative to the hips."""
    return measures.mean_distance_mm(measures.centred(joints), measures.centred(truth))


def _views(footage: Footage, number: int, body: Path, joints: FloatArray) -> Figures:
    white = np.full((VIEW.height, VIEW.width, 3), 255, np.uint8)
    mesh = read_mesh(body)
    about_hips = type(mesh)(measures.centred(joints, mesh.vertices).astype(np.float32), mesh.faces)
    pairs = list(zip(views_of(about_hips, white), views_of(footage.mesh(number), white), strict=True))
    return {
        "view_mse": float(np.mean([measures.view_mse(*pair) for pair in pairs])),
        "view_ssim": float(np.mean([measures.view_ssim(*pair) for pair in pairs])),
    }


def wait_for(playing: Playing, count: int) -> list[Shown]:
    """What is shown, when it is so many. Raises OutputError if that takes too long."""
    end = time.monotonic() + _LIMIT_S
    while len(shown := playing.shown()) < count:
        if time.monotonic() > end:
            raise OutputError(f"{len(shown)} of {count} meshes arrived in {_LIMIT_S:g} s")
        time.sleep(_POLL_S)
    return shown


def each_playing(systems: Iterable[str], live: bool, kbps: float) -> Iterator[Playing]:
    """Systems as they play, one after the other; those of one place share its daemons."""
    for place, (first, *others) in ((place, [*sharing]) for place, sharing in groupby(systems, place_of)):
        with (
            TwoHosts(link(kbps, first), Shape(None, DELAY_S)) as hosts,
            tempfile.TemporaryDirectory() as name,
            closing(Daemons(hosts, Path(name), place, live)) as daemons,
        ):
            for system in (first, *others):
                hosts.reshape(link(kbps, system))
                with closing(Playing(hosts, Path(name), system, daemons)) as playing:
                    yield playing


def scenario_a(playing: Playing, footage: Footage, models: Sequence[int]) -> Iterator[tuple[int, Figures]]:
    """Figures by the number of models; the first picture is for warming up."""
    if playing.carrier is not None:
        playing.carrier.use(next(iter(WAYS[playing.system].settings.values()))())

    def item(number: int) -> Item:
        return Item(number, time.time(), footage.crop(number), footage.pictures[number])

    def take(numbers: range) -> None:
        for number in numbers:
            playing.take(partial(item, number))

    take(range(1))
    wait_for(playing, 1)
    before, began = counted(playing), time.time()
    threading.Thread(target=take, args=(range(1, max(models) + 1),), daemon=True).start()
    for count in models:
        shown = wait_for(playing, count + 1)[1 : count + 1]
        size, delays = (counted(playing) - before) / count, [one.at - one.captured_at for one in shown]
        figures = {"total_s": max(one.at for one in shown) - began, "bytes_per_mesh": size}
        figures |= {f"delay_p{share}_s": measures.percentile(delays, share) for share in (50, 95)}
        yield count, figures
    yield count, {**figures, **quality([(int(one.name), one) for one in shown], footage)}


class Camera(threading.Thread):
    """Plays a clip there and back; a system takes the newest frame when it has room for one."""

    def __init__(self, footage: Footage, playing: Playing) -> None:
        super().__init__(daemon=True)
        self._footage, self._playing, self._tick = footage, playing, -1
        self.began, self.ended = time.time(), threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            self._playing.take(self._next)

    def number_at(self, moment: float) -> int:
        """The frame at a moment, seconds since the epoch."""
        return there_and_back(max(0, round((moment - self.began) * FPS)), len(self._footage.pictures))

    def _next(self) -> Item:
        self._tick = max(self._tick + 1, int((time.time() - self.began) * _FRAMES_PER_S))
        captured_at = self.began + self._tick / _FRAMES_PER_S
        time.sleep(max(0.0, captured_at - time.time()))
        number = self.number_at(captured_at)
        return Item(number, captured_at, self._footage.crop(number), self._footage.pictures[number])


def scenario_b(
    playing: Playing, footage: Footage, capacities: Sequence[int], seconds: float
) -> Iterator[tuple[int, Figures]]:
    """Figures by the link's capacity, kbit/s."""
    system, windows = playing.system, dict[int, tuple[float, float, float]]()
    settings = fitting(WAYS[system], footage, capacities) if playing.carrier else {}
    camera = Camera(footage, playing)
    for kbps in capacities:
        if playing.carrier is not None:
            playing.carrier.use(WAYS[system].settings[settings[kbps]]())
        playing.hosts.reshape(link(kbps, system))
        if not camera.is_alive():
            camera.start()
            wait_for(playing, 1)
        time.sleep(_SETTLING_S)
        size, begin = counted(playing), time.time()
        time.sleep(seconds * (_LONGER if kbps < _THIN_KBPS else 1))
        windows[kbps] = begin, time.time(), counted(playing) - size
    shown = playing.shown()
    camera.ended.set()
    playing.close()
    camera.join()
    for kbps, (begin, end, size) in windows.items():
        yield kbps, {**_live(shown, camera, footage, begin, end), "kbps": size / (end - begin) / 125}


def fitting(way: Way, footage: Footage, capacities: Sequence[int]) -> dict[int, str]:
    """The best setting in which each link carries what a rival makes of the camera's frames, or else the smallest."""
    contents, needs = list[Image](), dict[str, float]()
    for number in range(0, _SAMPLES * FPS // _FRAMES_PER_S, FPS // _FRAMES_PER_S):
        picture = footage.pictures[number]
        contents.append(footage.crop(number).cut(picture, CROP_PX) if way.sends == "crops" else picture)
    for name, coder in ((name, begin()) for name, begin in way.settings.items()):
        first, *rest = (len(coder.encode(content)) * way.link_share / 125 for content in contents)
        # A video's first frame comes once: it may take a second.
        needs[name] = max(first, float(np.mean(rest)) * _FRAMES_PER_S)
    return {kbps: next((name for name in needs if needs[name] <= kbps), name) for kbps in capacities}


def _live(shown: Sequence[Shown], camera: Camera, footage: Footage, begin: float, end: float) -> Figures:
    """Figures of what was shown between two moments."""
    ordered = sorted((one for one in shown if one.joints is not None), key=lambda one: one.at)
    captured, at = (np.array([getattr(one, name) for one in ordered]) for name in ("captured_at", "at"))
    ages = display_ages(captured, at, begin, end)
    errors = []
    for moment in np.arange(begin, end, 1 / FPS):
        before = int(np.searchsorted(at, moment, side="right"))
        # The newest, which is not always the last that came.
        newest = max(ordered[:before], key=lambda one: one.captured_at, default=None)
        if newest is not None and newest.joints is not None:
            errors.append(error_mm(newest.joints, footage.joints[camera.number_at(moment)]))
    within = [(camera.number_at(one.captured_at), one) for one in ordered if begin <= one.at < end]
    return {
        "age_p50_ms": 1e3 * measures.percentile(ages.age_s, 50),
        "age_p95_ms": 1e3 * measures.percentile(ages.age_s, 95),
        "shown_error_mm": float(np.mean(errors)) if errors else float("nan"),
        "meshes_per_s": len(within) / (end - begin),
        **quality(within, footage),
    }
