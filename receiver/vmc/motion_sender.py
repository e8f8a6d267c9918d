"""Sends skeleton and face of the followed person to programs that show avatars: `receiver --vmc HOST:PORT`.

The protocol is Virtual Motion Capture (https://protocol.vmc.info/english), messages of OSC over UDP. Sixty times a
second, thirty without playout, go `/VMC/Ext/OK`, `/VMC/Ext/T`, `/VMC/Ext/Root/Pos` and a `/VMC/Ext/Bone/Pos` for each
bone, in bundles that fit a packet. Of a face that is known, `/VMC/Ext/Blend/Val` of each expression and
`/VMC/Ext/Blend/Apply` follow.

    event loop ─ what was published last ─ thread: pose as it is now ─ packets ─ targets

The thread does not wait for the event loop, which other sessions keep busy. A moment that it misses is left out.
"""

import contextlib
import logging
import math
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pythonosc.osc_message_builder import OscMessageBuilder

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import FACIAL_ACTIONS
from common.clock import SYSTEM_CLOCK, Clock
from common.io.addresses import Address
from common.io.logs import RepeatedLines
from receiver.engine.engine import ReconstructedPerson
from receiver.mesh.mesh_files import Y_UP
from receiver.mesh.skinned_glb import PosedBody, Skeleton
from receiver.motion.playout import PlayoutView
from receiver.publish.frame_record import FrameRecord
from receiver.publish.observer import SessionObserver
from receiver.vmc.bones import Bones
from receiver.vmc.humanoid import BonePose, Humanoid, expressions, eye_bones
from receiver.vmc.target import EMPTY_BUNDLE, Target

logger = logging.getLogger(__name__)

RATE_HZ, PLAYED_HZ = 30, 60
"""Poses a second: as frames come, and with playout."""
# Ethernet's packet of 1,500 bytes, less the headers of IP and UDP.
_MAX_BYTES = 1452
# Before each message of a bundle.
_LENGTH = struct.Struct(">I")
_BONE, _EXPRESSION = struct.Struct(">7f"), struct.Struct(">f")
# Somebody who is out of sight for longer makes way for others.
_FOLLOWED_S = 2.0
_UNTURNED = BonePose((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))


@dataclass(frozen=True, slots=True, eq=False)
class _Followed:
    """Who is followed, as published last.

    Args:
        who: session and identity.
        origin: (3,) y up: the place on the floor where the person was first seen.
        seen_s: when, monotonic.
    """

    who: tuple[int, int]
    origin: Float64Array
    seen_s: float
    body: PosedBody


