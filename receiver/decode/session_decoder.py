"""The codec's decoder, with estimates in place of the groups that a packet does not have, and without flicker.

The codec extrapolates each missing fast group by itself, because encoder and decoder must do the same.  What the
receiver shows may be better: the other groups and the past say where a lost limb is (`MotionFilter`).  The states that
later packets are predicted from do not change.  Slow groups keep their last value: they do not depend on the pose.

While all fast groups arrive, nothing is estimated: only the last frames are remembered, for the filter to start from.
What arrived is steadied while the person hardly moves (`LabelSmoothing`).
"""

import math
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from common.arrays import Float64Array, FloatArray, IntArray
from common.codec.frame_codec import DecodedFrame, FrameCodec
from common.codec.quantiser import GROUP_OF_ENTRY, UNIT, rho_levels, steps
from common.codec.tables import load as load_tables
from common.frames import PersonLabels
from common.labels import FAST_GROUPS, GROUP_NAMES, concatenate, split
from receiver.concealment.motion_filter import MotionFilter
from receiver.concealment.motion_model import ENTRY_OF_COORDINATE, MODEL_FPS, MotionModel
from receiver.decode.label_smoothing import LabelSmoothing

# Somebody who was not seen for longer is estimated anew, and a root that did not arrive for longer is the codec's.
_MAX_GAP_S: Final = 1.0
# Whole frames from which the filter starts, and after which it is not needed any more.
_WHOLE_FRAMES: Final = 4
# Standard deviation of what arrives, in quantiser steps; chosen on the motions of the validation split.
_ERROR_STEPS: Final = 0.3
_GROUP_OF_COORDINATE: Final = GROUP_OF_ENTRY[ENTRY_OF_COORDINATE]
COORDINATES_OF_GROUP: Final = {
    name: np.flatnonzero(g == _GROUP_OF_COORDINATE) for g, name in enumerate(GROUP_NAMES) if name in FAST_GROUPS
}


@dataclass(frozen=True)
class _Arrival:
    """The fast groups of a person that a packet has.

    Args:
        captured_at: seconds.
        labels: (LABEL_SIZE,) in σ.
        rho: group → ρ.
    """

    captured_at: float
    labels: FloatArray
    rho: Mapping[str, float]

    @property
    def levels(self) -> IntArray:
        """(groups,) ρ levels; 0, the finest, for groups that did not arrive."""
        return rho_levels(self.rho)

    @property
    def whole(self) -> bool:
        """Whether every fast group arrived."""
        return all(name in self.rho for name in FAST_GROUPS)

    def coordinates(self) -> IntArray:
        """(K,) the coordinates that arrived."""
        arrived = np.array([name in self.rho for name in GROUP_NAMES])
        return np.flatnonzero(arrived[_GROUP_OF_COORDINATE])

    def variance(self, coordinates: IntArray) -> Float64Array:
        """(K,) of the errors of quantisation."""
        step = steps(load_tables().base_step, self.levels)[ENTRY_OF_COORDINATE[coordinates]]
        return np.asarray(np.square(_ERROR_STEPS / UNIT * step))


