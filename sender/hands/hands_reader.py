"""The hands stage: adds the fingers of prominent people to their labels.

Hands take turns: a frame has time for one, and not every frame.  Between two readings the fingers move towards the last
one.  A hand that has not been read for a while has no fingers in the labels, and shows the curls of perception.

    keypoints ─ crop of the forearm ─ `hand_recrop` ─┐
                 last landmarks ─────────────────────┴─ landmarks ─ gate ─ fit ─ smoothing ─ labels

MediaPipe's networks for hands are fed as its own graphs feed them: a crop is a square that is turned so that the
fingers point upwards.  `hand_recrop` places it where only the forearm is known; while a hand is followed, its last
landmarks do.

Shapes: L = 21 landmarks: the wrist, then of each finger from the thumb its three joints and its tip.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from common.arrays import Float64Array, FloatArray, Image
from common.body.anatomy import KEYPOINT_INDEX, MIRROR_SIGNS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import Camera
from common.labels import GROUP_BY_NAME
from common.weights.devices import to_numpy
from common.weights.landmark_networks import load_network
from sender.hands.fit import GROUPS, HANDS, SIDES, FingerLabels, HandFitter, Wrists, between
from sender.people.view import PeopleView, PersonView, Turn
from sender.perception.crop import CropBox, ray_rotation, rolled_axes
from sender.perception.track import HELD_S, Memory, ObservedPerson

if TYPE_CHECKING:
    from common.weights.graph import CompiledGraph

RECROP_PX, LANDMARK_PX = 256, 224
# Towards the fingers, in sides of the square that encloses the palm (`hand_landmarks_to_roi.pbtxt`), and its growth.
_SHIFT, _GROWTH = 0.1, 2.0
# All joints but the outer ones and the tips.
_PALM = [0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18]
_WRIST, _INDEX, _MIDDLE, _RING = 0, 5, 9, 13
# Of the probability that the hand is a right one.
_MIN_RIGHT = 0.5
# The knuckles lie beyond the wrist by this share of the forearm; side of the square in lengths of the hand.
_BEYOND, _SEARCH = 0.3, 1.7
# Of the network's depths: with this, the bones of 70 photographed hands have the same lengths in most poses.
_DEPTH = 5.0
_LEAST_PX = 16


class Place(NamedTuple):
    """Where a hand is: wrist and elbow (2,), pixels, and its length in pixels."""

    wrist: Float64Array
    elbow: Float64Array
    hand_px: float


def crop_at(centre: Float64Array, side: float, up: Float64Array) -> CropBox:
    """The square around a centre whose upward direction is `up`, both (2,), pixels."""
    left, top = (round(float(value - side / 2)) for value in centre)
    return CropBox(left, top, max(_LEAST_PX, round(side)), math.atan2(float(up[0]), -float(up[1])))


def crop_of_forearm(place: Place) -> CropBox:
    """The square in which `hand_recrop` looks for a hand beyond the wrist."""
    along = place.wrist - place.elbow
    return crop_at(place.wrist + _BEYOND * along, _SEARCH * place.hand_px, along)


def crop_of_landmarks(landmarks: Float64Array) -> CropBox:
    """The square for the next picture, from landmarks (L, 2 or 3), pixels."""
    landmarks = landmarks[:, :2]
    up = (landmarks[_INDEX] + landmarks[_RING] + 2 * landmarks[_MIDDLE]) / 4 - landmarks[_WRIST]
    axes = rolled_axes(math.atan2(float(up[0]), -float(up[1])))
    palm = landmarks[_PALM] @ axes
    low, high = palm.min(0), palm.max(0)
    centre = (low + high) / 2 - [0, _SHIFT * (high - low)[1]]
    return crop_at(axes @ centre, _GROWTH * float((high - low).max()), up)


@dataclass(frozen=True, slots=True)
class SeenHand:
    """What the network sees in a crop.

    Args:
        landmarks: (L, 3) pixels of the frame, and depth beyond the wrist, in pixels too.
        score: probability that a hand is in the crop.
        is_right: whether it is of the side that it was said to be.
    """

    landmarks: Float64Array
    score: float
    is_right: bool


class HandReader:
    """Reads one hand at a time.  The networks see every hand as a right one.

    Args:
        recrop: places a crop of a hand.
        exact: reads its landmarks.
        fast: reads those of a hand that is followed, in half the time.
    """

    def __init__(self, recrop: "CompiledGraph", exact: "CompiledGraph", fast: "CompiledGraph") -> None:
        self._recrop, self._exact, self._fast = recrop, exact, fast

    @classmethod
    def load(cls) -> Self | None:
        """None where the networks are missing."""
        networks = [load_network(name) for name in ("hand_recrop", "hand_landmark_full", "hand_landmark_lite")]
        present = [network for network in networks if network is not None]
        return cls(*present) if len(present) == len(networks) else None

    def search(self, image: Image, place: Place, *, left: bool) -> SeenHand:
        """What is beyond a forearm."""
        searched = crop_of_forearm(place)
        (points,) = self._recrop(_picture(image, searched, RECROP_PX, mirrored=left))
        # The centre, and the middle of the lower side.
        centre, bottom = searched.to_pixels(_flipped(points.numpy().reshape(2, 2) / RECROP_PX, mirrored=left))
        up = centre - bottom
        return self.read(image, crop_at(centre + 2 * _SHIFT * up, 2 * float(np.hypot(*up)), up), left=left)

    def read(self, image: Image, crop: CropBox, *, left: bool, fast: bool = False) -> SeenHand:
        """The landmarks of the hand in a crop."""
        picture = _picture(image, crop, LANDMARK_PX, mirrored=left)
        points, score, right, _ = (self._fast if fast else self._exact)(picture)
        units = points.numpy().reshape(-1, 3).astype(np.float64) / LANDMARK_PX
        pixels = crop.to_pixels(_flipped(units[:, :2], mirrored=left))
        landmarks = np.column_stack([pixels, _DEPTH * units[:, 2] * crop.side])
        return SeenHand(landmarks, float(score), is_right=float(right) > _MIN_RIGHT)


def _picture(image: Image, crop: CropBox, size: int, *, mirrored: bool) -> Tensor:
    """(1, size, size, 3) RGB 0…1, as the networks take it."""
    cut = crop.cut(image, size)
    picture = np.multiply(cut[:, ::-1] if mirrored else cut, 1 / 255, dtype=np.float32)
    return torch.from_numpy(np.ascontiguousarray(picture))[None]


def _flipped(units: FloatArray | Float64Array, *, mirrored: bool) -> FloatArray:
    """Positions (…, 2) in a mirrored crop, as those in the crop."""
    return np.asarray([1, 0] + units * [-1, 1] if mirrored else units, np.float32)


_KEYPOINTS = tuple((KEYPOINT_INDEX[f"{side}_elbow"], KEYPOINT_INDEX[f"{side}_wrist"]) for side in SIDES)
MIN_HAND_PX = 40.0
"""Length of the smallest hand whose fingers are read."""
MIN_SCORE = 0.9
"""Of the network, for a hand that is believed."""
# Largest distance of the fitted hand's landmarks from the network's, in lengths of the palm.
_MAX_RESIDUAL = 0.2
# People whose hands are read, the most prominent ones.
_PEOPLE = 2
# The score of a hand that is followed may fall to this.
_FOLLOWED_SCORE = 0.5
# Seconds until the next hand's turn, after one that is followed and after a slower search.
_FOLLOWED_S, _SEARCHED_S = 0.08, 0.15
# A hand that was searched in vain waits for so long, seconds.
_REST_S = 0.38
# Fingers are at a new reading after so many seconds, but for 1/e of the way.
_LAG_S = 0.05
# Half of a change by so much, radians, is believed: nine of ten readings of a still hand are closer to each other.
_JITTER = 0.15
_HAND_PER_FOREARM = 0.84
_HAND_M = (0.12, 0.22)
_NEAR_M = 0.2
# A hand's crop may be so many lengths of the hand from where the forearm points.
_MAX_MOVE = 1.0
# Standard deviation of the entries of fingers that are believed.
_SIGMA = np.full(GROUP_BY_NAME[GROUPS[0]].size, 0.4, np.float32)


@dataclass(slots=True)
class _Hand:
    """What is known of one hand.

    Args:
        turn: due since it was last looked at.
        rests_until_s: it was searched in vain.
        crop: where it is expected, if it was seen then.
        is_followed: whether it was read then.
        target, shown: (15, 3) rotation vectors, as of a left hand, that were read last, and that are published.
        angles: (25,) of the last reading, if the hand is followed.
        target_twist, twist: of the hand against its forearm, likewise; None if it is not known.
        read_s, score: when they were read, and the network's score.
    """

    turn: Turn = field(default_factory=Turn)
    rests_until_s: float = -math.inf
    crop: CropBox | None = None
    is_followed: bool = False
    target: Float64Array | None = None
    shown: Float64Array | None = None
    angles: Float64Array | None = None
    target_twist: Rotation | None = None
    twist: Rotation | None = None
    read_s: float = -math.inf
    score: float = 0.0


class HandsStage:
    """Reads the fingers of the most prominent people whose hands are large enough."""

    part = "hands"

    def __init__(self, reader: HandReader, fitter: HandFitter, labels: FingerLabels, wrists: Wrists) -> None:
        self._reader = reader
        self._fitter = fitter
        self._labels = labels
        self._wrists = wrists
        self._people = Memory(lambda: [_Hand(), _Hand()])

    @classmethod
    def load(cls) -> Self | None:
        """None where the networks are missing. Raises WeightsError if the prior is missing or damaged."""
        reader = HandReader.load()
        if reader is None:
            return None
        body, space = BodyModel.load(), LabelSpace.load()
        return cls(reader, HandFitter.load(body), FingerLabels(space, body), Wrists(space, body))

    def label(self, view: PeopleView) -> None:
        """Writes the fingers of hands that were read, and the turns of their wrists."""
        known = [self._people.of(person.seen.person) for person in view.people]
        visible = [
            (person, side, hand, place)
            for person, hands in zip(view.people[:_PEOPLE], known, strict=False)
            for side, hand in enumerate(hands)
            if (place := hand_place(person.seen, view.camera, side)) and place.hand_px >= MIN_HAND_PX
        ]
        schedule, is_first = view.schedule, view.schedule.now_s == 0.0
        if not schedule.is_busy:
            # All in the first frame, later one.
            turns = [None if schedule.now_s < hand.rests_until_s else hand.turn for _, _, hand, _ in visible]
            for row in schedule.due(turns, all_new=is_first):
                self._look(view, *visible[row], is_first=is_first)
        places = {id(hand) for _, _, hand, _ in visible}
        for person, hands in zip(view.people, known, strict=True):
            for side, hand in enumerate(hands):
                if schedule.now_s - hand.read_s <= HELD_S:
                    _approach(hand, view.step_s)
                elif id(hand) in places:
                    hand.target = hand.shown = hand.target_twist = hand.twist = None
                else:
                    hands[side] = _Hand()
            self._write(person, hands)

    def _look(
        self, view: PeopleView, person: PersonView, side: int, hand: _Hand, place: Place, *, is_first: bool
    ) -> None:
        """Looks at a hand: where it was, or where the forearm points."""
        image, left = view.image, side == 0
        if hand.crop is not None and not _near(hand.crop, place):
            hand.crop, hand.is_followed = None, False
        followed, first = hand.is_followed, hand.crop is None
        if hand.crop is None:
            seen = self._reader.search(image, place, left=left)
            if is_first:
                # Nothing waits for a photograph.
                seen, first = self._reader.read(image, crop_of_landmarks(seen.landmarks), left=left), False
        else:
            seen = self._reader.read(image, hand.crop, left=left, fast=followed)
        view.schedule.occupy(_FOLLOWED_S if followed else _SEARCHED_S)
        hand.is_followed = seen.is_right and seen.score >= (_FOLLOWED_SCORE if followed else MIN_SCORE)
        # A hand that is framed badly has a low score, and landmarks that frame it better.
        hand.crop = crop_of_landmarks(seen.landmarks) if hand.is_followed or first else None
        view.schedule.was_read(hand.turn, 0.0)
        hand.rests_until_s = view.schedule.now_s + (_REST_S if hand.crop is None else 0.0)
        if not hand.is_followed:
            hand.angles = None
        elif self._take(hand, seen, view.camera, person.labels, left=left):
            hand.read_s, hand.score = view.schedule.now_s, seen.score

    def _take(
        self, hand: _Hand, seen: SeenHand, camera: Camera, labels: Mapping[str, FloatArray], *, left: bool
    ) -> bool:
        """Takes the fingers that were seen; returns whether a hand can be so."""
        points = seen.landmarks if left else seen.landmarks * [-1, 1, 1]
        fitted = self._fitter.fit(points, hand.angles)
        if fitted.residual > _MAX_RESIDUAL:
            return False
        vectors = self._fitter.vectors(fitted.angles)
        if hand.target is not None:
            # A gesture is taken as it is, jitter hardly.
            change = vectors - hand.target
            vectors = hand.target + _share(float(np.sqrt(np.square(change).sum(1).mean()))) * change
        hand.angles, hand.target = fitted.angles, vectors
        mirror = np.ones(3) if left else np.array(MIRROR_SIGNS)
        at = replace(crop_of_landmarks(seen.landmarks), roll=0.0)
        orientation = ray_rotation(at, camera) @ (mirror[:, None] * fitted.orientation * mirror)
        twist = self._wrists.against_forearm(labels, orientation, int(not left))
        if twist is not None and hand.target_twist is not None:
            twist = between(hand.target_twist, twist, _share((hand.target_twist.inv() * twist).magnitude()))
        hand.target_twist = twist
        return True

    def _write(self, person: PersonView, hands: Sequence[_Hand]) -> None:
        """Writes the groups of the hands that are known, whose curls are in the group `hands`."""
        labels = person.labels
        for side, (group, hand) in enumerate(zip(GROUPS, hands, strict=True)):
            if hand.shown is not None:
                fingers, labels[HANDS] = self._labels.encoded(hand.shown, labels[HANDS], side)
                person.write(group, fingers, hand.score, _SIGMA)
        twists = {side: hand.twist for side, hand in enumerate(hands) if hand.twist is not None}
        if twists:
            labels |= self._wrists.turned(labels, twists)


def hand_place(person: ObservedPerson, camera: Camera, side: int) -> Place | None:
    """Where the left hand (side 0) or the right one is; None if it is not seen."""
    output = person.output
    elbow, wrist = _KEYPOINTS[side]
    if float(output.visible_logit[0, wrist]) < 0 or not bool(output.located[0, [elbow, wrist]].all()):
        return None
    joints = to_numpy(output.joints_3d[0])
    forearm_m = float(np.linalg.norm(joints[wrist] - joints[elbow]))
    # Of the pelvis, whose distance the crop's width there tells.
    distance_m = camera.focal_px / person.crop.side * math.exp(float(output.camera[0, 2]))
    depth_m = max(_NEAR_M, distance_m + float(joints[wrist, 2]))
    hand_m = min(max(_HAND_PER_FOREARM * forearm_m, _HAND_M[0]), _HAND_M[1])
    pixels = person.crop.to_pixels(to_numpy(output.keypoints_2d[0])).astype(np.float64)
    return Place(pixels[wrist], pixels[elbow], camera.focal_px * hand_m / depth_m)


def _near(crop: CropBox, place: Place) -> bool:
    """Whether the hand may still be in a crop that its last landmarks gave."""
    expected = crop_of_forearm(place)
    return float(np.hypot(*(np.subtract(crop.centre, expected.centre)))) < _MAX_MOVE * place.hand_px


def _share(change: float) -> float:
    """How much of a change, radians, is believed."""
    return change**2 / (change**2 + _JITTER**2)


def _approach(hand: _Hand, step_s: float) -> None:
    """Moves what is published towards what was read last."""
    gain = 1 - math.exp(-step_s / _LAG_S)
    if hand.target is None or hand.shown is None:
        hand.shown = hand.target
    else:
        hand.shown = hand.shown + gain * (hand.target - hand.shown)
    if hand.target_twist is None or hand.twist is None:
        hand.twist = hand.target_twist
    else:
        hand.twist = between(hand.twist, hand.target_twist, gain)
