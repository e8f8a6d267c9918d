"""Plays uploaded clips with a sender process each, whose session is recorded like that of any sender.

    clip ─ sender process (capture … codec) ─ link ─ receiver's pipeline ─→ session on disk

Nobody observes the session live: it belongs to the account that has uploaded the clip.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from common.errors import OutputError, SourceError
from common.text import printable
from receiver.engine.engine import ReconstructedPerson
from receiver.link.refusals import OwnKind
from receiver.link.server import LinkServer
from receiver.link.session import Session
from receiver.metrics import ReceiverMetrics
from receiver.publish.frame_record import FrameRecord
from receiver.publish.observer import ObservedSender, SessionObserver
from receiver.web.children.sender_child import SENDER, SenderChild
from receiver.web.children.standby import PICTURE_FLAGS
from receiver.web.places import Refused

# Until the first frame, and between two: the process loads its networks on a machine that may be busy.
_STALL_S = 120.0
_MOST_REASON = 200
# Those who watch live go first.
_NICE = 5


class ChildClips:
    """Turns clips into recorded sessions."""

    def __init__(self, link: LinkServer, metrics: ReceiverMetrics, command: Sequence[str] = SENDER) -> None:
        self._link, self._metrics, self._command = link, metrics, command

    async def play(
        self, clip: Path, owner: str, on_session: Callable[[str], None], on_frame: Callable[[int], None]
    ) -> list[str]:
        """Sends a clip through sender, link and the receiver's pipeline, to its end.

        Args:
            clip: a video file that was checked.
            owner: under which name of a token the session is recorded.
            on_session: is called with the session's id before its first frame.
            on_frame: is called with the number of frames that are published.

        Returns:
            the warnings of the sender: what of it is damaged or missing.

        Raises:
            Refused: 422 it cannot be decoded, 503 the sender process has ended, or does not answer.
        """
        try:
            async with asyncio.timeout(_STALL_S) as stall:

                def published(frames: int) -> None:
                    stall.reschedule(asyncio.get_running_loop().time() + _STALL_S)
                    on_frame(frames)

                exit_code, words = await self._play(clip, owner, _Progress(on_session, published))
        except (TimeoutError, OutputError) as error:
            raise Refused(503, "the process for this clip does not answer: try again later", 10.0) from error
        if exit_code == SourceError.exit_code:
            # It has passed the check: whatever is wrong, the sender's words are right, and no guess.
            reason = words[-1].removeprefix("sender: ").replace(str(clip), "it") if words else "no reason is known"
            raise Refused(422, f"the clip cannot be played: {printable(reason, _MOST_REASON)}")
        if exit_code != 0:
            self._metrics.sender_process_ended()
            raise Refused(503, "the process for this clip has ended: try again later", 10.0)
        warnings = [each.replace(str(clip), "the clip") for each in words if each.startswith(str(clip))]
        return [printable(each, _MOST_REASON) for each in warnings]

    async def _play(self, clip: Path, owner: str, progress: "_Progress") -> tuple[int | None, list[str]]:
        sender = ObservedSender("clip", owner, OwnKind.CLIP, (progress,))
        # As with pictures, labels are as fine as they get; the player shows the clip at its own pace.
        child = SenderChild(self._link, sender, clip, flags=PICTURE_FLAGS, nice=_NICE, command=self._command)
        try:
            await child.start()
            return await child.ended(), list(child.words)
        finally:
            await child.close()


class _Progress(SessionObserver):
    """Says how far a clip is."""

    def __init__(self, on_session: Callable[[str], None], on_frame: Callable[[int], None]) -> None:
        self._on_session, self._on_frame = on_session, on_frame

    def session_began(self, number: int, session: Session) -> None:
        self._on_session(session.session_id.hex())

    def frame_published(self, number: int, record: FrameRecord, people: Sequence[ReconstructedPerson]) -> None:
        self._on_frame(record.sequence + 1)
