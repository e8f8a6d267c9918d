"""Reconstructs uploaded pictures with a sender process of the receiver's own.

    picture ─ sender process (perception, semantics, codec) ─ link ─ receiver's pipeline ─→ people

A picture passes the same labels, codec and engine as a live frame. Nothing of it is written or shown to others.
"""

import asyncio
import itertools
import logging
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from common.blobs import Blob
from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import DecodedFrame
from common.errors import OutputError
from common.frames import IDENTITIES
from common.wire import pictures as wire
from receiver.engine.engine import ReconstructedPerson
from receiver.link.refusals import OwnKind
from receiver.link.server import LinkServer
from receiver.mesh.skinned_glb import Skeleton
from receiver.metrics import ReceiverMetrics
from receiver.outfits.mixture import PLAIN, Kinds, chosen_kinds
from receiver.publish.frame_record import FrameRecord, PersonRecord
from receiver.publish.observer import ObservedSender, SessionObserver
from receiver.web.children.sender_child import SENDER, ChildEnded, PictureSocket, SenderChild, end_process
from receiver.web.children.standby import PICTURE_FLAGS
from receiver.web.places import Refused

logger = logging.getLogger(__name__)

ACCOUNT = "pictures"
"""The engine's account of all pictures: live sessions keep their shares."""

# The sender decodes the next picture while it looks at one; more in it would only wait there.
_IN_SENDER = 4
# Until a picture is given up; perception and reconstruction take a second or two.
_PICTURE_S = 30.0
# After a process that has ended before it took pictures; a start costs seconds of a core.
_PAUSE_S = 5.0

_Published = tuple[FrameRecord, Sequence[ReconstructedPerson]]
"""What has become of a picture."""


@dataclass(frozen=True, slots=True)
class ReconstructedPicture:
    """The people of one picture.

    Args:
        people: most prominent first; empty if nobody was found.
        label_bytes: size of the packet that the labels travelled in.
        skeleton: of their bodies.
        kinds: by identity what they were dressed in (`common.wears`).
        unsure: by identity the attributes of these that the picture does not show surely.
        blob_bytes: by identity the bytes of what came beside the labels, by its purpose: `wears`, `colours`.
    """

    width: int
    height: int
    people: tuple[ReconstructedPerson, ...]
    label_bytes: int
    skeleton: Skeleton
    kinds: Mapping[int, Kinds]
    unsure: Mapping[int, Sequence[str]] = field(default_factory=dict)
    blob_bytes: Mapping[int, Mapping[str, int]] = field(default_factory=dict)


@dataclass(slots=True, eq=False, weakref_slot=True)
class _Expected:
    """A picture on its way; has `arrived` with the bytes of its packet, and of each person's blobs."""

    arrived: "asyncio.Future[tuple[int, Mapping[int, Mapping[str, int]]]]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    published: "asyncio.Future[_Published]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class _Results(SessionObserver):
    """Gives what becomes of each picture to the job that waits for it, by its name."""

    def __init__(self) -> None:
        self._expected: WeakValueDictionary[str, _Expected] = WeakValueDictionary()
        # By identity and purpose, of people whose picture comes behind them.
        self._blob_bytes: dict[int, Counter[str]] = {}
        self.arrived = 0

    def expect(self, name: str) -> _Expected:
        """Announces a picture, for as long as somebody has what this returns."""
        self._expected[name] = expected = _Expected()
        return expected

    def fail(self) -> None:
        """Ends all waiting: the sender has ended."""
        for future in [each for expected in self._expected.values() for each in (expected.arrived, expected.published)]:
            if not future.done():
                future.set_exception(ChildEnded("the sender process has ended"))
                # A job that is about to send its picture will not ask.
                future.exception()

    def blob_taken(self, number: int, blob: Blob) -> None:
        # Keys of tiles end with the identity, too.
        self._blob_bytes.setdefault(blob.key % IDENTITIES, Counter())[blob.traits.purpose] += len(blob.data)

    def packet_decoded(self, number: int, decoded: Sequence[DecodedFrame], payload: bytes, decoder: FrameCodec) -> None:
        for each in decoded:
            self.arrived += 1
            people = [person.identity for person in each.frame.people]
            blob_bytes = {identity: self._blob_bytes.pop(identity, Counter()) for identity in people}
            expected = self._expected.get(each.frame.source)
            if expected is not None and not expected.arrived.done():
                expected.arrived.set_result((round(sum(each.bytes_by_group.values())), blob_bytes))

    def frame_published(self, number: int, record: FrameRecord, people: Sequence[ReconstructedPerson]) -> None:
        expected = self._expected.get(record.source)
        if expected is not None and not expected.published.done():
            expected.published.set_result((record, people))


