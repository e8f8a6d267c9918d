"""People who stand and face the camera, as rebuilt, from the side: `python -m tests.bench.side_views`.

Rendered people in standing poses of the test split, whose bodies are known, and with `--photographs DIR` people of
held-back photographs who stand by their annotated keypoints.  Each picture passes sender, codec and receiver alone.

    knees_deg, knees_worst_deg    mean flexion of the knees, 0 if straight, and that of the most bent one
    trunk_deg, trunk_size_deg     mean lean of the trunk, forwards positive, and that of its size
    trunk_worst_deg               the largest lean either way
    …_error_…                     likewise, differences from the truth
    upright                       share of the people whose knees are within 10° of the truth, and the trunk within 8°

`--out PNG` draws six rendered people and ten of photographs, each beside the body as it is seen from their right.
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from common.arrays import BoolArray, Box, Float64Array, FloatArray, Image
from common.body.anatomy import COCO_KEYPOINTS
from common.body.model import BodyModel, BodyParameters, KeypointKinematics
from common.body.rotations import axis_angle_to_matrix
from common.errors import OutputError
from common.frames import Camera
from common.synthetic.dataset.split import clip_split
from common.synthetic.motion.motion_table import Clip, load_table
from common.synthetic.render_clip import FPS
from receiver.engine.engine import ReconstructedPerson
from receiver.mesh.render import render
from receiver.mesh.triangle_mesh import SurfaceMesh
from sender.capture.source import CapturedFrame
from sender.perception.config import TrackerConfig
from sender.perception.inference.crop import CropBox
from tests.bench import report
from tests.bench.moving_clips import CAMERA, MovingClipRenderer, decoded
from tests.bench.photo_scores import AnnotatedPerson, image_id, read_annotations
from tests.bench.photos import read_frames
from tests.bench.whole_system import whole_system

DRAWN_RENDERED, DRAWN_PHOTOGRAPHS, COLUMNS = 6, 10, 4
KNEES_WITHIN_DEG, TRUNK_WITHIN_DEG = 10.0, 8.0
_TILE_PX, _CAPTION_PX, _DISTANCE_M = 224, 18, 8.0
_SHOULDERS, _HIPS, _KNEES, _ANKLES = (
    [COCO_KEYPOINTS.index(f"{side}_{part}") for side in ("left", "right")]
    for part in ("shoulder", "hip", "knee", "ankle")
)
# Who stands: knees and trunk are straight to within this; in photographs, the legs are not foreshortened either.
_STANDS_DEG, _LEAST_PX, _LEAST_LEG, _LEAST_THIGH, _LEAST_WIDTH = 15.0, 120, 1.25, 0.75, 0.3
_SAME_PERSON, _MARGIN = 0.2, 0.15


@dataclass(frozen=True, eq=False)
class Shown:
    """One person: picture (H, W, 3) RGB, box, true joints (17, 3) if known, and who was rebuilt there, if anybody."""

    picture: Image
    box: Box
    truth: FloatArray | None
    found: ReconstructedPerson | None


def axes(joints: FloatArray) -> Float64Array:
    """(3, 3) rows: forwards, down and to the left of a person (17, 3) in a level camera's axes."""
    across = np.subtract(*joints[_HIPS].astype(np.float64)) * (1, 0, 1)
    down, left = np.array([0.0, 1.0, 0.0]), across / max(float(np.linalg.norm(across)), 1e-9)
    return np.stack([np.cross(down, left), down, left])


def knees_deg(joints: FloatArray | Float64Array) -> Float64Array:
    """(2,) flexion of joints (17, 2 or 3), degrees; 0 if a leg is straight."""
    thigh, shank = joints[_KNEES] - joints[_HIPS], joints[_ANKLES] - joints[_KNEES]
    cosine = (thigh * shank).sum(axis=1) / np.linalg.norm(thigh, axis=1) / np.linalg.norm(shank, axis=1)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1, 1))), np.float64)


def trunk_deg(joints: FloatArray) -> float:
    """Lean of the trunk of joints (17, 3), y down, degrees; forwards is positive."""
    forwards, down, _ = axes(joints) @ (joints[_SHOULDERS].mean(axis=0) - joints[_HIPS].mean(axis=0))
    return float(np.degrees(np.arctan2(forwards, -down)))


