"""Sends the motion of people as VMC, to programs that take it (`--vmc`).

Names are looked up in threads of their own: a network that does not answer takes seconds.

Sends skeleton and face of the followed person to programs that show avatars: `receiver --vmc HOST:PORT`.

The protocol is Virtual Motion Capture (https://protocol.vmc.info/english), messages of OSC over UDP. Sixty times a
second, thirty without playout, go `/VMC/Ext/OK`, `/VMC/Ext/T`, `/VMC/Ext/Root/Pos` and a `/VMC/Ext/Bone/Pos` for each
bone, in bundles that fit a packet. Of a face that is known, `/VMC/Ext/Blend/Val` of each expression and
`/VMC/Ext/Blend/Apply` follow.

    event loop ─ what was published last ─ thread: pose as it is now ─ packets ─ targets

The thread does not wait for the event loop, which other sessions keep busy. A moment that it misses is left out.
"""

import contextlib
import errno
import logging
import math
import socket
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
import torch
from pythonosc.osc_message_builder import OscMessageBuilder

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import FACIAL_ACTIONS
from common.body.faces import ExpressionSpace
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.clock import SYSTEM_CLOCK, Clock
from common.frames import PersonLabels, has_face
from common.io.addresses import Address
from common.io.logs import RepeatedLines
from common.labels import LABEL_SIZE, concatenate
from common.weights.devices import to_numpy
from common.weights.inference import NetworkInUse, in_use
from receiver.engine.engine import ReconstructedPerson
from receiver.engine.reconstructor import BonesNetwork
from receiver.mesh.mesh_files import Y_UP
from receiver.mesh.skinned_glb import PosedBody, Skeleton
from receiver.motion.playout import PlayoutView
from receiver.publish.frame_record import FrameRecord
from receiver.publish.observer import SessionObserver
from receiver.vmc.humanoid import BonePose, Humanoid, expressions, eye_bones

logger = logging.getLogger(__name__)

# What fails is opened again after this time; what has not failed for so long works.
_REOPENED_S, _WORKS_S = 1.0, 5.0
_REMEDIES = {
    errno.ECONNREFUSED: "start the program, or give the port that it takes VMC on",
    errno.EACCES: "permit it in the firewall",
    errno.EPERM: "permit it in the firewall",
}
_OTHER_REMEDY = "tried again until it works"
# A machine on which nobody listens says so within this time.
_ANSWER_S = 0.2

EMPTY_BUNDLE = b"#bundle\0" + struct.pack(">Q", 1)
"""A bundle of OSC that is due at once, without messages."""


def resolved(address: Address) -> Sequence[tuple[Any, ...]]:
    """Family and socket address of each of a host's addresses, IPv4 first: many programs listen on that alone.

    Raises:
        OSError: the host is not known.
    """
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
    places = dict.fromkeys((family, place) for family, _, _, _, place in found)
    return sorted(places, key=lambda each: each[0] != socket.AF_INET)


def connected(family: int, place: Any) -> socket.socket:
    """A UDP socket whose sends tell when nobody listens there; also broadcast addresses can be reached.

    Raises:
        OSError: no network leads there.
    """
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        opened.setblocking(False)
        opened.connect(place)
    except BaseException:
        opened.close()
        raise
    return opened


def place_of(opened: socket.socket) -> str:
    """Where a connected socket sends to, without the name of a host."""
    host, port, *_ = opened.getpeername()
    return str(Address(host, port))


def probed(address: Address) -> str:
    """Where the first address leads to that takes what is sent: a bundle without messages.

    Raises:
        OSError: of the first address, when none does.
    """
    errors: list[OSError] = []
    for family, place in resolved(address):
        try:
            with connected(family, place) as opened:
                opened.send(EMPTY_BUNDLE)
                opened.settimeout(_ANSWER_S)
                with contextlib.suppress(TimeoutError):
                    opened.recv(1)
                return place_of(opened) + (", every machine of that network" if _is_broadcast(opened) else "")
        except OSError as error:
            errors.append(error)
    raise errors[0]


def _is_broadcast(opened: socket.socket) -> bool:
    """Whether a socket is connected to a broadcast address, which others may not connect to."""
    with socket.socket(opened.family, socket.SOCK_DGRAM) as plain:
        try:
            plain.connect(opened.getpeername())
        except PermissionError:
            return True
    return False


