"""Feet that stand stay where they are: neither perception's errors nor what the codec rounds lets them slide.

How likely a foot stands follows from its speed, above all across the line of sight, where perception sees well.  The
place of such a foot is held, on a leash.  The legs reach for the places (`LegChain.reaching`), and the body follows
them in distance.  Whoever moves pulls the leash: a foot that leaves is not held back by more than its length, and a
fast one not at all, after a moment in which the leash shrinks: one frame with a wrong speed lets no foot go.

Shapes: L = 2 legs, left and right.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from common.arrays import Float64Array
from common.frames import LabelFrame, PersonLabels, unseen_limbs
from common.labels import concatenate, group_slices
from common.motion.steps import root_entries, share_of_way
from receiver.motion.legs import JUMP_M, LEGS, Legs, Pelvis

# Chosen on rendered clips of the training split, as sent and decoded.
_LEASH_M = 0.25
# A foot with this speed across the line of sight, or along it, stands with a probability of 1/e.
_STEP_MPS, _DEPTH_STEP_MPS = 0.3, 0.9
# Time constants: of the speed; of the leash of a foot that leaves, and of one that stands, which slowly gives way; of
# the body's distance while feet stand, and while none does; of its return to what was measured.
_SPEED_S, _LEAVES_S, _RELAX_S, _FOLLOWS_S, _AWAY_S, _RETURNS_S = 0.1, 0.05, 3.0, 0.4, 0.5, 1.5
# The same of the distance itself: a frame tells little of it.
_DISTANCE_S = 0.1
# Probability from which on the body follows a foot.
_STANDS = 0.3
# The head from the pelvis, in its frame: whoever's legs are unseen is seen there, and moves on that line of sight.
_HEAD_M: Final = np.array([0.0, -0.64, -0.1])
# After a longer gap a person begins anew.
_FORGOTTEN_S = 0.5
_TINY = 1e-6
_SLICES: Final = group_slices()
_ROOT, _SHAPE = _SLICES["root"], _SLICES["shape"]


@dataclass(eq=False)
class _Person:
    """What is remembered of a person.

    Attributes:
        seen: (L,) 1 for each leg that was seen, else 0.
        distance_m: of the pelvis along its line of sight, or of the head where no leg is seen, smoothed.
        held: (L, 3) places of the ankles.
        ankles: (L, 3) where they were measured.
        velocity: (L, 3) of the ankles, metres a second.
        stands: (L,) probabilities that the feet stand; those of feet that have left fall to 0.
        shift_m: how much further away the body is shown than `distance_m`.
    """

    at_s: float
    seen: Float64Array
    distance_m: float
    held: Float64Array
    ankles: Float64Array
    velocity: Float64Array = field(default_factory=lambda: np.zeros((len(LEGS), 3)))
    stands: Float64Array = field(default_factory=lambda: np.zeros(len(LEGS)))
    shift_m: float = 0.0

    def goes_on(self, now_s: float, distance_m: float) -> bool:
        """Whether what is measured now continues what was."""
        return 0 < now_s - self.at_s <= _FORGOTTEN_S and abs(distance_m - self.distance_m) < JUMP_M

    def hold(self, ankles: Float64Array, ray: Float64Array, seen: Float64Array, passed_s: float) -> None:
        """Moves the held places, and the body in distance.

        Args:
            ankles: (L, 3) where they would be without the shift.
            ray: (3,) the line of sight of the body.
            seen: (L,) as the attribute.
        """
        rays = ankles / _lengths(ankles)
        self.velocity += share_of_way(passed_s, _SPEED_S) * ((ankles - self.ankles) / passed_s - self.velocity)
        along = np.square((self.velocity * rays).sum(1))
        across = np.square(self.velocity).sum(1) - along
        likely = np.exp(-across / _STEP_MPS**2 - along / _DEPTH_STEP_MPS**2)
        self.stands = seen * self.seen * np.maximum(likely, self.stands * math.exp(-passed_s / _LEAVES_S))
        stands, self.ankles, self.seen = self.stands, ankles, seen
        further = ankles + self.shift_m * ray - self.held
        self.held = self.held + further * np.maximum(
            1 - _LEASH_M * stands[:, None] / _lengths(further), passed_s / _RELAX_S
        )
        aim, share = 0.0, share_of_way(passed_s, _AWAY_S)
        if stands.max() > _STANDS:
            further = ((self.held - ankles) * rays).sum(1)
            aim, share = float(further @ stands / stands.sum()), share_of_way(passed_s, _FOLLOWS_S)
        self.shift_m = (self.shift_m + share * (aim - self.shift_m)) * math.exp(-passed_s / _RETURNS_S)


class PlantedFeet:
    """Holds the feet of a source's people, frame after frame."""

    def __init__(self, legs: Legs) -> None:
        self._legs = legs
        self._people: dict[int, _Person] = {}

    def settle(self, frame: LabelFrame) -> LabelFrame:
        """The frame with feet that stand; call it in order, with complete labels."""
        return replace(frame, people=tuple(self._settled(person, frame.captured_at) for person in frame.people))

    def _settled(self, labels: PersonLabels, now_s: float) -> PersonLabels:
        vector = concatenate(labels.labels)
        entries = np.stack([vector[_SLICES[leg]] for leg in LEGS]).astype(np.float64)
        pelvis = Pelvis.of(vector)
        chain = self._legs.chain(entries, vector[_SHAPE], pelvis)
        unseen = unseen_limbs(labels)
        seen = np.array([leg not in unseen for leg in LEGS], np.float64)
        middle = pelvis.position if seen.any() else pelvis.position + pelvis.rotation @ _HEAD_M
        distance_m = float(np.linalg.norm(middle))
        ray = middle / distance_m
        person = self._people.get(labels.identity)
        if person is None or not person.goes_on(now_s, distance_m):
            self._people[labels.identity] = _Person(now_s, seen, distance_m, chain.ankles, chain.ankles)
            return labels
        passed_s, person.at_s = now_s - person.at_s, now_s
        if person.seen.any() != seen.any():
            person.distance_m = distance_m
        person.distance_m += share_of_way(passed_s, _DISTANCE_S) * (distance_m - person.distance_m)
        nearer = (person.distance_m - distance_m) * ray
        person.hold(chain.ankles + nearer, ray, seen, passed_s)
        moved = nearer + person.shift_m * ray
        pelvis = replace(pelvis, position=pelvis.position + moved)
        reaching = self._legs.entries_of(replace(chain, hips=chain.hips + moved).reaching(person.held), pelvis)
        axes = pelvis.rotation[:, :2].T.ravel()
        known = {"root": root_entries(axes, pelvis.position).astype(np.float32)}
        known |= {leg: row.astype(np.float32) for leg, row in zip(LEGS, reaching, strict=True) if leg not in unseen}
        return replace(labels, labels={**labels.labels, **known})


def _lengths(vectors: Float64Array) -> Float64Array:
    """(L, 1) of vectors (L, 3)."""
    return np.asarray(np.sqrt(np.square(vectors).sum(1, keepdims=True)) + _TINY)