class MotionSender(SessionObserver):
    """Follows the most prominent person of the newest session, as long as that person is seen.

    Args:
        skeleton: of all bodies.
        played: a view of sessions that are played out, and who poses it; None without playout.

    Raises:
        ValueError: the skeleton is none of a humanoid.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        skeleton: Skeleton,
        clock: Clock = SYSTEM_CLOCK,
        played: tuple[PlayoutView, Bones] | None = None,
    ) -> None:
        self._played = played
        self._humanoid = Humanoid(skeleton.names)
        self._clock = clock
        self._targets = [Target(address, clock) for address in addresses]
        # Replaced whole by the event loop, and read once for each pose by the thread, to which the rest belongs.
        self._followed: _Followed | None = None
        self._posed: PosedBody | None = None
        self._bones: list[bytes] = []
        self._expressions: list[bytes] = []
        self._began_s = clock.monotonic()
        self._lines = RepeatedLines(logger, clock)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self.run, name="vmc", daemon=True)

    def frame_published(self, number: int, record: FrameRecord, people: Sequence[ReconstructedPerson]) -> None:
        """Takes the followed person's body."""
        now_s, followed = self._clock.monotonic(), self._followed
        found = {(number, person.labels.identity): person for person in people}
        if followed is not None and (person := found.get(followed.who)) is not None:
            self._followed = _Followed(followed.who, followed.origin, now_s, person.body)
        elif people and (followed is None or now_s - followed.seen_s >= _FOLLOWED_S):
            who, body = (number, people[0].labels.identity), people[0].body
            self._followed = _Followed(who, _floor_below(body), now_s, body)

    def session_ended(self, number: int) -> None:
        """Nobody of the session is followed any more."""
        if self._followed is not None and self._followed.who[0] == number:
            self._followed = None

    def start(self) -> None:
        """Begins to send, in a thread of its own."""
        self._thread.start()

    def run(self) -> None:
        """Sends until `close`."""
        period_s, due_s = 1 / (RATE_HZ if self._played is None else PLAYED_HZ), self._clock.monotonic()
        while not self._stopped.wait(max(due_s - self._clock.monotonic(), 0.0)):
            try:
                self.send()
            except Exception as error:
                # Nobody else would tell of it, and the next pose may be another one.
                what = type(error).__name__
                self._lines.write(logging.ERROR, what, f"a pose was not sent: {what}: {error}")
                logger.debug("a pose was not sent", exc_info=True)
            # What was missed is left out, and what would follow at once.
            late_s = self._clock.monotonic() - due_s
            due_s += period_s * max(math.floor(late_s / period_s + 0.5) + 1, 1)

    def send(self) -> None:
        """Sends the newest pose once."""
        followed = self._followed
        if followed is None:
            self._bones, self._expressions = [], []
        else:
            # Labels of damaged packets may be beyond the numbers of a message; the pose before stays.
            with contextlib.suppress(ArithmeticError, ValueError):
                self._encode(followed)
        state = [
            _message("/VMC/Ext/OK", int(bool(self._bones))),
            _message("/VMC/Ext/T", float(self._clock.monotonic() - self._began_s)),
        ]
        packets = list(_packets([*state, *self._bones, *self._expressions]))
        for target in self._targets:
            target.send(packets)

    def _encode(self, followed: _Followed) -> None:
        """Makes the messages of the followed person's pose, if it is another one than before."""
        if (pose := self._pose(followed)) is None:
            return
        positions, rotations, activations = pose
        bones = self._humanoid.pose(positions, rotations, followed.origin)
        if activations is None and self._expressions:
            # A face that is not known any more is neutral.
            activations = np.zeros(len(FACIAL_ACTIONS), np.float32)
        if activations is not None:
            bones |= eye_bones(activations)
            self._expressions = list(_expression_messages(expressions(activations)))
        self._bones = list(_bone_messages(bones))

    def _pose(self, followed: _Followed) -> tuple[FloatArray, FloatArray, FloatArray | None] | None:
        """Joints, their rotations, and the activations of a face that is known.

        As the person is displayed now, else the newest; None if they are those of before.
        """
        if self._played is not None:
            (screen, bones), (number, identity) = self._played, followed.who
            if (frame := screen.frame(number, identity)) is not None:
                found = [person for person in frame.people if person.identity == identity]
                return bones.posed(found[0]) if found else None
        body, before = followed.body, self._posed
        self._posed = body
        return None if body is before else (body.joint_positions, body.joint_rotations, body.activations)

    def close(self) -> None:
        """Ends the thread, and frees the sockets."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        for target in self._targets:
            target.close()


def _floor_below(body: PosedBody) -> Float64Array:
    """(3,) y up: below the hips, as low as the lowest vertex."""
    hips, lowest = body.joint_positions[0] * Y_UP, float((body.mesh.vertices[:, 1] * Y_UP[1]).min())
    return np.array([hips[0], lowest, hips[2]], np.float64)


def _bone_messages(bones: Mapping[str, BonePose]) -> Iterator[bytes]:
    yield _message("/VMC/Ext/Root/Pos", "root", *_UNTURNED.position, *_UNTURNED.rotation)
    for name, pose in bones.items():
        yield _bone_head(name) + _BONE.pack(*pose.position, *pose.rotation)


def _expression_messages(values: Mapping[str, float]) -> Iterator[bytes]:
    for name, value in values.items():
        yield _expression_head(name) + _EXPRESSION.pack(value)
    yield _message("/VMC/Ext/Blend/Apply")


@lru_cache(maxsize=256)
def _expression_head(name: str) -> bytes:
    """An expression's message without its number."""
    return _message("/VMC/Ext/Blend/Val", name, 0.0)[: -_EXPRESSION.size]


@lru_cache
def _bone_head(name: str) -> bytes:
    """A bone's message without its numbers."""
    return _message("/VMC/Ext/Bone/Pos", name, *_UNTURNED.position, *_UNTURNED.rotation)[: -_BONE.size]


def _message(address: str, *values: str | float | int) -> bytes:
    builder = OscMessageBuilder(address)
    for value in values:
        builder.add_arg(value)
    return builder.build().dgram


def _packets(messages: Sequence[bytes]) -> Iterator[bytes]:
    """Bundles of the messages, each as large as a packet may be."""
    packet = EMPTY_BUNDLE
    for message in messages:
        if len(packet) + _LENGTH.size + len(message) > _MAX_BYTES:
            yield packet
            packet = EMPTY_BUNDLE
        packet += _LENGTH.pack(len(message)) + message
    yield packet