class _Track:
    """One person over time."""

    def __init__(self, model: MotionModel) -> None:
        self._model = model
        self._filter: MotionFilter | None = None
        self._filtered_at = 0.0
        self._whole: deque[_Arrival] = deque(maxlen=_WHOLE_FRAMES)
        self._root_at = self.seen_at = -math.inf
        self._steadying = LabelSmoothing()

    def shown(self, arrival: _Arrival, known: Collection[str]) -> dict[str, FloatArray]:
        """Takes the next frame; returns what is shown of the fast groups, of which the codec knows `known`."""
        steady = split(self._steadying.shown(arrival.captured_at, arrival.labels, arrival.levels))
        return {name: steady[name] for name in FAST_GROUPS if name in known} | self.estimate(arrival, known)

    def estimate(self, arrival: _Arrival, known: Collection[str]) -> dict[str, FloatArray]:
        """Takes the next frame; returns the missing groups of which there is a better estimate than the codec's.

        Args:
            arrival: what the packet has.
            known: groups that the codec knows.
        """
        motion = self._take(arrival)
        if motion is None:
            return {}
        estimated = split(motion.labels())
        missing = (name for name in FAST_GROUPS if name not in arrival.rho)
        return {name: estimated[name] for name in missing if self._is_better(name, motion, known)}

    def _is_better(self, name: str, motion: MotionFilter, known: Collection[str]) -> bool:
        if name == "root":
            # No other group says where somebody is and faces: after a while they would turn and wander off.
            return self.seen_at - self._root_at <= _MAX_GAP_S
        # The filter may be younger than what the codec knows.
        return motion.has_seen(COORDINATES_OF_GROUP[name]) or name not in known

    def _take(self, arrival: _Arrival) -> MotionFilter | None:
        """The filter after the next frame; None if nothing is missing, or nothing is known."""
        self.seen_at = arrival.captured_at
        if "root" in arrival.rho:
            self._root_at = arrival.captured_at
        if arrival.whole:
            self._whole.append(arrival)
            if len(self._whole) == _WHOLE_FRAMES:
                self._filter = None
            if self._filter is not None:
                self._correct(self._filter, arrival)
            return None
        if self._filter is None:
            if not self._whole and not len(arrival.coordinates()):
                return None
            self._filter = MotionFilter(self._model)
            self._filtered_at = (self._whole[0] if self._whole else arrival).captured_at
            for earlier in self._whole:
                self._correct(self._filter, earlier)
        self._whole.clear()
        self._correct(self._filter, arrival)
        return self._filter

    def _correct(self, motion: MotionFilter, arrival: _Arrival) -> None:
        frames = frames_between(self._filtered_at, arrival.captured_at)
        if frames:
            motion.advance(frames)
        coordinates = arrival.coordinates()
        if len(coordinates):
            motion.observe(arrival.labels, coordinates, arrival.variance(coordinates))
        self._filtered_at = arrival.captured_at


def frames_between(earlier_s: float, later_s: float) -> int:
    """Frames of the motion model between two times: at least one if they differ."""
    return max(round((later_s - earlier_s) * MODEL_FPS), int(later_s > earlier_s))


class SessionDecoder:
    """A decoder whose frames have estimates of the fast groups that did not arrive, and do not flicker.

    Args:
        codec: new.
        model: of motions.
    """

    def __init__(self, codec: FrameCodec, model: MotionModel) -> None:
        self._codec, self._model = codec, model
        self._tracks: dict[int, _Track] = {}

    def decode(self, payload: bytes, sequence: int) -> DecodedFrame:
        """Decodes a packet; raises as `FrameCodec.decode`."""
        decoded = self._codec.decode(payload, sequence)
        if decoded.reference is None:
            self._tracks.clear()
        people = tuple(self._concealed(person, decoded) for person in decoded.frame.people)
        now_s = decoded.frame.captured_at
        self._tracks = {key: track for key, track in self._tracks.items() if now_s - track.seen_at <= _MAX_GAP_S}
        return replace(decoded, frame=replace(decoded.frame, people=people))

    def keep_only(self, sequence: int) -> None:
        """As `FrameCodec.keep_only`."""
        self._codec.keep_only(sequence)

    def snapshot(self) -> bytes:
        """As `FrameCodec.snapshot`; estimates begin anew behind it."""
        return self._codec.snapshot()

    def restore(self, snapshot: bytes) -> None:
        """As `FrameCodec.restore`."""
        self._codec.restore(snapshot)
        self._tracks.clear()

    def _concealed(self, person: PersonLabels, decoded: DecodedFrame) -> PersonLabels:
        now_s = decoded.frame.captured_at
        track = self._tracks.get(person.identity)
        # A frame of the same or an earlier time comes twice, or the clock was set back.
        if track is None or not 0.0 < now_s - track.seen_at <= _MAX_GAP_S:
            track = self._tracks[person.identity] = _Track(self._model)
        arrival = _Arrival(now_s, concatenate(person.labels), decoded.rho_by_person[person.identity])
        return replace(person, labels={**person.labels, **track.shown(arrival, person.labels.keys())})


def decoders(model_hash: bytes) -> Callable[[], SessionDecoder]:
    """Makes a decoder for each session, with the codec of these networks and the model of the package.

    Raises:
        WeightsError: the model is missing, damaged or of another version.
    """
    model = MotionModel.load()
    return lambda: SessionDecoder(FrameCodec(model_hash), model)
