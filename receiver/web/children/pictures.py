"""Reconstructs uploaded pictures with a sender process of the receiver's own.

    picture ─ sender process (perception, semantics, codec) ─ internal link ─ engine ─→ people

A picture passes the same labels, codec and engine as a live frame. Nothing of it is written or shown to others: its
frames do not reach the receiver's pipeline.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from common.errors import OutputError
from common.wire import pictures as wire
from receiver.engine.engine import Priority, ReconstructionEngine, ReconstructionRequest, ReconstructionResult
from receiver.metrics import PictureFate, ReceiverMetrics
from receiver.outfits.mixture import PLAIN, chosen_kinds
from receiver.texture.inpainting import TextureInpainter
from receiver.web.children.picture_frames import PictureFrames, PictureLabels
from receiver.web.children.sender_child import SENDER, ChildEnded, PictureSocket, SenderChild
from receiver.web.config import ChildrenConfig
from receiver.web.pictures import PictureRefused, PicturesUnavailable, ReconstructedPicture

logger = logging.getLogger(__name__)

ACCOUNT = "pictures"
"""The engine's account of all pictures: live sessions keep their shares."""

# There is no later frame: labels are as fine as they get, on a link that is no limit.
_FLAGS = ("--policy", "fixed", "--fixed-f", "0")
# The sender decodes the next picture while it looks at one; more in it would only wait there.
_IN_SENDER = 4
# What the sender reports beside the stages that a picture passes: how long it has waited for one.
_WAITING_STAGE = "capture"


class ChildPictures:
    """A `PictureReconstructor`; its sender process starts with the first picture, or by `prepare`."""

    def __init__(
        self,
        engine: ReconstructionEngine,
        config: ChildrenConfig | None = None,
        *,
        metrics: ReceiverMetrics | None = None,
        command: Sequence[str] = SENDER,
        inpainter: TextureInpainter | None = None,
    ) -> None:
        self._engine = engine
        self._config = config or ChildrenConfig()
        self._metrics = metrics or ReceiverMetrics()
        self._command = command
        self._frames = PictureFrames(inpainter)
        self._child: SenderChild | None = None
        self._starting = asyncio.Lock()
        self._in_sender = asyncio.Semaphore(_IN_SENDER)
        self._numbers = itertools.count(1)
        self._jobs = 0
        self._closed = False

    async def prepare(self) -> None:
        """See `PictureReconstructor.prepare`."""
        await self._started()

    async def reconstruct(
        self, picture: bytes, on_stage: Callable[[str], None] = lambda _: None
    ) -> ReconstructedPicture:
        """See `PictureReconstructor.reconstruct`."""
        began_s, fate = time.monotonic(), PictureFate.UNAVAILABLE
        try:
            reconstructed = await self._within_limits(picture, on_stage)
            fate = PictureFate.RECONSTRUCTED
        except PictureRefused:
            fate = PictureFate.REFUSED
            raise
        finally:
            self._metrics.picture_answered(fate, time.monotonic() - began_s)
        return reconstructed

    async def _within_limits(self, picture: bytes, on_stage: Callable[[str], None]) -> ReconstructedPicture:
        if self._jobs >= self._config.max_pictures:
            raise PicturesUnavailable("too many pictures wait for their turn: try again in a few seconds")
        self._jobs += 1
        arrived = self._frames.arrived
        try:
            async with asyncio.timeout(self._config.picture_timeout):
                return await self._reconstruct(picture, on_stage)
        except ChildEnded as error:
            raise PicturesUnavailable("the process for pictures has ended; it is started again: try again") from error
        except TimeoutError as error:
            if self._child is not None and self._frames.arrived == arrived:
                logger.error("the sender process for pictures does not answer")
                self._child.kill()
            limit_s = self._config.picture_timeout
            raise PicturesUnavailable(f"the picture was not finished within {limit_s:g} s: try again later") from error
        finally:
            self._jobs -= 1

    async def close(self) -> None:
        """Ends the sender process; pictures in it fail."""
        self._closed = True
        async with self._starting:
            if self._child is not None:
                await self._child.close()
        self._fail()

    async def _reconstruct(self, picture: bytes, on_stage: Callable[[str], None]) -> ReconstructedPicture:
        began_s = time.monotonic()
        on_stage("queue")
        async with self._in_sender:
            accepted, labels = await self._labels_of(picture, on_stage)
        arrived_s = time.monotonic()
        on_stage("reconstruction")
        request = ReconstructionRequest(
            ACCOUNT,
            labels.frame.source,
            labels.frame,
            textures=labels.textures,
            wears=labels.wears,
            priority=Priority.UPLOAD,
            still=True,
        )
        result = await self._engine.reconstruct(request)
        stages_ms = _stages_ms((arrived_s - began_s) * 1e3, labels, result)
        identities = [person.identity for person in labels.frame.people]
        return ReconstructedPicture(
            accepted.width,
            accepted.height,
            result.people,
            labels.payload_bytes,
            stages_ms,
            self._engine.skeleton,
            {each: chosen_kinds(labels.wears.get(each, PLAIN), each) for each in identities},
        )

    async def _labels_of(
        self, picture: bytes, on_stage: Callable[[str], None]
    ) -> tuple[wire.PictureAccepted, PictureLabels]:
        """Sends a picture to the sender process, and waits for what it sees in it.

        A picture that a process did not accept before it ended goes to the next one, once.

        Raises:
            ChildEnded: the process has ended.
            PictureRefused: it is no readable picture.
        """
        child = await self._started()
        for last in (False, True):
            process = await child.ready()
            name = f"picture {next(self._numbers)}"
            with self._frames.expect(name) as expected:
                try:
                    async with PictureSocket(child.socket_path) as connection:
                        answer = await connection.send(wire.PictureHeader(name), picture)
                except ChildEnded:
                    child.lost(process)
                    if last:
                        raise
                    continue
                if isinstance(answer, wire.PictureRefused):
                    raise PictureRefused(answer.reason)
                on_stage("perception")
                labels = await expected
                on_stage("link")
                return answer, labels
        raise AssertionError("the second attempt returns or raises")

    async def _started(self) -> SenderChild:
        async with self._starting:
            if self._closed:
                raise PicturesUnavailable("the receiver is stopping")
            if self._child is None:
                child = SenderChild(
                    "pictures",
                    "socket",
                    self._frames,
                    flags=_FLAGS,
                    on_end=self._on_child_end,
                    command=self._command,
                )
                try:
                    await child.start()
                except OutputError as error:
                    await child.close()
                    raise PicturesUnavailable("the process for pictures cannot be started") from error
                self._child = child
            return self._child

    def _on_child_end(self) -> None:
        self._metrics.sender_process_ended()
        self._fail()

    def _fail(self) -> None:
        self._frames.fail(ChildEnded("the sender process has ended"))


def _stages_ms(until_labels_ms: float, labels: PictureLabels, result: ReconstructionResult) -> Mapping[str, float]:
    """Milliseconds by stage: the sender's last report, the engine's; the rest until the labels is waiting."""
    report = labels.session.report
    reported = dict(report.stages_ms) if report else {}
    reported.pop(_WAITING_STAGE, None)
    engine = dict(result.stages_ms)
    waiting_ms = max(until_labels_ms - sum(reported.values()), 0.0) + engine.pop("queue", 0.0)
    return {"queue": waiting_ms, **reported, **engine}
