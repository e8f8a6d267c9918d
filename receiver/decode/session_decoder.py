"""The decoder of a session: the codec's, and label smoothing behind it.

Smoothing changes what is shown, not the states that later packets are predicted from.
"""

from dataclasses import replace

from common.codec.frame_codec import DecodedFrame, FrameCodec
from common.codec.quantiser import rho_levels
from common.frames import PersonLabels
from common.labels import FAST_GROUPS, concatenate, split
from receiver.decode.label_smoothing import LabelSmoothing


class SessionDecoder:
    """The packets of a session to labels that do not flicker.

    Args:
        model_hash: of both ends' networks.

    Raises:
        WeightsError: the codec's tables are missing or damaged.
    """

    def __init__(self, model_hash: bytes) -> None:
        self._codec = FrameCodec(model_hash)
        self._smoothing: dict[int, LabelSmoothing] = {}

    def decode(self, payload: bytes, sequence: int) -> DecodedFrame:
        """Decodes a packet; raises as `FrameCodec.decode`."""
        decoded = self._codec.decode(payload, sequence)
        if decoded.reference is None:
            self._smoothing.clear()
        people = tuple(self._smoothed(person, decoded) for person in decoded.frame.people)
        now_s = decoded.frame.captured_at
        self._smoothing = {key: each for key, each in self._smoothing.items() if each.remembers(now_s)}
        return replace(decoded, frame=replace(decoded.frame, people=people))

    def keep_only(self, sequence: int) -> None:
        """As `FrameCodec.keep_only`."""
        self._codec.keep_only(sequence)

    def snapshot(self) -> bytes:
        """As `FrameCodec.snapshot`; smoothing begins anew behind it."""
        return self._codec.snapshot()

    def restore(self, snapshot: bytes) -> None:
        """As `FrameCodec.restore`."""
        self._codec.restore(snapshot)
        self._smoothing.clear()

    def _smoothed(self, person: PersonLabels, decoded: DecodedFrame) -> PersonLabels:
        smoothing = self._smoothing.setdefault(person.identity, LabelSmoothing())
        levels = rho_levels(decoded.rho_by_person[person.identity])
        smooth = split(smoothing.smooth(decoded.frame.captured_at, concatenate(person.labels), levels))
        known = {name: smooth[name] for name in FAST_GROUPS if name in person.labels}
        return replace(person, labels={**person.labels, **known})
