"""Data that the stages exchange for each frame: frozen dataclasses without protobuf or torch.

`check_header` and `check_frame` are the one place where the ranges of a frame's content are checked: the codec calls
them for each frame that it encodes and for each frame that it has decoded.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from common.arrays import Float64Array, FloatArray, Image
from common.labels import GROUP_BY_NAME, LIMBS, MAY_BE_UNSEEN, OPTIONAL_GROUPS

IDENTITIES = 256
"""Number of distinct identities within a session."""
MAX_PEOPLE = 32
"""Most people in a frame."""
MAX_FRAME_SEQUENCE = 2**53 - 2
"""Largest sequence number: it and the number after it are exact in JSON, which has 53 bits."""
MAX_CAPTURED_AT_S = 4_102_444_800.0
"""Latest time of capture: the beginning of the year 2100."""
AHEAD_STEP_S = 0.025
"""Labels are ahead of their capture by a multiple of this, seconds."""
MAX_AHEAD_STEPS = 15
MAX_SIDE_PX = 1 << 16
"""Largest width and height of an image."""
MIN_FOCAL_PX, MAX_FOCAL_PX = 2.0**-6, 2.0**23
"""Range of a camera's focal length, exact in float32."""
MAX_LABEL = 40.0
"""Largest magnitude of a label entry, standard deviations; the codec clips at 32 and adds up to half a step."""
NEAR_M = 0.05
"""Near plane of a camera, metres: points closer than this are not in its image."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera with its principal point at the centre of the image.

    Args:
        width: image width in pixels, 1…65,536.
        height: image height in pixels, 1…65,536.
        focal_px: focal length in pixels, 2⁻⁶…2²³.
    """

    width: int
    height: int
    focal_px: float

    def project(self, points: FloatArray) -> FloatArray:
        """(N, 3) points in camera space, metres → (N, 2) pixels from the upper left corner of the image.

        Points nearer than `NEAR_M` or behind the camera are projected as if at that depth: the result is finite but
        meaningless.
        """
        # Column by column, which takes a third of the time for a body's vertices.
        depth, centre = np.maximum(points[:, 2], NEAR_M), np.array([self.width / 2, self.height / 2])
        columns = [self.focal_px * points[:, axis] / depth + centre[axis] for axis in range(2)]
        return np.stack(columns, axis=1, dtype=np.float32)

    def rays(self, pixels: FloatArray | Float64Array) -> Float64Array:
        """(…, 2) pixels → (…, 3) the points at a depth of 1 that are seen there, camera space."""
        across = (pixels - np.array([self.width / 2, self.height / 2])) / self.focal_px
        return np.concatenate([across, np.ones_like(across[..., :1])], axis=-1)


@dataclass(frozen=True, slots=True)
class PersonLabels:
    """One person's semantic labels in one frame.

    Args:
        identity: stable from frame to frame within a session, 0…255.
        score: the sender's confidence that this is a person, 0…1.
        labels: group name → entries in units of standard deviations (a prefix of the group or all of it).
        sigma: group name → standard deviation of each entry; exists only at the sender, not transmitted.
        confidence: group name → 0…1, transmitted in 4 bits; 0 for a limb that nobody sees.
        face_landmarks: `sender.face.landmarks.FaceLandmarks.array` of this frame; exists only at the sender.
        face_chart: (S, S, 3) the face of this frame in its chart (`common.texture.face_picture`); likewise.
    """

    identity: int
    score: float
    labels: Mapping[str, FloatArray]
    sigma: Mapping[str, FloatArray] = field(default_factory=dict)
    confidence: Mapping[str, float] = field(default_factory=dict)
    face_landmarks: FloatArray | None = None
    face_chart: Image | None = None


@dataclass(frozen=True, slots=True)
class LabelFrame:
    """All people of one captured frame, as labels.

    Args:
        sequence: sequence number, 0…2⁵³ − 2 within a session; never reused.
        source: file name or device of the frame.
        captured_at: seconds since the epoch on the sender's clock, up to the year 2100.
        camera: the camera of the frame.
        people: up to 32, most prominent first.
        ahead_steps: the labels are those that the sender predicts for so long after the capture, 0…15 times
            `AHEAD_STEP_S`; 0 for what was captured.
    """

    sequence: int
    source: str
    captured_at: float
    camera: Camera
    people: tuple[PersonLabels, ...]
    ahead_steps: int = 0

    @property
    def describes_s(self) -> float:
        """The moment that the labels describe, seconds since the epoch on the sender's clock."""
        return self.captured_at + AHEAD_STEP_S * self.ahead_steps


