"""Focal lengths: from the lens, guessed, and how sure they are.

A camera's focal length is given with `--focal-px`, told by the picture's EXIF data, or guessed.  Which of these it is
follows from the number, so that it need not be sent: a guess is a fixed multiple of the longer side, and EXIF data have
whole millimetres.
"""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.frames import Camera

# A field of view of 2·atan(1/(2·1.2)) ≈ 45° along the longer side, between a phone's wide and normal lenses.
DEFAULT_FOCAL_RATIO = 1.2
EQUIVALENTS_MM = (8, 1200)
"""Lenses from fisheye to the longest that people are photographed with, for film of 35 mm."""
GUESSED_SIGMA = 0.4
"""Of a guess's logarithm: the spread about the default of webcams (0.7 and 0.9 times the longer side), of phones (0.75,
0.85 and 1.5) and of lenses of 35, 50 and 85 mm (0.97, 1.39 and 2.36)."""
EXIF_SIGMA = 0.04
"""Of EXIF data: millimetres are rounded, and the correction of distortion and of shake crop a few percent."""

_FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)
# A packet has focal lengths in float32.
_ROUNDING = 3e-7


def guessed_focal_px(width: int, height: int) -> float:
    """The focal length of an image of which nothing is known, pixels."""
    return DEFAULT_FOCAL_RATIO * max(width, height)


def focal_px_of_equivalent(equivalent_mm: float, width: int, height: int) -> float:
    """Pixels of an equivalent for film of 35 mm, which refers to the diagonal (CIPA DCG-001)."""
    return equivalent_mm / _FILM_DIAGONAL_MM * math.hypot(width, height)


def focal_sigma(camera: "Camera") -> float:
    """Standard deviation of the logarithm of a camera's focal length; 0 for one that was given."""
    if _same(camera.focal_px, guessed_focal_px(camera.width, camera.height)):
        return GUESSED_SIGMA
    equivalent_mm = round(camera.focal_px / focal_px_of_equivalent(1, camera.width, camera.height))
    from_exif = focal_px_of_equivalent(equivalent_mm, camera.width, camera.height)
    shortest, longest = EQUIVALENTS_MM
    return EXIF_SIGMA if shortest <= equivalent_mm <= longest and _same(camera.focal_px, from_exif) else 0.0


def _same(focal_px: float, other_px: float) -> bool:
    return math.isclose(focal_px, other_px, rel_tol=_ROUNDING)
