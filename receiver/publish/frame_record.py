"""One line of `frames.jsonl`: the published record of a frame."""

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from common.arrays import FloatArray
from common.body.anatomy import FACIAL_ACTIONS, FINGER_BONES
from common.frames import Camera, seen_limbs, unseen_limbs
from common.imaging.pictures import focal_sigma
from common.wears import Wears
from receiver.body.person_scale import PersonScale
from receiver.link.session import SenderClock

if TYPE_CHECKING:
    from receiver.engine.engine import ReconstructedPerson
    from receiver.mesh.skinned_glb import Skeleton

# The oldest frames are those that a sender without a link has kept in its spool. A larger age or clock error comes from
# a wrong clock.
_MAX_AGE_S = 30 * 86_400.0


def age_and_error_ms(now_s: float, captured_at: float, clock: SenderClock | None) -> tuple[float | None, float | None]:
    """Age of a frame and its largest error in milliseconds; None where unknown, or absurd because a clock is wrong.

    Args:
        now_s: the present on this machine's clock, seconds since the epoch.
        captured_at: of the frame, on the sender's clock.
        clock: offset of the two; before they are compared it is taken as zero: on one machine it is.
    """
    age_s = now_s - (clock.offset_s if clock else 0.0) - captured_at
    age_ms = age_s * 1e3 if abs(age_s) <= _MAX_AGE_S else None
    return age_ms, clock.error_s * 1e3 if clock and clock.error_s <= _MAX_AGE_S else None


_DECIMALS = 4
_SCALE = tuple(each.name for each in dataclasses.fields(PersonScale))
_MESH = re.compile(r"meshes/[^/\0]*[^/\0.][^/\0]*")


