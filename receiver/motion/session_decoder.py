"""The decoder of a session: the codec's, and behind it times of capture that go on where the sender's clock was set,
label smoothing, and the fading of what is not seen any more.

They change what is shown, not the states that later packets are predicted from.
"""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final, Protocol

import numpy as np

from common.arrays import BoolArray, FloatArray, IntArray
from common.clock import BridgedTimes
from common.codec.coded_frame import DecodedFrame
from common.codec.frame_codec import FrameCodec
from common.codec.orientation import ENTRIES
from common.codec.quantiser import GROUP_OF_ENTRY, UNIT, rho_levels, steps
from common.codec.tables import load as load_tables
from common.frames import PersonLabels, unseen_groups
from common.labels import FAST_GROUPS, GROUP_NAMES, LABEL_SIZE, concatenate, group_slices, split
from receiver.motion.fading import FadingGroups

logger = logging.getLogger(__name__)

# From one frame to the next, until two are known.
_INTERVAL_S: Final = 1 / 30
# Frames whose quantised labels are averaged, however fast they follow each other, and their greatest age.
_FRAMES: Final = 8
_MAX_AGE_S: Final = 0.5
# Range of an entry over the frames, in steps, up to which they are smoothed, and from which on they are not.
_RESTING, _MOVING = 1.2, 2.0
_LEAST_LINE = 3
_TINY: Final = 1e-12
_FAST_ENTRY: Final = np.isin(GROUP_OF_ENTRY, [g for g, name in enumerate(GROUP_NAMES) if name in FAST_GROUPS])
# The orientation is coded as a rotation about three axes, whose steps are those of its first three entries.
_STEP_OF_ENTRY: Final = np.arange(LABEL_SIZE)
_ORIENTATION: Final = group_slices()["root"].start
_STEP_OF_ENTRY[_ORIENTATION + 3 : _ORIENTATION + ENTRIES] -= 3


class FrameDecoder(Protocol):
    """The codec's decoder, with the states that later frames are predicted from (`FrameCodec`)."""

    def decode_bundle(self, payload: bytes, sequences: Sequence[int]) -> Sequence[DecodedFrame]:
        """Decodes a packet. Raises WireError if it must not be decoded; the state stays as it was then."""

    def keep_only(self, sequence: int) -> None:
        """Forgets the states of all frames but this one."""

    @property
    def needed_from(self) -> int:
        """The number of the oldest frame that a `snapshot` has."""

    def snapshot(self) -> bytes:
        """The state after the last decoded frame, for recordings."""

    def restore(self, snapshot: bytes) -> None:
        """Takes over a state that was recorded; raises MalformedPacket for a damaged one."""


class LabelSmoothing:
    """One person's last frames, with the entries that were seen in each."""

    def __init__(self) -> None:
        self._last: deque[tuple[float, FloatArray, BoolArray]] = deque(maxlen=_FRAMES)

    def remembers(self, now_s: float) -> bool:
        """Whether a frame was added recently enough to smooth one that is captured now."""
        return any(0 <= now_s - captured_at <= _MAX_AGE_S for captured_at, *_ in self._last)

    def smooth(
        self, captured_at: float, labels: FloatArray, levels: IntArray, unseen: frozenset[str] = frozenset()
    ) -> FloatArray:
        """Adds a frame; returns its smoothed labels, (E,) in σ. Slow groups are as they were decoded.

        A limb that was unseen in one of the frames is not smoothed: its labels were a guess.

        Args:
            captured_at: seconds.
            labels: (E,) as decoded, in σ.
            levels: (groups,) ρ levels of the frame.
            unseen: groups that nobody sees.
        """
        self._last.append((captured_at, labels, _seen_entries(unseen)))
        recent = [each for each in self._last if 0 <= captured_at - each[0] <= _MAX_AGE_S]
        frames, seen = np.stack([row for _, row, _ in recent]), np.all([mask for _, _, mask in recent], axis=0)
        step = steps(load_tables().base_step, levels)[_STEP_OF_ENTRY] / UNIT
        moved = (frames.max(axis=0) - frames.min(axis=0)) / step
        resting = np.clip((_MOVING - moved) / (_MOVING - _RESTING), 0, 1) * _FAST_ENTRY * seen
        times_s = np.array([time_s - captured_at for time_s, *_ in recent], np.float32)
        return np.asarray(labels + resting * (_newest(frames, times_s) - labels), np.float32)


