"""A small set of photographs on the disk, in the formats of the three sources."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.wear_kinds import VALUES
from common.wears import UNKNOWN
from sender.train import wears
from sender.train.photographs.dataset import SOURCES, Source


def write_photographs(directory: Path, count: int = 13) -> dict[Source, Path]:
    """Writes `count` pictures of each source, with one red person in each of the first two."""
    folders: dict[Source, Path] = {name: directory / name for name in SOURCES}
    (folders["people"] / "images").mkdir(parents=True)
    for source in ("openimages", "panoramas"):
        (directory / source).mkdir()
    images, annotations, boxes = [], [], {}
    for number in range(count):
        picture = np.full((96, 128, 3), 60, np.uint8)
        left, top = 20 + number, 16
        picture[top : top + 64, left : left + 32] = (0, 0, 255)
        cv2.imwrite(str(folders["people"] / "images" / f"{number}.png"), picture)
        square = cv2.resize(picture, (96, 96))
        cv2.imwrite(str(folders["openimages"] / f"id{number}.jpg"), square)
        cv2.imwrite(str(folders["panoramas"] / f"place{number}.jpg"), np.full((64, 128, 3), 90, np.uint8))
        images.append({"id": number, "file_name": f"{number}.png", "license": 4, "flickr_url": f"http://x/{number}"})
        joints = [value for joint in range(17) for value in (left + joint, top + 3 * joint, 2 if joint else 0)]
        annotations.append(
            {"id": number, "image_id": number, "bbox": [left, top, 32, 64], "keypoints": joints, "num_keypoints": 16}
        )
        boxes[f"id{number}"] = [[left / 128, top / 96, 32 / 128, 64 / 96]]
    licences = [{"id": 4, "name": "Attribution License", "url": "http://creativecommons.org/licenses/by/2.0/"}]
    document = {"images": images, "annotations": annotations, "licenses": licences}
    (folders["people"] / "keypoints.json").write_text(json.dumps(document))
    (folders["openimages"] / "boxes.json").write_text(json.dumps(boxes))
    return folders


def write_judgements(folders: dict[Source, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Says that everybody of the sources `people` and `openimages` wears short sleeves."""
    kinds = "\t".join("short" if name == "sleeve" else UNKNOWN for name in VALUES)
    columns = "\t".join(VALUES)
    header, count = f"annotation_id\t{columns}", len(list((folders["people"] / "images").iterdir()))
    lines = [f"{number}\t{kinds}" for number in range(count)]
    more = folders["people"] / "more_wears.tsv"
    for path, judged in ((folders["people"] / "wears.tsv", lines[:-3]), (more, lines[-3:])):
        path.write_text("\n".join([header, *judged]) + "\n")
    monkeypatch.setattr(wears, "_PEOPLE", more)
    there = folders["openimages"] / "wears.tsv"
    lines = [f"id{number}\t0\t{('4:3', '3:4')[number % 2]}\t{kinds}" for number in range(count)]
    there.write_text("\n".join([f"photograph\tbox\tproportions\t{columns}", *lines]) + "\n")
    monkeypatch.setattr(wears, "_OPENIMAGES", there)
