"""The colours of one person's surface points, averaged over observations, and when an update is worth sending."""

from dataclasses import dataclass

import numpy as np

from common.arrays import BoolArray, ByteArray, FloatArray, IntArray
from common.body.anatomy import POINTS
from common.frames import Camera
from sender.texture.observation import Observation
from sender.texture.point_visibility import view_cosine

# Observations that a point's mean covers, because light and clothing change.
_MEMORY_OBSERVATIONS = 24.0
# Weight from which a point's colour is known: about one frontal observation or a few oblique ones.
_KNOWN_WEIGHT = 0.6

# Colour change from which a point has to be sent again, 0…255 per channel: about the least visible one.
_CHANGED_BY = 12.0
# An update of this share of all points is sent at once.  One of the smaller share waits until it is stable, or parts of
# it would be sent twice: until it has not grown by more than `_GROWTH_SHARE` for so many observations.
_SEND_AT_ONCE_SHARE = 0.12
_SEND_WHEN_STABLE_SHARE = 0.03
_GROWTH_SHARE = 0.01
_STABLE_OBSERVATIONS = 12
# Least observations between two updates: at first, growth with every update, and limit.
_FIRST_INTERVAL = 3
_INTERVAL_GROWTH = 2.0
_MAX_INTERVAL = 150


@dataclass(frozen=True, slots=True)
class ColourUpdate:
    """The difference between the present colours and those that were last taken.

    Args:
        newly_seen: share of all points that have become known since, 0…1.
        changed: share of all points whose colour has visibly changed since, 0…1.
        colour_change: mean change of the points known before, 0…255 per channel.
    """

    newly_seen: float
    changed: float
    colour_change: float

    @property
    def share(self) -> float:
        """Share of all points to be sent, 0…1."""
        return self.newly_seen + self.changed


class PointColourMemory:
    """The colours of one person's 2,048 surface points.

    Args:
        region: (2048,) the body region of each point.
        known_weight: from which a point's colour is known.
    """

    def __init__(self, region: IntArray, known_weight: float = _KNOWN_WEIGHT) -> None:
        self._region = region
        self._known_weight = known_weight
        self._means = np.zeros((POINTS, 3), np.float32)
        self._weights = np.zeros(POINTS, np.float32)
        self._taken_means = np.zeros((POINTS, 3), np.float32)
        self._taken = np.zeros(POINTS, np.bool_)
        self._observations = 0
        self._interval = _FIRST_INTERVAL
        self._max_share = 0.0
        self._stable_observations = 0

    @property
    def colours(self) -> ByteArray:
        """(2048, 3) RGB; black where unknown."""
        return np.where(self.seen[:, None], np.rint(self._means), 0).astype(np.uint8)

    @property
    def seen(self) -> BoolArray:
        """(2048,) whether each point's colour is known."""
        return self._weights >= self._known_weight

    def add(self, observation: Observation, points: FloatArray, normals: FloatArray, camera: Camera) -> None:
        """Adds one observation.

        Args:
            points: (2048, 3) surface points, camera space, metres.
            normals: (2048, 3) outward unit normals.
        """
        pixels = camera.project(points)
        weights = view_cosine(points, normals, camera) * observation.weight_at(pixels, self._region)
        observed = np.flatnonzero(weights)
        if len(observed):
            total = self._faded(self._weights[observed]) + weights[observed]
            difference = observation.colours_at(pixels[observed]) - self._means[observed]
            self._means[observed] += (weights[observed] / total)[:, None] * difference
            self._weights[observed] = total
        self._observations += 1
        self._track_growth()

    @property
    def pending_update(self) -> ColourUpdate:
        """What has changed since the last `take`, or since the beginning."""
        seen = self.seen
        change = np.abs(self._means - self._taken_means).mean(axis=1)
        both = seen & self._taken
        return ColourUpdate(
            newly_seen=float((seen & ~self._taken).mean()),
            changed=float((both & (change > _CHANGED_BY)).mean()),
            colour_change=float(change[both].mean()) if both.any() else 0.0,
        )

    @property
    def worth_sending(self) -> bool:
        """Whether the pending update is worth a few thousand bytes: it is large, or it is stable."""
        if self._observations < self._interval:
            return False
        share = self.pending_update.share
        stable = self._stable_observations >= _STABLE_OBSERVATIONS
        return share >= _SEND_AT_ONCE_SHARE or (share >= _SEND_WHEN_STABLE_SHARE and stable)

    def take(self) -> tuple[ByteArray, BoolArray]:
        """`colours` and `seen`, for sending; no update is pending afterwards."""
        seen = self.seen
        self._taken_means = np.where(seen[:, None], self._means, self._taken_means)
        self._taken = self._taken | seen
        self._interval = min(round(_INTERVAL_GROWTH * self._interval), _MAX_INTERVAL)
        self._observations, self._stable_observations, self._max_share = 0, 0, 0.0
        return self.colours, seen

    def _track_growth(self) -> None:
        share = self.pending_update.share
        grows = share > self._max_share + _GROWTH_SHARE
        self._stable_observations = 0 if grows else self._stable_observations + 1
        self._max_share = share if grows else self._max_share

    def _faded(self, weights: FloatArray) -> FloatArray:
        """Weights of earlier observations at a further one; a known point stays known."""
        faded = (1 - 1 / _MEMORY_OBSERVATIONS) * weights
        return np.asarray(np.maximum(faded, np.minimum(weights, self._known_weight)), np.float32)
