"""What people wear, until the receiver knows it: `python -m tests.bench.settling`.

A clip passes sender and codec in process.  It has settled when the kinds that the receiver dresses its people in have
changed for the last time:

    settled_s       when that was
    changes         of the kinds of one person after the first that arrived, all people of the clip
    late_changes    of them, those later than a second after the person's first kinds
    wears_bytes     of the posteriors until then
    surface_bytes   of the `surface` labels until then
    all_wears_bytes, all_surface_bytes   the same of the whole clip

With --folder the frames NAME.jpg of each folder are a clip, at 24 frames a second.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from common.wears import Wears
from sender.capture.source import CapturedFrame
from sender.perception.config import TrackerConfig
from tests.bench import report
from tests.bench.folder_clip import folder_clip
from tests.bench.perceived import demo_frames
from tests.bench.whole_system import WholeSystem

_QUICK_FRAMES = 60
_LATE_S = 1.0
_COUNTED = ("wears", "surface")

Kinds = Mapping[str, str]


@dataclass(slots=True)
class Settling:
    """What has been sent of a clip, and how the kinds of its people changed.

    Args:
        settled_s: when kinds arrived or changed last.
        until_settled, sent: bytes by what they are of, up to then and up to the last frame.
    """

    settled_s: float = 0.0
    changes: int = 0
    late_changes: int = 0
    until_settled: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_COUNTED, 0.0))
    sent: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_COUNTED, 0.0))
    _kinds: dict[int, Kinds] = field(default_factory=dict)
    _since_s: dict[int, float] = field(default_factory=dict)

    def add(self, time_s: float, worn: Mapping[int, Wears], bytes_by_group: Mapping[str, float]) -> None:
        """Counts a frame.

        Args:
            worn: what the receiver dresses people in after it, by identity.
        """
        for name in _COUNTED:
            self.sent[name] += bytes_by_group.get(name, 0.0)
        for identity, wears in worn.items():
            kinds = {name: value for name, (value, _) in wears.likeliest().items()}
            before = self._kinds.get(identity)
            if kinds == before:
                continue
            first_s = self._since_s.setdefault(identity, time_s)
            self.changes += before is not None
            self.late_changes += before is not None and time_s - first_s > _LATE_S
            self._kinds[identity] = kinds
            self.settled_s, self.until_settled = time_s, dict(self.sent)

    def figures(self) -> dict[str, float]:
        of_bytes = {f"{name}_bytes": self.until_settled[name] for name in _COUNTED}
        of_all = {f"all_{name}_bytes": self.sent[name] for name in _COUNTED}
        changes = {"changes": float(self.changes), "late_changes": float(self.late_changes)}
        return {"settled_s": self.settled_s, **changes, **of_bytes, **of_all}


def settle(frames: Iterator[CapturedFrame], max_people: int) -> Settling:
    """Sends a clip."""
    system, settling = WholeSystem(TrackerConfig(max_people)), Settling()
    for frame in frames:
        sent = system.send(frame)
        settling.add(frame.media_time_s or 0.0, sent.worn, sent.bytes_by_group)
    return settling


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("settling", __doc__, 0)
    parser.add_argument("--folder", type=Path, nargs="+", default=[], metavar="DIR", help="default: the demo clip")
    parser.add_argument("--max-people", type=int, default=1, help="people tracked at once (default: %(default)s)")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    limit = _QUICK_FRAMES if options.quick else None
    clips: dict[str, Iterator[CapturedFrame]] = {
        folder.name: (frame for _, frame in folder_clip(folder)) for folder in options.folder
    } or {"demo": demo_frames(None)}
    systems = {name: settle(islice(frames, limit), options.max_people).figures() for name, frames in clips.items()}
    report.publish(options, systems, f"{options.max_people} people at most")


if __name__ == "__main__":
    sys.exit(main())