class ChildPictures:
    """Turns pictures into people; its sender process starts with the first picture, or by `prepare`.

    Args:
        waiting: the first process, if it has been started already.
    """

    def __init__(
        self,
        link: LinkServer,
        skeleton: Skeleton,
        metrics: ReceiverMetrics,
        command: Sequence[str] = SENDER,
        waiting: Process | None = None,
    ) -> None:
        self._waiting = waiting
        self._link, self._skeleton, self._metrics, self._command = link, skeleton, metrics, command
        self._results = _Results()
        self._child: SenderChild | None = None
        self._starting = asyncio.Lock()
        self._next_start_s = 0.0
        self._in_sender = asyncio.Semaphore(_IN_SENDER)
        self._numbers = itertools.count(1)
        self._closed = False

    async def prepare(self) -> None:
        """Starts what the first picture would otherwise wait for, without waiting. Raises Refused (503)."""
        await self._started()

    async def reconstruct(
        self, picture: bytes, on_stage: Callable[[str], None] = lambda _: None
    ) -> ReconstructedPicture:
        """Sends a picture through sender, link and engine.

        Args:
            picture: an encoded image, checked and upright (EXIF orientation applied).
            on_stage: is called with one of `receiver.web.metrics.PICTURE_STAGES` when that stage begins.

        Raises:
            Refused: 422 it is no readable picture, 503 the sender process has ended or is overloaded.
        """
        arrived = self._results.arrived
        try:
            async with asyncio.timeout(_PICTURE_S):
                return await self._reconstruct(picture, on_stage)
        except ChildEnded as error:
            raise _unavailable("the process for pictures has ended: try again") from error
        except TimeoutError as error:
            if self._child is not None and self._child.was_ready and self._results.arrived == arrived:
                logger.error("the sender process for pictures does not answer")
                self._child.kill()
                await self._child.ended()
            raise _unavailable(f"the picture was not finished within {_PICTURE_S:g} s: try again later") from error

    async def close(self) -> None:
        """Ends the sender process; pictures in it fail."""
        self._closed = True
        async with self._starting:
            if self._child is not None:
                await self._child.close()
            if self._waiting is not None:
                await end_process(self._waiting)
        self._results.fail()

    async def _reconstruct(self, picture: bytes, on_stage: Callable[[str], None]) -> ReconstructedPicture:
        """Sends a picture to the sender process, and waits for its people. Raises ChildEnded or Refused."""
        on_stage("queue")
        async with self._in_sender:
            child = await self._started()
            try:
                accepted, expected = await self._accepted(child, picture)
                on_stage("perception")
                payload_bytes, blob_bytes = await expected.arrived
            except ChildEnded:
                child.kill()
                await child.ended()
                raise
        on_stage("reconstruction")
        record, people = await expected.published
        kinds = {each.labels.identity: chosen_kinds(each.worn or PLAIN, each.labels.identity) for each in people}
        return ReconstructedPicture(
            accepted.width,
            accepted.height,
            tuple(people),
            payload_bytes,
            self._skeleton,
            kinds,
            {each.identity: _unsure(each, kinds[each.identity]) for each in record.people},
            blob_bytes,
        )

    async def _accepted(self, child: SenderChild, picture: bytes) -> tuple[wire.PictureAccepted, _Expected]:
        await child.ready()
        name = f"picture {next(self._numbers)}"
        expected = self._results.expect(name)
        with closing(await PictureSocket.connect(child.socket_path)) as connection:
            answer = await connection.send(wire.PictureHeader(name), picture)
        if isinstance(answer, wire.PictureRefused):
            raise Refused(422, answer.reason)
        return answer, expected

    async def _started(self) -> SenderChild:
        async with self._starting:
            if self._closed:
                raise _unavailable("the receiver is stopping")
            if self._child is not None and self._child.has_ended:
                await self._child.close()
                self._child = None
            if self._child is None:
                self._child = await self._start()
            return self._child

    async def _start(self) -> SenderChild:
        if time.monotonic() < self._next_start_s:
            raise _unavailable("the process for pictures has ended: try again later")
        sender = ObservedSender("pictures", ACCOUNT, OwnKind.PICTURES, (self._results,))
        child = SenderChild(
            self._link,
            sender,
            "socket",
            flags=PICTURE_FLAGS,
            on_end=self._on_child_end,
            command=self._command,
            waiting=self._waiting,
        )
        self._waiting = None
        try:
            await child.start()
        except OutputError as error:
            await child.close()
            raise _unavailable("the process for pictures cannot be started") from error
        return child

    def _on_child_end(self) -> None:
        if self._child is None or not self._child.was_ready:
            self._next_start_s = time.monotonic() + _PAUSE_S
        self._metrics.sender_process_ended()
        self._results.fail()


def _unavailable(detail: str) -> Refused:
    return Refused(503, detail, _PAUSE_S)


def _unsure(person: PersonRecord, kinds: Kinds) -> Sequence[str]:
    """The attributes of which another kind than the one that was drawn is possible."""
    sets = person.wears.sets() if person.wears else {}
    return [name for name, value in kinds.items() if sets.get(name) != [value]]
