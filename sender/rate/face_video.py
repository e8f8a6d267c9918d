"""The live face: video of everybody's face in its chart, in what labels leave of the link.

    chart ─ due? ─ VP9 ─ parts ─ behind the labels of each message

A picture is coded when the one before it has left, so that none ever waits; after a loss the next one is a key picture.
"""

import math
from dataclasses import dataclass, field

from common.frames import LabelFrame, PersonLabels
from common.texture.face_picture import (
    HEAD_BYTES,
    SHAPE_BYTES,
    SIDES,
    FacePacket,
    FaceParts,
    FaceVideoEncoder,
    LandmarkShapes,
)
from sender.rate.controller import LEAST_FACES_BPS

# A picture of so many bytes is worth its head; pictures a second at most, and at least.
_WORTH_BYTES, _MOST_HZ, _LEAST_HZ = 130.0, 15.0, 4.0
# From so much on a large chart is sent as it is.
_LARGE_BPS = 18_000.0
# A key picture takes so many times the bytes of another one; and one comes for whoever joins a recording.
_KEY_RATIO, _KEY_EVERY_S = 3.0, 10.0
# Of a message, with its labels: over QUIC it must fit a datagram.
_MOST_PART_BYTES = 700
# What was not used is kept for so long.
_CREDIT_S = 0.4
# People whose video is kept.
_MOST_FACES = 8


@dataclass(slots=True)
class _Coded:
    """The video of one face."""

    coder: FaceVideoEncoder
    shown_s: float = -math.inf
    key_s: float = -math.inf


@dataclass(slots=True)
class LiveFaces:
    """The video of everybody's face on one link."""

    _parts: FaceParts = field(default_factory=FaceParts)
    _coded: dict[int, _Coded] = field(default_factory=dict)
    _bits: float = 0.0
    _then_s: float = -math.inf
    _messages_hz: float = 30.0

    def part(self, frame: LabelFrame, bps: float, label_bytes: int, now_s: float) -> bytes:
        """What leaves with the message of a frame, of so many bits a second; empty if nothing does."""
        passed_s, self._then_s = now_s - self._then_s, now_s
        if bps < LEAST_FACES_BPS:
            self.restart()
            return b""
        if passed_s < 1.0:
            self._messages_hz += 0.1 * (1 / max(passed_s, 0.01) - self._messages_hz)
        self._bits = min(self._bits + bps * min(passed_s, _CREDIT_S), bps * _CREDIT_S)
        if not self._parts.left:
            self._code(frame, bps, now_s)
        share = 1.5 * bps / 8 / max(self._messages_hz, 1.0) + HEAD_BYTES
        part = self._parts.take(int(min(share, _MOST_PART_BYTES - label_bytes)))
        if part:
            self._bits -= 8 * len(part)
        return part

    def restart(self) -> None:
        """Something was lost: the next picture of everybody is a key picture."""
        self._parts.put(None)
        for each in self._coded.values():
            each.key_s = -math.inf

    def _code(self, frame: LabelFrame, bps: float, now_s: float) -> None:
        """Codes the picture of whoever waits longest, if it is due."""
        faces = [person for person in frame.people if person.face_chart is not None]
        if not faces:
            return
        hz = min(max(bps / 8 / _WORTH_BYTES, _LEAST_HZ), _MOST_HZ)
        person = min(faces, key=lambda each: self._shown_s(each.identity))
        passed_s = now_s - self._shown_s(person.identity)
        if self._bits <= 0 or passed_s < len(faces) / hz - 0.5 / max(self._messages_hz, 1.0):
            return
        coded = self._of(person, bps)
        key = now_s - coded.key_s >= _KEY_EVERY_S
        bits = bps / len(faces) * min(passed_s, 2 / _LEAST_HZ) - 8 * (HEAD_BYTES * 2 + SHAPE_BYTES)
        assert person.face_chart is not None and person.face_landmarks is not None
        data = coded.coder.encode(person.face_chart, _KEY_RATIO * bits if key else bits, key=key)
        coded.shown_s, coded.key_s = now_s, now_s if key else coded.key_s
        shape = LandmarkShapes.load().encode(person.face_landmarks)
        self._parts.put(FacePacket(person.identity, key, coded.coder.side, shape, data))

    def _of(self, person: PersonLabels, bps: float) -> _Coded:
        """The video of a person, begun anew where the chart has another size."""
        assert person.face_chart is not None
        side = min(person.face_chart.shape[0], SIDES[-1] if bps >= _LARGE_BPS else SIDES[1])
        coded = self._coded.get(person.identity)
        if coded is None or coded.coder.side != side:
            self._coded[person.identity] = coded = _Coded(FaceVideoEncoder(side))
            for old in [one for one in self._coded if one != person.identity][: -_MOST_FACES + 1 or None]:
                if len(self._coded) > _MOST_FACES:
                    del self._coded[old]
        return coded

    def _shown_s(self, identity: int) -> float:
        coded = self._coded.get(identity)
        return -math.inf if coded is None else coded.shown_s
