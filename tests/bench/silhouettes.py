"""Silhouettes of the received meshes on real video: `python -m tests.bench.silhouettes --folder DIR`.

The folder has the frames of one clip, `NAME.jpg`, and a mask of its person for each, `NAME.png` (0 or 255), as in
DAVIS 2016.  Each frame passes sender, codec and receiver in process.  Of the people published in a frame, the one whose
mesh overlaps the mask most counts:

    found_share       frames with a mesh that overlaps the mask at all
    iou_median, _p10  IoU of its silhouette with the mask over all frames; 0 where nobody is found
    bare_iou_median   the same for the skinned body without clothes
    iou_gain          mean of the difference between the two over the frames with a match, ± one standard error as if
                      frames were independent
    identities        track ids that it has
    identity_share    frames in which it has the id that it has most often
    swapped_frames    longest run of frames with left and right exchanged

Left and right of shoulders, hips, knees and ankles are exchanged between two frames if the joints of one side lie
closer to those of the other side in the frame before; of the two states that this leaves, the rarer one counts as
exchanged.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np

from common.arrays import BoolArray, FloatArray
from common.body.anatomy import COCO_KEYPOINTS, MIRRORED_KEYPOINTS
from common.errors import SourceError
from sender.capture.config import CaptureConfig
from sender.capture.open import open_source
from sender.capture.source import CapturedFrame
from sender.perception.config import TrackerConfig
from tests.bench import measures, report
from tests.bench.whole_system import WholeSystem

QUICK_FRAMES = 30
_FPS = 24.0
_SIDED = np.array([name.endswith(("shoulder", "hip", "knee", "ankle")) for name in COCO_KEYPOINTS])


@dataclass(frozen=True, slots=True)
class Match:
    """The person of a frame whose mesh overlaps the mask most.

    Args:
        iou: of its silhouette with the mask.
        bare_iou: the same of its body without clothes.
        keypoints: (17, 2) pixels, as published.
    """

    identity: int
    iou: float
    bare_iou: float
    keypoints: FloatArray


def folder_clip(folder: Path) -> Iterator[tuple[Path, CapturedFrame]]:
    """The frames NAME.jpg of a folder as one clip, with their files; `--camera` takes them for photographs.

    Raises:
        SourceError: a frame cannot be read, or there is none.
    """
    with open_source(CaptureConfig(str(folder / "*.jpg"))) as source:
        for index, frame in enumerate(source):
            yield folder / frame.source, replace(frame, source=folder.name, media_time_s=index / _FPS)


def read_mask(path: Path) -> BoolArray:
    """The mask (H, W) of a frame.

    Raises:
        SourceError: it cannot be read.
    """
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise SourceError(f"cannot read {path}: each frame NAME.jpg needs a mask NAME.png")
    return np.asarray(mask) > 127


def longest_swap(tracks: Sequence[FloatArray]) -> int:
    """Longest run of frames in the rarer of the two states that exchanges of left and right divide a clip into.

    Args:
        tracks: (17, 2) keypoints of one person in successive frames.
    """
    state, states = False, [False] * min(len(tracks), 1)
    for before, after in pairwise(tracks):
        same = np.linalg.norm(after - before, axis=1)[_SIDED].sum()
        other = np.linalg.norm(after[MIRRORED_KEYPOINTS] - before, axis=1)[_SIDED].sum()
        state ^= bool(other < same)
        states.append(state)
    rarer = sum(states) <= len(states) / 2
    longest = run = 0
    for value in states:
        run = run + 1 if value == rarer else 0
        longest = max(longest, run)
    return longest


def figures(matches: Sequence[Match | None]) -> dict[str, float]:
    """Figures of a clip from the match of each frame, None where nobody overlaps the mask."""
    found = [match for match in matches if match is not None]
    iou = np.array([match.iou if match else 0.0 for match in matches])
    bare_iou = np.array([match.bare_iou if match else 0.0 for match in matches])
    gain = np.array([match.iou - match.bare_iou for match in found])
    identities = Counter(match.identity for match in found)
    return {
        "frames": float(len(matches)),
        "found_share": len(found) / max(len(matches), 1),
        "iou_median": float(np.median(iou)) if len(iou) else float("nan"),
        "iou_p10": float(np.percentile(iou, 10)) if len(iou) else float("nan"),
        "bare_iou_median": float(np.median(bare_iou)) if len(iou) else float("nan"),
        "iou_gain": float(gain.mean()) if len(gain) else float("nan"),
        "iou_gain_standard_error": measures.standard_error(gain),
        "identities": float(len(identities)),
        "identity_share": max(identities.values(), default=0) / max(len(found), 1),
        "swapped_frames": float(longest_swap([match.keypoints for match in found])),
    }


def match_clip(folder: Path, max_people: int, limit: int | None) -> list[Match | None]:
    """Reconstructs the frames of a clip and matches the people of each with its mask."""
    system, matches = WholeSystem(TrackerConfig(max_people)), []
    for path, frame in islice(folder_clip(folder), limit):
        rebuilt = system.rebuild(frame)
        mask = read_mask(path.with_suffix(".png"))
        people = []
        for person in rebuilt.people:
            iou, bare_iou = (
                measures.intersection_over_union(silhouette, mask)
                for silhouette in system.silhouettes(person, rebuilt.camera)
            )
            people.append(Match(person.labels.identity, iou, bare_iou, person.keypoints_2d[:, :2]))
        best = max(people, key=lambda match: match.iou, default=None)
        matches.append(best if best and best.iou > 0 else None)
    return matches


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("silhouettes", __doc__, 0)
    parser.add_argument("--folder", type=Path, required=True, help="frames NAME.jpg and masks NAME.png")
    parser.add_argument("--max-people", type=int, default=1, help="people tracked at once (default: %(default)s)")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    systems = {
        "bodywire": figures(match_clip(options.folder, options.max_people, QUICK_FRAMES if options.quick else None))
    }
    report.publish(options, systems, f"{options.folder.name}", folder=options.folder.name)


if __name__ == "__main__":
    sys.exit(main())
