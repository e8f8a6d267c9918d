"""Sends skeleton and face of the followed person to programs that show avatars: `receiver --vmc HOST:PORT`.

The protocol is Virtual Motion Capture (https://protocol.vmc.info/english), messages of OSC over UDP. Sixty times a
second, thirty without playout, go `/VMC/Ext/OK`, `/VMC/Ext/T`, `/VMC/Ext/Root/Pos` and a `/VMC/Ext/Bone/Pos` for each
bone, in bundles that fit a packet. Of a face that is known, `/VMC/Ext/Blend/Val` of each expression and
`/VMC/Ext/Blend/Apply` follow.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from pythonosc.osc_message_builder import OscMessageBuilder

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import FACIAL_ACTIONS
from common.clock import SYSTEM_CLOCK, Clock
from common.errors import OutputError
from common.io.addresses import Address
from receiver.engine.engine import ReconstructedPerson
from receiver.mesh.mesh_files import Y_UP
from receiver.mesh.skinned_glb import PosedBody, Skeleton
from receiver.playout.bones import Bones
from receiver.playout.playout import Screen
from receiver.publish.frame_record import FrameRecord
from receiver.publish.observer import SessionObserver
from receiver.vmc.expressions import expressions, eye_bones
from receiver.vmc.humanoid import BonePose, Humanoid

logger = logging.getLogger(__name__)

RATE_HZ, PLAYED_HZ = 30, 60
"""Poses a second: as frames come, and with playout."""
# Ethernet's packet of 1,500 bytes, less the headers of IP and UDP.
_MAX_BYTES = 1452
# A bundle of OSC that is due at once; before each message its length.
_BUNDLE = b"#bundle\0" + struct.pack(">Q", 1)
_LENGTH = struct.Struct(">I")
_BONE, _EXPRESSION = struct.Struct(">7f"), struct.Struct(">f")
# Somebody who is out of sight for longer makes way for others.
_FOLLOWED_S = 2.0
_MADE_UP_S = 0.2
_UNTURNED = BonePose((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))


class MotionSender(SessionObserver):
    """Follows the most prominent person of the newest session, as long as that person is seen.

    The origin is the place on the floor where the person was first seen.

    Args:
        skeleton: of all bodies.
        played: what is shown of sessions that are played out, and who poses it; None without playout.

    Raises:
        OutputError: the host is not known.
    """

    def __init__(
        self,
        address: Address,
        skeleton: Skeleton,
        clock: Clock = SYSTEM_CLOCK,
        played: tuple[Screen, Bones] | None = None,
    ) -> None:
        self._played = played
        self._humanoid = Humanoid(skeleton.names)
        self._clock = clock
        try:
            family, kind, _, _, target = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)[0]
        except OSError as error:
            raise OutputError(f"--vmc {address}: {error.strerror}: give an address that this machine knows") from error
        self._target: Any = target
        self._socket = socket.socket(family, kind)
        self._socket.setblocking(False)
        self._followed: tuple[int, int] | None = None
        self._seen_s = self._began_s = clock.monotonic()
        self._origin: Float64Array = np.zeros(3)
        self._body: PosedBody | None = None
        self._bones: list[bytes] = []
        self._expressions: list[bytes] = []

    def frame_published(self, number: int, record: FrameRecord, people: Sequence[ReconstructedPerson]) -> None:
        """Takes the followed person's body."""
        now_s = self._clock.monotonic()
        found = {(number, person.labels.identity): person for person in people}
        if self._followed not in found:
            if not people or (self._followed is not None and now_s - self._seen_s < _FOLLOWED_S):
                return
            self._followed = number, people[0].labels.identity
            self._origin = _floor_below(people[0].body)
        assert self._followed is not None
        self._seen_s, self._body = now_s, found[self._followed].body

    def session_ended(self, number: int) -> None:
        """Nobody of the session is followed any more."""
        if self._followed is not None and self._followed[0] == number:
            self._followed = self._body = None
            self._bones, self._expressions = [], []

    async def run(self) -> None:
        """Sends until cancelled."""
        due_s = self._clock.monotonic()
        while True:
            self.send()
            now_s = self._clock.monotonic()
            # What a busy event loop delays is made up for, but not a longer halt.
            due_s = max(due_s + 1 / (RATE_HZ if self._played is None else PLAYED_HZ), now_s - _MADE_UP_S)
            await asyncio.sleep(max(due_s - now_s, 0))

    def send(self) -> None:
        """Sends the newest pose once; a network that is down is not reported, because the next one is due at once."""
        if (pose := self._pose()) is not None:
            # Labels of damaged packets may be beyond the numbers of a message; the pose before stays.
            with contextlib.suppress(ArithmeticError, ValueError):
                positions, rotations, activations = pose
                bones = self._humanoid.pose(positions, rotations, self._origin)
                if activations is None and self._expressions:
                    # A face that is not known any more is neutral.
                    activations = np.zeros(len(FACIAL_ACTIONS), np.float32)
                if activations is not None:
                    bones |= eye_bones(activations)
                    self._expressions = list(_expression_messages(expressions(activations)))
                self._bones = list(_bone_messages(bones))
        state = [
            _message("/VMC/Ext/OK", int(bool(self._bones))),
            _message("/VMC/Ext/T", float(self._clock.monotonic() - self._began_s)),
        ]
        for packet in _packets([*state, *self._bones, *self._expressions]):
            with contextlib.suppress(OSError):
                self._socket.sendto(packet, self._target)

    def _pose(self) -> tuple[FloatArray, FloatArray, FloatArray | None] | None:
        """Joints, their rotations, and the activations of a face that is known.

        As the person is shown now, else the newest; None if they are those of before.
        """
        body, self._body = self._body, None
        if self._played is not None and self._followed is not None:
            (screen, bones), (number, identity) = self._played, self._followed
            if (frame := screen.frame(number, identity)) is not None:
                shown = [person for person in frame.people if person.identity == identity]
                return bones.shown(shown[0]) if shown else None
        return None if body is None else (body.joint_positions, body.joint_rotations, body.activations)

    def close(self) -> None:
        """Frees the socket."""
        self._socket.close()


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
    packet = _BUNDLE
    for message in messages:
        if len(packet) + _LENGTH.size + len(message) > _MAX_BYTES:
            yield packet
            packet = _BUNDLE
        packet += _LENGTH.pack(len(message)) + message
    yield packet
