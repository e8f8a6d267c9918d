"""Alterations of a garment."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from common.arrays import FloatArray

ENDLESS = 99.0
"""A border beyond every coordinate: no cut."""


@dataclass(frozen=True, slots=True)
class Tailoring:
    """Alterations of a garment; the defaults change nothing.

    Args:
        loose_m: outward offset everywhere, metres; negative is tighter.
        sleeve_flare_m: additional offset at the wrist, growing from the shoulder.
        leg_flare_m: additional offset at the ankle, growing from the hip.
        sleeve_puff_m: additional offset in the middle of the upper arm.
        sleeve_end: along the arm (0 shoulder, 1 elbow, 2 wrist); the rest is cut off.
        leg_end: along the leg (0 hip, 1 knee, 2 ankle); the rest is cut off.
        hem: up the torso (0 hips, 1 neck); what is below is cut off, which leaves a top.
        waist: up the torso; what is above is cut off, with the sleeves, which leaves a bottom.
        opening_m: half width of an open front.
    """

    loose_m: float = 0.0
    sleeve_flare_m: float = 0.0
    leg_flare_m: float = 0.0
    sleeve_puff_m: float = 0.0
    sleeve_end: float = ENDLESS
    leg_end: float = ENDLESS
    hem: float = -ENDLESS
    waist: float = ENDLESS
    opening_m: float = 0.0

    def as_array(self) -> FloatArray:
        """(9,) the fields in their order."""
        return np.array([getattr(self, item.name) for item in fields(self)], np.float32)

    @classmethod
    def from_array(cls, values: FloatArray) -> Self:
        """The inverse of `as_array`, exact for values of 32 bits."""
        return cls(*(float(value) for value in values))


TAILORING_SIZE = len(fields(Tailoring))
