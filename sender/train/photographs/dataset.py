"""Photographs to train on: decoded and scaled once, with boxes and keypoints, into a folder that trainings map.

Three sources: `people` (COCO's format: boxes and 17 keypoints; who is too small for keypoints is not annotated),
`openimages` (person boxes; all pictures stretched to a square) and `panoramas` (equirectangular, nobody in them).  Of
each source, 100 in 604 pictures are the validation split: those whose names have the lowest SHA-256.

Examples:
  python -m sender.train.photographs.dataset --people data/people --openimages data/openimages
  python -m sender.train.photographs.dataset --people data/people --out photographs
"""

import argparse
import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from common.arrays import BoolArray, FloatArray, Image
from common.errors import SourceError, UsageError, exit_code_of
from common.io.command_line import parser_of
from common.io.files import atomic_replacement, atomic_write

Source = Literal["people", "openimages", "panoramas"]
SOURCES: tuple[Source, ...] = ("people", "openimages", "panoramas")
PhotographSplit = Literal["train", "val"]

PIXELS, INDEX = "pixels.bin", "index.json"
"""The files of a folder of photographs."""
PSEUDO = 3
"""Label of a keypoint that `sender.train.photographs.pseudo_keypoints` has placed; whether it is visible is unknown."""

_FORMAT = 3
# Longest side of a stored picture; larger ones are scaled down, panoramas never.
_SIDE_PX = 640
# A proposal with more than this share of its area in a crowd's box is in it.
_IN_CROWD = 0.5
# Share of each source that is the validation split.
_HELD_OUT = 100 / 604


@dataclass(frozen=True, slots=True)
class Photograph:
    """A photograph with its people; all positions in its pixels.

    Args:
        image: (H, W, 3) RGB.
        boxes: (n, 4) left, top, right, bottom.
        crowds: (m, 4) boxes that hold a crowd, or may: neither a person nor nobody.
        keypoints: (n, 17, 3) x, y and 0 unlabelled, 1 hidden, 2 visible or `PSEUDO`; all 0 where there are none.
        nobody: (k, 4) places where somebody is proposed, and nobody is (`sender.train.photographs.pseudo_keypoints`).
    """

    source: Source
    name: str
    image: Image
    boxes: FloatArray
    crowds: FloatArray
    keypoints: FloatArray
    nobody: FloatArray = field(default_factory=lambda: np.zeros((0, 4), np.float32))


class PhotographDataset:
    """The photographs of one split, as `convert` wrote them.

    Args:
        directory: its `out`.

    Raises:
        SourceError: the folder is missing, damaged or of another format.
    """

    def __init__(self, directory: Path, split: PhotographSplit) -> None:
        try:
            document = json.loads((directory / INDEX).read_text(encoding="utf-8"))
            self._pixels = np.memmap(directory / PIXELS, np.uint8, mode="r")
            entries = document["photographs"] if document["format"] == _FORMAT else None
        except (OSError, ValueError, KeyError) as error:
            raise SourceError(
                f"no photographs in {directory} ({error}): run sender.train.photographs.dataset"
            ) from error
        if entries is None:
            raise SourceError(f"{directory} is of another format: run sender.train.photographs.dataset again")
        self._entries: list[dict[str, Any]] = [entry for entry in entries if entry["split"] == split]

    def __len__(self) -> int:
        return len(self._entries)

    def indices(self, source: Source) -> list[int]:
        """The indices of the photographs of one source."""
        return [index for index, entry in enumerate(self._entries) if entry["source"] == source]

    def __getitem__(self, index: int) -> Photograph:
        entry = self._entries[index]
        stored = self._pixels[entry["offset"] : entry["offset"] + entry["bytes"]]
        shape = (*entry["size"], 3)
        return Photograph(
            entry["source"],
            entry["name"],
            stored.reshape(shape),
            np.array(entry["boxes"], np.float32).reshape(-1, 4),
            np.array(entry["crowds"], np.float32).reshape(-1, 4),
            np.array(entry.get("keypoints") or np.zeros((len(entry["boxes"]), 17, 3)), np.float32).reshape(-1, 17, 3),
            np.array(entry.get("nobody", ()), np.float32).reshape(-1, 4),
        )


def held_out(names: Sequence[str]) -> frozenset[str]:
    """The validation split of a source: the names with the lowest SHA-256, 100 of 604."""
    order = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    return frozenset(order[: round(len(names) * _HELD_OUT)])


def read_people(directory: Path) -> Iterator[Photograph]:
    """Photographs with keypoints: COCO's format, pictures in `images`."""
    document = read_json(directory / "keypoints.json")
    annotations: dict[int, list[dict[str, Any]]] = {}
    for annotation in document["annotations"]:
        annotations.setdefault(annotation["image_id"], []).append(annotation)
    for entry in document["images"]:
        people = annotations.get(entry["id"], [])
        boxes = np.array([person["bbox"] for person in people], np.float32).reshape(-1, 4)
        keypoints = np.array([person["keypoints"] for person in people], np.float32).reshape(-1, 17, 3)
        image = read_image(directory / "images" / entry["file_name"])
        yield Photograph("people", entry["file_name"], image, corners(boxes), corners(boxes[:0]), keypoints)


def read_openimages(directory: Path) -> Iterator[Photograph]:
    """Photographs with person boxes: `boxes.json`, name → [x, y, w, h] in 0…1."""
    for name, listed in sorted(read_json(directory / "boxes.json").items()):
        image = read_image(directory / f"{name}.jpg")
        height, width = image.shape[:2]
        boxes = corners(np.array(listed, np.float32).reshape(-1, 4))
        crowd = is_crowd(boxes)
        pixels = boxes * np.array([width, height, width, height], np.float32)
        people = pixels[~crowd]
        yield Photograph("openimages", name, image, people, pixels[crowd], np.zeros((len(people), 17, 3), np.float32))