def failure(address: Address, error: OSError) -> str:
    """What is to be logged of sends that fail."""
    if isinstance(error, socket.gaierror):
        return f"--vmc {address}: {error.strerror}: give an address that this machine knows"
    remedy = _REMEDIES.get(error.errno or 0, _OTHER_REMEDY)
    return f"--vmc {address}: nothing gets there ({error.strerror}): {remedy}"


def _looked_up(address: Address) -> Future[Sequence[tuple[Any, ...]]]:
    """What `resolved` returns or raises; of a name, from a thread that nobody has to wait for."""
    found: Future[Sequence[tuple[Any, ...]]] = Future()

    def look_up() -> None:
        try:
            found.set_result(resolved(address))
        except OSError as error:
            found.set_exception(error)

    if address.is_loopback or address.is_ip:
        look_up()
    else:
        threading.Thread(target=look_up, name="vmc lookup", daemon=True).start()
    return found


class Target:
    """Sends packets to one address, from one thread.

    Of a host with several addresses, the next one is taken when nothing gets to the one before.  Where motion goes, and
    why nothing gets there, is logged once until sends work again.
    """

    def __init__(self, address: Address, clock: Clock) -> None:
        self._address, self._clock = address, clock
        self._socket: socket.socket | None = None
        self._lookup: Future[Sequence[tuple[Any, ...]]] | None = None
        self._opened_s = self._failed_s = -math.inf
        self._attempts = 0
        self._place = self._goes = ""
        self._fails = False
        self._told: set[str] = set()

    def send(self, packets: Iterable[bytes]) -> None:
        """Sends now or not at all."""
        now_s = self._clock.monotonic()
        try:
            if self._opens(now_s):
                self._open(now_s)
            if self._socket is None:
                return
            for packet in packets:
                self._socket.send(packet)
        except OSError as error:
            self._fails, self._failed_s = True, now_s
            self._tell(logging.WARNING, failure(self._address, error))
            return
        if self._fails and now_s - self._failed_s >= _WORKS_S:
            self._fails = False
            self._told = {self._goes}
            logger.info("--vmc %s: motion gets to %s again", self._address, self._place)

    def close(self) -> None:
        """Frees the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _opens(self, now_s: float) -> bool:
        """Whether it is time to look for an address: for the first, or for another one after a failure."""
        if self._lookup is not None:
            return True
        failed = self._socket is None or self._failed_s >= self._opened_s
        return failed and now_s - self._opened_s >= _REOPENED_S

    def _open(self, now_s: float) -> None:
        """Takes the next address once the lookup has ended; raises OSError."""
        lookup = self._lookup = self._lookup or _looked_up(self._address)
        if not lookup.done():
            return
        self._lookup, self._opened_s = None, now_s
        found = lookup.result()
        self.close()
        self._attempts += 1
        self._socket = connected(*found[(self._attempts - 1) % len(found)])
        self._place = place_of(self._socket)
        self._goes = f"--vmc {self._address}: motion goes to {self._place}"
        self._tell(logging.INFO, self._goes)

    def _tell(self, level: int, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            logger.log(level, "%s", line)


class Bones:
    """Poses one skeleton at a time, on the processor."""

    def __init__(self, network: NetworkInUse, expression: ExpressionSpace) -> None:
        self._network, self._expression = network, expression

    @classmethod
    def load(cls) -> Self:
        """With the package's body. Raises WeightsError if its files are missing."""
        network = BonesNetwork(LabelSpace.load(), KeypointKinematics(BodyModel.load()))
        return cls(in_use(network, [torch.zeros(1, LABEL_SIZE)], "bones"), ExpressionSpace.load())

    def posed(self, person: PersonLabels) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Heads of the bones (S, 3), metres, their rotations (S, 3, 3) in camera space, and the facial actions.

        These are activations (52,); None if nothing is known of the face.
        """
        labels = torch.from_numpy(concatenate(person.labels)[None])
        positions, rotations, *_ = self._network(labels)
        activations = to_numpy(self._expression.activations(labels))[0] if has_face(person) else None
        return to_numpy(positions)[0], to_numpy(rotations)[0], activations


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
            values = expressions(activations).items()
            sent = [_expression_head(name) + _EXPRESSION.pack(value) for name, value in values]
            self._expressions = [*sent, _message("/VMC/Ext/Blend/Apply")]
        root = _message("/VMC/Ext/Root/Pos", "root", *_UNTURNED.position, *_UNTURNED.rotation)
        posed = (_bone_head(name) + _BONE.pack(*pose.position, *pose.rotation) for name, pose in bones.items())
        self._bones = [root, *posed]

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
