"""The colours of one person's surface points, learnt while it is watched, and when they are worth telling."""

from dataclasses import dataclass

import numpy as np

from common.arrays import BoolArray, ByteArray, FloatArray, IntArray
from common.body.anatomy import POINTS
from common.frames import Camera
from sender.texture.observation import Observation
from sender.texture.point_visibility import view_cosine

# Looks at a point that its mean goes back over: light changes, and coats come off.
_MEMORY = 24.0
# About one square look or a few oblique ones make a point known.
_KNOWN_FROM = 0.6

# A point is news if it was never told, or is off by as much as one notices, 0…255 a channel.
_OFF = 12.0
# Much news goes at once; little only once it no longer grows, for then it would go twice.
_MUCH = 0.12
_LITTLE = 0.03
_GROWTH = 0.01
_FIRST_LOOKS = 3
_QUIET_LOOKS = 12
# Every telling makes the next one wait longer, up to so many looks.
_PATIENCE = 2.0
_LONGEST_LOOKS = 150


@dataclass(frozen=True, slots=True)
class ColourUpdate:
    """How far what is known now is from what was taken last.

    Args:
        newly_seen: share of all points that became known since, 0…1.
        changed: share of all points whose colour is notably another since, 0…1.
        colour_change: mean change of the points that were known already, 0…255 a channel.
    """

    newly_seen: float
    changed: float
    colour_change: float

    @property
    def share(self) -> float:
        """Of all points, those that whoever was told last does not know rightly, 0…1."""
        return self.newly_seen + self.changed


class PointColourMemory:
    """What one person's 2,048 surface points look like, as far as they were seen.

    Args:
        region: (2048,) the body region of each point.
    """

    def __init__(self, region: IntArray) -> None:
        self._region = region
        self._means = np.zeros((POINTS, 3), np.float32)
        self._weights = np.zeros(POINTS, np.float32)
        self._taken = np.zeros((POINTS, 3), np.float32)
        self._was_taken = np.zeros(POINTS, np.bool_)
        self._looks = 0
        self._pause = _FIRST_LOOKS
        self._most_share = 0.0
        self._quiet_looks = 0

    @property
    def colours(self) -> ByteArray:
        """(2048, 3) RGB; black where nothing is known."""
        return np.where(self.seen[:, None], np.rint(self._means), 0).astype(np.uint8)

    @property
    def seen(self) -> BoolArray:
        """(2048,) whose colours are known."""
        return self._weights >= _KNOWN_FROM

    def see(self, observation: Observation, points: FloatArray, normals: FloatArray, camera: Camera) -> None:
        """Takes in one frame.

        Args:
            observation: the person in it.
            points: (2048, 3) where the points are, camera space, metres.
            normals: (2048, 3) outward unit normals.
            camera: the frame's.
        """
        pixels = camera.project(points)
        weights = view_cosine(points, normals, camera) * observation.certainty_at(pixels, self._region)
        looked = np.flatnonzero(weights)
        if len(looked):
            total = _faded(self._weights[looked]) + weights[looked]
            difference = observation.colours_at(pixels[looked]) - self._means[looked]
            self._means[looked] += (weights[looked] / total)[:, None] * difference
            self._weights[looked] = total
        self._looks += 1
        self._watch_growth()

    @property
    def pending_update(self) -> ColourUpdate:
        """Since the last `take`, or since the beginning."""
        seen = self.seen
        change = np.abs(self._means - self._taken).mean(axis=1)
        both = seen & self._was_taken
        return ColourUpdate(
            newly_seen=float((seen & ~self._was_taken).mean()),
            changed=float((both & (change > _OFF)).mean()),
            colour_change=float(change[both].mean()) if both.any() else 0.0,
        )

    @property
    def worth_sending(self) -> bool:
        """Whether the news is worth some thousand bytes: much of it, or some that has stopped growing."""
        if self._looks < self._pause:
            return False
        share = self.pending_update.share
        return share >= _MUCH or (share >= _LITTLE and self._quiet_looks >= _QUIET_LOOKS)

    def take(self) -> tuple[ByteArray, BoolArray]:
        """`colours` and `seen`, which are no news from now on."""
        seen = self.seen
        self._taken = np.where(seen[:, None], self._means, self._taken)
        self._was_taken = self._was_taken | seen
        self._pause = min(round(_PATIENCE * self._pause), _LONGEST_LOOKS)
        self._looks, self._quiet_looks, self._most_share = 0, 0, 0.0
        return self.colours, seen

    def _watch_growth(self) -> None:
        share = self.pending_update.share
        grows = share > self._most_share + _GROWTH
        self._quiet_looks = 0 if grows else self._quiet_looks + 1
        self._most_share = share if grows else self._most_share


def _faded(weights: FloatArray) -> FloatArray:
    """What earlier looks still count at another one; what has become known stays so."""
    return np.asarray(np.maximum((1 - 1 / _MEMORY) * weights, np.minimum(weights, _KNOWN_FROM)), np.float32)