@lru_cache(maxsize=64)
def _seen_entries(unseen: frozenset[str]) -> BoolArray:
    """(E,) entries of other groups."""
    return ~np.isin(GROUP_NAMES, list(unseen))[GROUP_OF_ENTRY]


def _newest(frames: FloatArray, times_s: FloatArray) -> FloatArray:
    """(E,) the newest of frames (T, E) as far as the others confirm it: their mean, and R² of the line through them.

    Args:
        times_s: (T,) of the frames.
    """
    mean = frames.mean(axis=0)
    if len(frames) < _LEAST_LINE:
        return np.asarray(mean, np.float32)
    time = times_s - times_s.mean()
    squares, difference = max(float(time @ time), _TINY), frames - mean
    slope = time @ difference / squares
    explained = slope**2 * squares / np.maximum(np.square(difference).sum(axis=0), _TINY)
    return np.asarray(mean + explained * slope * time[-1], np.float32)


class SourceTimes:
    """Times of capture of a session's frames, which go on while the source does."""

    def __init__(self) -> None:
        self._source, self._newest, self._warned = "", -1, False
        self._times = BridgedTimes(_INTERVAL_S)

    def bridged(self, decoded: DecodedFrame) -> DecodedFrame:
        """The frame with its time on the clock as it was at the source's first frame; frames may come late."""
        frame, set_s = decoded.frame, -self._times.shift_s
        if frame.source != self._source:
            self._source, self._times, set_s = frame.source, BridgedTimes(_INTERVAL_S), 0.0
        captured_at = frame.captured_at - set_s
        if frame.sequence > self._newest:
            self._newest, captured_at = frame.sequence, self._times.following(frame.captured_at)
        if -self._times.shift_s != set_s and not self._warned:
            self._warned = True
            text = "the sender's clock was set by %+.0f s at frame %d: the times of its frames go on as before"
            logger.warning(text, -self._times.shift_s - set_s, frame.sequence)
        frame = replace(frame, captured_at=captured_at)
        return replace(decoded, frame=frame, clock_set_s=-self._times.shift_s)


class SessionDecoder:
    """Packets of a session to labels that do not flicker. Raises WeightsError if the codec's tables are unusable."""

    def __init__(self, model_hash: bytes) -> None:
        self._codec = FrameCodec(model_hash)
        self._smoothing: dict[int, LabelSmoothing] = {}
        self._fading = FadingGroups()
        self._times = SourceTimes()

    def decode(self, payload: bytes, sequence: int) -> DecodedFrame:
        """Decodes a packet of one frame; raises as `FrameCodec.decode`."""
        return self.decode_bundle(payload, (sequence,))[0]

    def decode_bundle(self, payload: bytes, sequences: Sequence[int]) -> Sequence[DecodedFrame]:
        """Decodes a packet; raises as `FrameCodec.decode_bundle`."""
        return [self._shown(self._times.bridged(each)) for each in self._codec.decode_bundle(payload, sequences)]

    def _shown(self, decoded: DecodedFrame) -> DecodedFrame:
        if decoded.reference is None:
            self._smoothing.clear()
            self._fading.clear()
        now_s = decoded.frame.captured_at
        people = tuple(self._fading.faded(self._smoothed(person, decoded), now_s) for person in decoded.frame.people)
        self._smoothing = {key: each for key, each in self._smoothing.items() if each.remembers(now_s)}
        return replace(decoded, frame=replace(decoded.frame, people=people))

    def keep_only(self, sequence: int) -> None:
        """As `FrameCodec.keep_only`."""
        self._codec.keep_only(sequence)

    @property
    def needed_from(self) -> int:
        """As `FrameCodec.needed_from`."""
        return self._codec.needed_from

    def snapshot(self) -> bytes:
        """As `FrameCodec.snapshot`; smoothing begins anew behind it."""
        return self._codec.snapshot()

    def restore(self, snapshot: bytes) -> None:
        """As `FrameCodec.restore`."""
        self._codec.restore(snapshot)
        self._times = SourceTimes()
        self._smoothing.clear()
        self._fading.clear()

    def _smoothed(self, person: PersonLabels, decoded: DecodedFrame) -> PersonLabels:
        smoothing = self._smoothing.setdefault(person.identity, LabelSmoothing())
        levels = rho_levels(decoded.rho_by_person[person.identity])
        unseen = unseen_groups(person)
        smooth = split(smoothing.smooth(decoded.frame.captured_at, concatenate(person.labels), levels, unseen))
        known = {name: smooth[name] for name in FAST_GROUPS if name in person.labels}
        return replace(person, labels={**person.labels, **known})