def standing_poses(count: int) -> list[Clip]:
    """Poses of the test split in which people stand, of one frame, without a heading: they face the camera."""
    table = load_table()
    test = [row for row, clip in enumerate(table.pose_clip) if clip_split(table.clip_names[clip]) == "test"]
    vectors = table.poses[test]
    rotations, rest = axis_angle_to_matrix(torch.from_numpy(vectors)), BodyParameters.rest(len(test))
    with torch.no_grad():
        bodies = BodyParameters(rotations, rest.curl, rest.shape, rest.translation)
        joints = KeypointKinematics(BodyModel.load())(bodies)[0].numpy()
    stands = [row for row, each in enumerate(joints) if max(*knees_deg(each), abs(trunk_deg(each))) < _STANDS_DEG]
    chosen = np.linspace(0, len(stands) - 1, count).round().astype(int)
    still = np.zeros((1, 3), np.float32)
    return [Clip("standing", vectors[[stands[number]]], still, FPS) for number in chosen]


def stands_before_camera(person: AnnotatedPerson) -> bool:
    """Whether the annotated keypoints are those of somebody who stands upright and faces the camera, large enough."""
    needed, points = [*_SHOULDERS, *_HIPS, *_KNEES, *_ANKLES], person.keypoints
    if not person.labelled[needed].all() or person.height_px < _LEAST_PX:
        return False
    trunk, legs = (
        points[low].mean(axis=0) - points[high].mean(axis=0) for low, high in ((_HIPS, _SHOULDERS), (_ANKLES, _HIPS))
    )
    thighs, shanks = (np.diff(points[[_HIPS, _KNEES, _ANKLES], 1].mean(axis=1))).tolist()
    lean = abs(np.degrees(np.arctan2(trunk[0], trunk[1])))
    width = (points[_SHOULDERS[0]] - points[_SHOULDERS[1]])[0] / max(np.linalg.norm(trunk), 1)
    # The thighs of who sits are foreshortened.
    upright = legs[1] > _LEAST_LEG * trunk[1] > 0 and thighs > _LEAST_THIGH * shanks
    return bool(upright and lean < _STANDS_DEG and knees_deg(points).max() < _STANDS_DEG and width > _LEAST_WIDTH)


class Sides:
    """The whole system on single pictures. Raises WeightsError if weights are missing."""

    def __init__(self) -> None:
        self._system, self._numbers = whole_system(TrackerConfig(10)), itertools.count()

    def rendered(self, count: int, seed: int) -> list[Shown]:
        """People in standing poses. Raises RendererUnavailable."""
        renderer, shown = MovingClipRenderer(), list[Shown]()
        for number, pose in enumerate(standing_poses(count)):
            clip = renderer.of(pose, seed, number)
            picture, truth = next(decoded(clip.encoded)), clip.joints_3d[0]
            points = CAMERA.project(truth)
            people = self._people(CapturedFrame(0, f"rendered {number}", 0.0, 0.0, picture, CAMERA))
            shown.append(_shown(picture, points, np.ones(17, bool), truth, people))
        return shown

    def photographed(self, folder: Path, most: int | None) -> list[Shown]:
        """The first who stand in the held-back photographs of a folder with `images` and `keypoints.json`."""
        annotations, shown = read_annotations(folder / "keypoints.json"), list[Shown]()
        for frame in read_frames(str(folder / "images"), held_out_only=True):
            standing = [
                each for each in annotations.get(image_id(frame.source) or -1, ()) if stands_before_camera(each)
            ]
            if not standing or (most is not None and len(shown) >= most):
                continue
            people = self._people(frame)
            shown += [_shown(frame.image, each.keypoints, each.labelled, None, people) for each in standing]
        return shown

    def _people(self, frame: CapturedFrame) -> Sequence[ReconstructedPerson]:
        return self._system.rebuild(replace(frame, sequence=next(self._numbers))).people


def _shown(
    picture: Image,
    points: FloatArray | Float64Array,
    known: BoolArray,
    truth: FloatArray | None,
    people: Sequence[ReconstructedPerson],
) -> Shown:
    """Who of the people of a picture is nearest to keypoints (17, 2), within a fifth of their extent."""
    low, high = points[known].min(axis=0), points[known].max(axis=0)
    side = float((high - low).max())
    far = [np.linalg.norm(each.keypoints_2d[:, :2] - points, axis=1)[known].mean() for each in people]
    nearest = int(np.argmin(far)) if far and min(far) < _SAME_PERSON * side else None
    box = np.concatenate([low - _MARGIN * side, high + _MARGIN * side]).astype(np.float32)
    return Shown(picture, box, truth, None if nearest is None else people[nearest])


