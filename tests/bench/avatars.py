"""Clothed people of another hand than ours, rebuilt from one picture each: `python -m tests.bench.avatars`.

    avatar, painted ─ picture in a drawn room ─ sender, codec, receiver ─ aligned by 12 joints ─ Chamfer distance

Avatars stand as they were made, arms half raised, turned by up to 35°.  `--avatars` is a folder with an `index.json`
(`receiver.train.avatars`), of which those are taken that are spread evenly over it:

    found_share            avatars that are found
    pa_mpjpe_mm            12 joints from the shoulders down, after the similarity that aligns them best
    pa_chamfer_mm          of the surface, after the same; pa_chamfer_median_mm
    pa_chamfer_bare_mm     of the skinned body without clothes
    over_bare              mean of the one over that of the other, ± one standard error
    wears_…                share of the avatars whose attribute is read as it was judged

--sheet writes a picture (`tests.bench.sheet`).
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from common.arrays import Image
from common.frames import Camera
from common.synthetic.scene.backgrounds import make_room
from common.wear_kinds import CLOTHES
from receiver.engine.engine import ReconstructedPerson
from receiver.mesh.render import render
from receiver.train.avatars import Avatar, read_avatars
from sender.capture.source import CapturedFrame
from sender.perception.config import TrackerConfig
from tests.bench import measures, report
from tests.bench.measures import Surface, ratio_of_means
from tests.bench.painted_avatar import JOINTS, PaintedAvatar, painted
from tests.bench.published_colours import PublishedColours
from tests.bench.sheet import Pictured, write_sheet
from tests.bench.whole_system import WholeSystem

_CAMERA = Camera(480, 640, 620.0)
# Rendered at this multiple, then reduced.
_SUPERSAMPLING = 2
_DISTANCE_M, _CAMERA_HEIGHT_M, _MOST_TURN = 2.3, 1.0, np.radians(35)
_TILE_PX = (240, 320)


def placed(avatar: PaintedAvatar, turn: float) -> PaintedAvatar:
    """The avatar before the camera, turned about the vertical."""
    cosine, sine = np.cos(turn), np.sin(turn)
    about = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    place = np.array([0, _CAMERA_HEIGHT_M, _DISTANCE_M])
    vertices = (avatar.mesh.vertices @ about.T + place).astype(np.float32)
    return PaintedAvatar(replace(avatar.mesh, vertices=vertices), avatar.joints @ about.T + place)


def photograph(avatar: PaintedAvatar, rng: np.random.Generator) -> Image:
    """(H, W, 3) RGB before a room."""
    width, height = (_SUPERSAMPLING * side for side in (_CAMERA.width, _CAMERA.height))
    room = np.clip(make_room(rng, height), 0, 255).astype(np.uint8)[:, (height - width) // 2 :][:, :width]
    large = Camera(width, height, _SUPERSAMPLING * _CAMERA.focal_px)
    drawn = render(avatar.mesh, large, onto=np.ascontiguousarray(room))
    size = (_CAMERA.width, _CAMERA.height)
    return np.asarray(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA), np.uint8)


def rebuild(avatar: Avatar, number: int, seed: int, system: WholeSystem) -> tuple[Pictured, dict[str, float]]:
    """One avatar's picture through the system, and its figures."""
    rng = np.random.default_rng([seed, number])
    truth = placed(painted(avatar, rng), rng.uniform(-_MOST_TURN, _MOST_TURN))
    picture = photograph(truth, rng)
    sent = system.send(CapturedFrame(number, avatar.name, 0.0, 0.0, picture, _CAMERA))
    colours = PublishedColours(stills=True)
    colours.update(picture, _CAMERA, sent.observed, sent.labels.people)
    people = system.receive(sent, colours).people
    found = {"found_share": float(bool(people))}
    if not people:
        return Pictured(picture, _CAMERA, []), found
    person = people[0]
    read = {name: value for name, (value, _) in sent.worn[person.labels.identity].likeliest().items()}
    judged = [name for name in CLOTHES if avatar.attributes.get(name) in CLOTHES[name]]
    right = {f"wears_{name}": float(read[name] == avatar.attributes[name]) for name in judged}
    return Pictured(picture, _CAMERA, [person.surface]), found | distances(person, truth, system) | right


def distances(person: ReconstructedPerson, truth: PaintedAvatar, system: WholeSystem) -> dict[str, float]:
    """Distances from the avatar after the alignment."""
    joints = person.joints_3d[list(JOINTS)]
    target = Surface(truth.mesh.vertices, truth.mesh.faces)
    figures = {"pa_mpjpe_mm": measures.mean_distance_mm(measures.procrustes(joints, truth.joints), truth.joints)}
    for name, mesh in (("", person.surface), ("_bare", system.receiver.bare(person.labels))):
        moved = measures.procrustes(joints, truth.joints, mesh.vertices)
        figures[f"pa_chamfer{name}_mm"] = measures.surface_distances(Surface(moved, mesh.faces), target)["chamfer_mm"]
    return figures


def summary(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over the avatars, of what was found and judged."""
    names = dict.fromkeys(name for row in rows for name in row)
    means = {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
    found = [row for row in rows if "pa_chamfer_mm" in row]
    own, bare = (np.array([row[name] for row in found]) for name in ("pa_chamfer_mm", "pa_chamfer_bare_mm"))
    ratio, error = ratio_of_means(own, bare)
    median = {"pa_chamfer_median_mm": float(np.median(own))}
    return means | median | {"over_bare": ratio, "over_bare_standard_error": error}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("avatars", __doc__, 7)
    parser.add_argument("--avatars", type=Path, required=True, metavar="DIR", help="folder with an index.json")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="write a picture of the avatars to this PNG file")
    report.add_amount(parser, "--count", "number of avatars", 86, 12, report.at_least(1))
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    known = list(read_avatars(options.avatars))
    chosen = [known[row] for row in np.unique(np.linspace(0, len(known) - 1, options.count).round().astype(int))]
    system = WholeSystem(TrackerConfig(max_people=1))
    pictured, rows = zip(
        *(rebuild(each, number, options.seed, system) for number, each in enumerate(chosen)), strict=True
    )
    if options.sheet:
        write_sheet(options.sheet, pictured, _TILE_PX)
    report.publish(options, {"bodywire": summary(rows)}, f"{len(chosen)} avatars, seed {options.seed}")


if __name__ == "__main__":
    sys.exit(main())