def unseen_limbs(person: PersonLabels) -> frozenset[str]:
    """The limbs (`common.labels.LIMBS`) that the sender says nobody sees: their labels are a guess."""
    return unseen_groups(person) & frozenset(LIMBS)


def seen_limbs(unseen: Set[str]) -> dict[str, bool]:
    """Of each limb whether it is seen, as all outputs say it: `seen`."""
    return {limb: limb not in unseen for limb in LIMBS}


def unseen_groups(person: PersonLabels) -> frozenset[str]:
    """The same with hands, which are unseen where both arms are, and the optional groups that the person lacks."""
    lacking = (group for group in OPTIONAL_GROUPS if group not in person.labels)
    return frozenset((*lacking, *(group for group in MAY_BE_UNSEEN if person.confidence.get(group) == 0.0)))


def has_face(person: PersonLabels) -> bool:
    """Whether anything is known of a person's facial expression."""
    return "face" in person.labels or "eyes" in person.labels


def check_header(frame: LabelFrame) -> None:
    """Checks everything about a frame except its people's labels.

    Raises:
        ValueError: sequence, time, camera or an identity is out of range, an identity occurs twice, or there are too
            many people.
    """
    if not 0 <= frame.sequence <= MAX_FRAME_SEQUENCE:
        raise ValueError(f"sequence {frame.sequence} is not in 0…2^53 - 2")
    if not 0.0 <= frame.captured_at <= MAX_CAPTURED_AT_S:
        raise ValueError(f"the time of capture {frame.captured_at:g} s is not between the years 1970 and 2100")
    if not 0 <= frame.ahead_steps <= MAX_AHEAD_STEPS:
        raise ValueError(f"labels {frame.ahead_steps} steps ahead of their capture: up to {MAX_AHEAD_STEPS}")
    camera = frame.camera
    if not (0 < camera.width <= MAX_SIDE_PX and 0 < camera.height <= MAX_SIDE_PX):
        raise ValueError(f"an image of {camera.width} x {camera.height} pixels: sides have 1 to {MAX_SIDE_PX}")
    if not MIN_FOCAL_PX <= camera.focal_px <= MAX_FOCAL_PX:
        raise ValueError(f"a focal length of {camera.focal_px:g} px: it has {MIN_FOCAL_PX:g} to {MAX_FOCAL_PX:g}")
    identities = [person.identity for person in frame.people]
    if len(identities) > MAX_PEOPLE or len(set(identities)) != len(identities):
        raise ValueError(f"a frame has up to {MAX_PEOPLE} people with distinct identities, got {identities}")
    if any(not 0 <= identity < IDENTITIES for identity in identities):
        raise ValueError(f"identities must lie in 0…{IDENTITIES - 1}, got {identities}")


def _raise_for_labels(labels: Mapping[str, FloatArray]) -> NoReturn:
    largest = {name: float(np.abs(values).max()) for name, values in labels.items()}
    name = next(name for name, value in largest.items() if not value <= MAX_LABEL)
    raise ValueError(f"label group {name!r} is {largest[name]:.0f} standard deviations from its mean")


def check_frame(frame: LabelFrame) -> None:
    """Checks everything about a decoded frame: nothing behind the codec has to check it again.

    Raises:
        ValueError: see `check_header`; or a score or confidence is not in 0…1, a label group is unknown, empty or too
            long, or an entry is not finite or beyond `MAX_LABEL`.
    """
    check_header(frame)
    for person in frame.people:
        if not all(0.0 <= share <= 1.0 for share in (person.score, *person.confidence.values())):
            raise ValueError(f"a score or confidence of person {person.identity} is not in 0…1")
        for name, values in person.labels.items():
            if name not in GROUP_BY_NAME or not 1 <= len(values) <= GROUP_BY_NAME[name].size:
                raise ValueError(f"{len(values)} entries of label group {name!r}, which has none or fewer")
        # All groups at once: this runs for every frame, and each call of NumPy costs a microsecond.
        if person.labels and not np.abs(np.concatenate(tuple(person.labels.values()))).max() <= MAX_LABEL:
            _raise_for_labels(person.labels)