def figures(shown: Sequence[Shown]) -> dict[str, float]:
    """Over those who are found; see the module."""
    found = [(each.found.joints_3d, each.truth) for each in shown if each.found]
    knees, trunk = np.array([knees_deg(own) for own, _ in found]), np.array([trunk_deg(own) for own, _ in found])
    known = [(own, true) for own, true in found if true is not None]
    scores = {"people": len(shown), "found": len(found), **_angles("", knees, trunk)}
    if known:
        knees = np.array([knees_deg(own) - knees_deg(true) for own, true in known])
        trunk = np.array([trunk_deg(own) - trunk_deg(true) for own, true in known])
        right = (np.abs(knees).max(axis=1) <= KNEES_WITHIN_DEG) & (np.abs(trunk) <= TRUNK_WITHIN_DEG)
        scores |= {**_angles("error_", knees, trunk), "upright": float(right.mean())}
    return scores


def _angles(what: str, knees: Float64Array, trunk: Float64Array) -> dict[str, float]:
    return {
        f"knees_{what}deg": float(np.abs(knees).mean()),
        f"knees_worst_{what}deg": float(np.abs(knees).max()),
        f"trunk_{what}deg": float(trunk.mean()),
        f"trunk_{what}size_deg": float(np.abs(trunk).mean()),
        f"trunk_worst_{what}deg": float(np.abs(trunk).max()),
    }


def tile(shown: Shown) -> Image:
    """(242, 448, 3) RGB: the picture around a person, and the surface from the person's right, over the angles."""
    canvas = np.full((_TILE_PX + _CAPTION_PX, 2 * _TILE_PX, 3), 255, np.uint8)
    canvas[:_TILE_PX, :_TILE_PX] = CropBox.around(shown.box, 1.0).cut(shown.picture, _TILE_PX)
    caption = "not found"
    if shown.found:
        joints, surface = shown.found.joints_3d, shown.found.surface
        seen = (surface.vertices - surface.vertices.mean(axis=0)) @ axes(joints).T
        height = float(np.ptp(seen[:, 1]))
        placed = (seen - [0, (seen[:, 1].max() + seen[:, 1].min()) / 2, -_DISTANCE_M]).astype(np.float32)
        camera = Camera(_TILE_PX, _TILE_PX, 0.9 * _TILE_PX * _DISTANCE_M / height)
        canvas[:_TILE_PX, _TILE_PX:] = render(SurfaceMesh(placed, surface.faces, surface.colours), camera)
        caption = _caption(joints) + (f", true {_caption(shown.truth)}" if shown.truth is not None else "")
    cv2.putText(canvas, caption, (4, _TILE_PX + 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return canvas


def _caption(joints: FloatArray) -> str:
    left, right = knees_deg(joints)
    return f"knees {left:.0f} {right:.0f}, trunk {trunk_deg(joints):.0f}"


def write_sheet(path: Path, shown: Sequence[Shown]) -> None:
    """Raises OutputError if the file cannot be written."""
    tiles = [tile(each) for each in shown]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % COLUMNS)
    rows = [np.concatenate(tiles[first : first + COLUMNS], axis=1) for first in range(0, len(tiles), COLUMNS)]
    if not cv2.imwrite(str(path), cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR)):
        raise OutputError(f"cannot write {path}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("side_views", __doc__, 7)
    report.add_amount(parser, "--count", "rendered people", 24, DRAWN_RENDERED, report.at_least(DRAWN_RENDERED))
    parser.add_argument("--photographs", type=Path, metavar="DIR", help="folder with images and keypoints.json")
    parser.add_argument("--out", type=Path, metavar="PNG", help="where the sheet is written")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    sides = Sides()
    groups = {"rendered": sides.rendered(options.count, options.seed)}
    if options.photographs:
        groups["photographs"] = sides.photographed(options.photographs, DRAWN_PHOTOGRAPHS if options.quick else None)
    report.publish(options, {name: figures(group) for name, group in groups.items()}, f"seed {options.seed}")
    if options.out:
        drawn = zip(groups.values(), (DRAWN_RENDERED, DRAWN_PHOTOGRAPHS), strict=False)
        write_sheet(options.out, [each for group, most in drawn for each in group[:most]])


if __name__ == "__main__":
    sys.exit(main())