@dataclass(frozen=True, slots=True)
class PersonRecord:
    """One person of a frame.

    Args:
        identity: track id, stable within a session.
        score: the sender's detection confidence, 0…1.
        keypoints_2d: (17, 3) x, y, score; COCO order, pixels of the source.
        joints_3d: (17, 3) metres in camera space (x right, y down, z forward).
        surface: path of the surface mesh relative to the output directory, or None.
        body: path of the body mesh relative to the output directory, or None.
        wears: None while nothing is known.
        scale: how tall the person is, and how sure height and distance are; None if that is not known.
        unseen: attributes of `wears` of whose garments no camera has seen anything, so that shape and colour are what
            is usual: `layer`, `bottom`, `shoes`.  What shows a person should say so.
        unseen_limbs: limbs that no camera sees in this frame (`common.frames.unseen_limbs`): their pose is invented.
        activations: (52,) of the facial actions, 0…1; None if nothing is known of the face.
        fingers: (30, 3) rotation vectors of the phalanges; None if nothing is known of them but their curl.
        face_seen_s: seconds for which the face was seen until now; None if nothing is known of the face.
        labels: group name → entries, as the person was reconstructed from them (`common.labels`).
    """

    identity: int
    score: float
    keypoints_2d: FloatArray
    joints_3d: FloatArray
    surface: str | None = None
    body: str | None = None
    wears: Wears | None = None
    scale: PersonScale | None = None
    unseen: tuple[str, ...] = ()
    unseen_limbs: Set[str] = frozenset()
    activations: FloatArray | None = None
    fingers: FloatArray | None = None
    face_seen_s: float | None = None
    labels: Mapping[str, FloatArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.keypoints_2d.shape != (17, 3) or self.joints_3d.shape != (17, 3):
            raise ValueError(
                f"keypoints and joints must be (17, 3), got {self.keypoints_2d.shape} and {self.joints_3d.shape}"
            )

    @classmethod
    def of(
        cls,
        person: "ReconstructedPerson",
        wears: Wears | None,
        skeleton: "Skeleton",
        surface: str | None = None,
        body: str | None = None,
        face_seen_s: float | None = None,
    ) -> Self:
        """The record of a reconstructed person, of whose clothes `wears` is known, and the paths of the meshes."""
        return cls(
            person.labels.identity,
            person.labels.score,
            person.keypoints_2d,
            person.joints_3d,
            surface,
            body,
            wears,
            person.scale,
            person.body.texture.unseen if person.body.texture else (),
            unseen_limbs(person.labels),
            person.body.activations,
            finger_rotations(person, skeleton),
            face_seen_s,
            person.labels.labels,
        )


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """One frame.

    Args:
        sequence: the frame's number within its session.
        source: file name or device.
        captured_at: seconds since the epoch, sender's clock.
        age_ms: from capture to the written meshes, on the receiver's clock; None if unknown.
        clock_error_ms: uncertainty of the clock offset in it; None if unknown.
        bytes_by_group: payload bytes under "total" and under each label group that was sent.
        rho: ρ of each label group.
        stages_ms: milliseconds spent in each stage.
        people: most prominent first.
        left_out: number of people that were sent but not reconstructed.
        link_bytes: everything on the session's link so far, in both directions; None without a link.
        camera: in whose space the joints are; None in records without people.
    """

    sequence: int
    source: str
    captured_at: float
    age_ms: float | None
    clock_error_ms: float | None
    bytes_by_group: Mapping[str, int]
    rho: Mapping[str, float] = field(default_factory=dict)
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    people: tuple[PersonRecord, ...] = ()
    left_out: int = 0
    link_bytes: int | None = None
    camera: Camera | None = None

    def as_dict(self, session: int, *, labels: bool = False) -> dict[str, Any]:
        """The line as the JSON object that it encodes, of the session of this number in the output directory.

        Args:
            labels: with the people's, which only the file has.
        """
        line = {
            "seq": self.sequence,
            "session": session,
            "source": self.source,
            "captured_at": round(self.captured_at, 6),
            "age_ms": _number(self.age_ms),
            "clock_error_ms": _number(self.clock_error_ms),
            "bytes": {name: int(count) for name, count in self.bytes_by_group.items()},
            "rho": {name: _number(value) for name, value in self.rho.items()},
            "stages_ms": {name: _number(value) for name, value in self.stages_ms.items()},
            "people": [_person(person) | (_labels(person) if labels else {}) for person in self.people],
        }
        if self.camera is not None:
            size = {"width": self.camera.width, "height": self.camera.height}
            lens = {"focal_px": _number(self.camera.focal_px), "focal_sigma": focal_sigma(self.camera)}
            line["camera"] = {**size, **lens}
        if self.left_out:
            line["left_out"] = self.left_out
        if self.link_bytes is not None:
            line["link_bytes"] = self.link_bytes
        return line


def encode_line(fields: dict[str, Any]) -> str:
    """`FrameRecord.as_dict` as a line without its newline."""
    return json.dumps(fields, separators=(",", ":"), allow_nan=False)


def pose_as_dict(keypoints_2d: FloatArray, joints_3d: FloatArray, unseen_limbs: Set[str]) -> dict[str, Any]:
    """Keypoints and joints, (17, 3) each, and what is seen, as the JSON object that all outputs have of them."""
    return {"keypoints_2d": _rows(keypoints_2d), "joints_3d": _rows(joints_3d), "seen": seen_limbs(unseen_limbs)}


def scale_as_dict(scale: PersonScale | None) -> dict[str, Any]:
    """How large a person is as the JSON object that all outputs have of it; empty if that is not known."""
    return {} if scale is None else {name: _number(getattr(scale, name)) for name in _SCALE}


def detail_as_dict(activations: FloatArray | None, fingers: FloatArray | None) -> dict[str, Any]:
    """Facial actions (52,) and rotation vectors of phalanges (30, 3) as the JSON that outputs have of them."""
    detail: dict[str, Any] = {}
    if activations is not None and np.isfinite(activations).all():
        detail["face"] = dict(zip(FACIAL_ACTIONS, np.round(activations.astype(float), 2).tolist(), strict=True))
    if fingers is not None and np.isfinite(fingers).all():
        detail["fingers"] = np.round(fingers.astype(float), 3).tolist()
    return detail


def finger_rotations(person: "ReconstructedPerson", skeleton: "Skeleton") -> FloatArray | None:
    """(30, 3) rotation vectors of a person's phalanges relative to the bones before them, as `PersonRecord.fingers`."""
    known = any(group in person.labels.labels for group in ("left_fingers", "right_fingers"))
    phalanges = slice(-len(FINGER_BONES), None)
    if not known or skeleton.names[phalanges] != FINGER_BONES:
        return None
    # SciPy takes a while to import: a directory that is in use is told before.
    from scipy.spatial.transform import Rotation

    rotations = person.body.joint_rotations
    before = rotations[skeleton.parents[phalanges]]
    turns = Rotation.from_matrix(before.swapaxes(1, 2) @ rotations[phalanges], assume_valid=True)
    return np.asarray(turns.as_rotvec(), np.float32)


def mesh_path(value: object) -> str | None:
    """Checks a `surface` or `body` of a line that somebody else may have written.

    Raises:
        ValueError: it is neither null nor the path of a file in `meshes`.
    """
    if value is None or (isinstance(value, str) and _MESH.fullmatch(value)):
        return value
    raise ValueError("a path is neither that of a mesh nor null")


def _person(person: PersonRecord) -> dict[str, Any]:
    """A person as a JSON object."""
    return {
        "id": person.identity,
        "score": _number(person.score),
        **pose_as_dict(person.keypoints_2d, person.joints_3d, person.unseen_limbs),
        **scale_as_dict(person.scale),
        **detail_as_dict(person.activations, person.fingers),
        **({} if person.face_seen_s is None else {"face_neutral": round(person.face_seen_s, 2)}),
        "surface": person.surface,
        "body": person.body,
        **(_wears(person.wears) if person.wears else {}),
        **({"unseen": list(person.unseen)} if person.unseen else {}),
    }


def _labels(person: PersonRecord) -> dict[str, Any]:
    rounded = {name: np.round(each.astype(float), 3).tolist() for name, each in person.labels.items()}
    return {"labels": rounded} if rounded else {}


@lru_cache(maxsize=64)
def _wears(wears: Wears) -> dict[str, Any]:
    likeliest = {name: [value, _number(share)] for name, (value, share) in wears.likeliest().items()}
    return {"wears": likeliest, "wears_sets": wears.sets()}


def _rows(values: FloatArray) -> list[list[float | None]]:
    if np.isfinite(values).all():
        rounded: list[list[float | None]] = np.round(values.astype(float), _DECIMALS).tolist()
        return rounded
    return [[_number(value) for value in row] for row in values.tolist()]


def _number(value: float | None) -> float | None:
    """Rounded to four decimals (0.1 mm, 0.1 µs); None for NaN and infinity, which JSON lacks."""
    return None if value is None or not math.isfinite(value) else round(float(value), _DECIMALS)


def rounded_bytes(shares: Mapping[str, float], total: float) -> dict[str, int]:
    """Byte shares of the groups as integers under their names, and the payload's length under `total`."""
    return {"total": round(total), **{name: round(share) for name, share in shares.items()}}