def is_crowd(boxes_n4: FloatArray) -> BoolArray:
    """(n,) bool: boxes much wider than high, or around two others; most of those hold several people, not one."""
    width, height = (boxes_n4[:, 2:] - boxes_n4[:, :2]).T
    smaller = (width * height)[:, None] < 0.5 * width * height
    around = ((shares_inside(boxes_n4, boxes_n4) > 0.85) & smaller).sum(axis=0)
    return np.asarray((width > 1.3 * height) | (around >= 2), np.bool_)


def in_crowd(found_d4: FloatArray, crowds_m4: FloatArray) -> BoolArray:
    """(d,) detections of which more than half lies in a crowd's box."""
    return np.asarray((shares_inside(found_d4, crowds_m4) > _IN_CROWD).any(axis=1))


def shares_inside(found_d4: FloatArray, boxes_m4: FloatArray) -> FloatArray:
    """(d, m) share of each detection's area that lies in each box."""
    low = np.maximum(found_d4[:, None, :2], boxes_m4[None, :, :2])
    high = np.minimum(found_d4[:, None, 2:], boxes_m4[None, :, 2:])
    area = (found_d4[:, 2:] - found_d4[:, :2]).prod(axis=1).clip(1e-6)
    return np.asarray((high - low).clip(0).prod(axis=2) / area[:, None], np.float32)


def read_panoramas(directory: Path) -> Iterator[Photograph]:
    """Equirectangular pictures without people."""
    nobody = np.zeros((0, 4), np.float32)
    for path in sorted(directory.glob("*.jpg")):
        image = read_image(path)
        yield Photograph("panoramas", path.stem, image, nobody, nobody, np.zeros((0, 17, 3), np.float32))


_READERS = {"people": read_people, "openimages": read_openimages, "panoramas": read_panoramas}


def convert(folders: dict[Source, Path], out: Path) -> int:
    """Writes the photographs of several sources to `out`, and gives their number.

    Args:
        out: folder to write to; an earlier one is replaced.

    Raises:
        SourceError: a picture or an annotation is missing.
    """
    out.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    offset = 0
    with atomic_replacement(out / PIXELS) as partial, open(partial, "wb") as pixels:
        for source, folder in folders.items():
            photographs = [scaled(item, _SIDE_PX) for item in _READERS[source](folder)]
            validation = held_out([item.name for item in photographs])
            for item in photographs:
                split = "val" if item.name in validation else "train"
                entry: dict[str, Any] = {"split": split, "size": item.image.shape[:2]}
                entry |= {"offset": offset, "bytes": item.image.nbytes, "source": item.source, "name": item.name}
                # Positions with a digit behind the point; of what only some photographs have, what there is.
                for name in ("boxes", "crowds", "keypoints", "nobody"):
                    positions = getattr(item, name).astype(np.float64)
                    if name in ("boxes", "crowds") or positions.any():
                        entry[name] = positions.round(1).tolist()
                entries.append(entry)
                offset += pixels.write(item.image.tobytes())
    atomic_write(out / INDEX, json.dumps({"format": _FORMAT, "photographs": entries}).encode())
    return len(entries)


def scaled(photograph: Photograph, side: int) -> Photograph:
    """The photograph, scaled down if it is longer than `side` and no panorama."""
    height, width = photograph.image.shape[:2]
    factor = side / max(height, width)
    if factor >= 1 or photograph.source == "panoramas":
        return photograph
    return resized(photograph, (max(1, round(width * factor)), max(1, round(height * factor))))


def resized(photograph: Photograph, size: tuple[int, int]) -> Photograph:
    """The photograph and its annotations at another width and height."""
    stretch = (np.array(size) / photograph.image.shape[1::-1]).astype(np.float32)
    return replace(
        photograph,
        image=np.asarray(cv2.resize(photograph.image, size, interpolation=cv2.INTER_AREA), np.uint8),
        keypoints=photograph.keypoints * np.append(stretch, np.float32(1)),
        **{name: getattr(photograph, name) * np.tile(stretch, 2) for name in ("boxes", "crowds", "nobody")},
    )


def corners(boxes: FloatArray) -> FloatArray:
    """(…, 4) x, y, w, h → left, top, right, bottom."""
    return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)


def read_image(path: Path) -> Image:
    """A picture (H, W, 3) RGB.

    Raises:
        SourceError: it is missing or damaged.
    """
    image = cv2.imread(str(path))
    if image is None:
        raise SourceError(f"{path} is missing or is no picture")
    return np.asarray(image[..., ::-1], np.uint8)


def read_json(path: Path) -> Any:
    """A source's annotations. Raises SourceError if they are missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot read the annotations {path}: {error}") from error


def read_table(path: Path) -> Iterator[dict[str, str]]:
    """The lines of a table of judgements, by column: tab-separated, with a header. Raises SourceError if unreadable."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file, delimiter="\t")
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.photographs.dataset", __doc__)
    for source in SOURCES:
        parser.add_argument(f"--{source}", type=Path, metavar="DIR", help=f"folder of the source {source}")
    parser.add_argument("--out", type=Path, default=Path("photographs"), help="folder to write (default: %(default)s)")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    folders: dict[Source, Path] = {name: getattr(options, name) for name in SOURCES if getattr(options, name)}
    if not folders:
        raise UsageError(f"name at least one source: --{', --'.join(SOURCES)}")
    print(f"{convert(folders, options.out)} photographs in {options.out}")


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.photographs.dataset", main))
