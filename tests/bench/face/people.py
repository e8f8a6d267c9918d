"""Landmarks of photographed faces: what faces of real people look like to the networks."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from common.errors import SourceError
from sender.face.landmarks import FaceLandmarks, FaceReader, read_closely, region_of_keypoints

JUDGED = Path(__file__).with_name("judged_faces.tsv")
"""Faces of `people` that a person has judged: annotation, mouth, smile, lids; `?` where it cannot be seen."""
LEAST_SCORE = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class PhotographedFace:
    """A face of the photographs `people`.

    Args:
        annotation: its number.
    """

    annotation: int
    landmarks: FaceLandmarks


def judged_faces() -> dict[int, tuple[str, ...]]:
    """Annotation → mouth (closed, parted, open), smile (no, yes), lids (open, closed, down)."""
    rows = (line.split("\t") for line in JUDGED.read_text(encoding="utf-8").splitlines()[1:])
    return {int(row[0]): tuple(row[1:]) for row in rows}


def read_faces(folder: Path, reader: FaceReader, least_eyes_px: float) -> Iterator[PhotographedFace]:
    """Faces of the photographs `people` whose nose and eyes are visible.

    Args:
        least_eyes_px: least distance of the eyes.

    Raises:
        SourceError: a photograph is missing.
    """
    document = json.loads((folder / "keypoints.json").read_text(encoding="utf-8"))
    files = {image["id"]: image["file_name"] for image in document["images"]}
    for annotation in document["annotations"]:
        name, keypoints = files[annotation["image_id"]], np.asarray(annotation["keypoints"], np.float32).reshape(-1, 3)
        eyes_px = np.linalg.norm(keypoints[1, :2] - keypoints[2, :2])
        if (keypoints[:3, 2] < 2).any() or eyes_px < least_eyes_px:
            continue
        picture = cv2.imread(str(folder / "images" / name), cv2.IMREAD_COLOR)
        if picture is None:
            raise SourceError(f"{folder} lacks the picture {name}")
        image = np.ascontiguousarray(picture[..., ::-1], np.uint8)
        face = read_closely(reader, image, region_of_keypoints(keypoints[:, :2]), LEAST_SCORE)
        if face is not None:
            yield PhotographedFace(int(annotation["id"]), face)
