"""Uploaded clips become recorded sessions: check, play, keep.

A sender process plays each, whose session is recorded like that of any sender.

    clip ─ sender process (capture … codec) ─ link ─ receiver's pipeline ─→ session on disk

Nobody observes the session live: it belongs to the account that has uploaded the clip.
"""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from starlette.datastructures import UploadFile

from common.errors import OutputError, SourceError
from common.io.files import PrivateFolder, read_regular, remove_abandoned
from common.text import printable
from receiver.config import UploadConfig
from receiver.engine.engine import ReconstructedPerson
from receiver.link.refusals import OwnKind
from receiver.link.server import LinkServer
from receiver.link.session import Session
from receiver.metrics import ReceiverMetrics
from receiver.publish.files import output_errors
from receiver.publish.frame_record import FrameRecord
from receiver.publish.observer import ObservedSender, SessionObserver
from receiver.publish.session_records import SessionState
from receiver.web.accounts.store import Account
from receiver.web.children.sender_child import SENDER, SenderChild
from receiver.web.children.standby import PICTURE_FLAGS
from receiver.web.decoder import Decoder
from receiver.web.library.service import Library
from receiver.web.metrics import WebMetrics
from receiver.web.owners import CLIP, owner_of
from receiver.web.places import Places, Refused
from receiver.web.uploads import Admission, Progress, UploadForm, Uploads, Work, shown_name

logger = logging.getLogger(__name__)

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


FIELD = "clip"
# A clip takes both networks and disk for minutes: one is played at a time, and some arrive or wait.
_AT_ONCE, _IN_WORK, _OF_ACCOUNT = 1, 8, 3
# Within which a body must have arrived: 200 MB at 3 Mbit/s.
_UPLOAD_S = 600.0
# An account whose sessions of clips take as much uploads no more.
_MOST_GB = 10.0
_NAME_CHARACTERS = 60
_CHECKED_AT_ONCE = 2
_MOST_ID_BYTES = 100
_SESSION = "session"
"""In the folder of a clip, the id of its session: a receiver that was killed has left both."""


class RecordedClip(NamedTuple):
    """The session of a clip, and what the user should know of it: what is damaged or missing."""

    state: SessionState
    warnings: list[str]


class ClipService(Uploads[RecordedClip]):
    """Takes clips, and keeps their sessions; nothing is left of one that fails or is cancelled."""

    def __init__(
        self,
        config: UploadConfig,
        library: Library,
        decoder: Decoder,
        player: ChildClips,
        admission: Admission,
        metrics: WebMetrics,
    ) -> None:
        form = UploadForm(FIELD, "clip", config.clip_bytes, _UPLOAD_S)
        super().__init__(form, Places(_IN_WORK, _OF_ACCOUNT), admission, metrics.clip)
        self._library, self._decoder, self._player = library, decoder, player
        self._checks, self._turn = asyncio.Semaphore(_CHECKED_AT_ONCE), asyncio.Semaphore(_AT_ONCE)

    async def recover(self) -> None:
        """Removes what a receiver that was killed has left of clips."""
        out = self._library.out
        for path in out.glob(f"*/{_SESSION}"):
            with suppress(OSError, ValueError):  # it is of another program
                await self._library.discard(read_regular(path, _MOST_ID_BYTES).decode())
        await asyncio.to_thread(remove_abandoned, out)

    async def admit(self, account: Account) -> None:
        await super().admit(account)
        kept = sum(state.statistics.disk_bytes for state in self._library.clips_of(account.name))
        if kept >= 1e9 * _MOST_GB:
            most = f"{kept / 1e9:.1f} of {_MOST_GB:g} GB"
            raise Refused(409, f"the account's clips take {most}: delete one first")

    async def check(self, account: Account, file: UploadFile, kept: ExitStack) -> Work[RecordedClip]:
        with output_errors(self._library.out):
            folder = PrivateFolder(self._library.out)
            kept.callback(folder.remove)
            path = folder.path / "upload"
            await asyncio.to_thread(_store, file.file, path)
        async with self._checks:
            checked = await asyncio.to_thread(self._decoder.clip, path)
        clip = path.rename(path.with_name(_file_name(shown_name(file, "clip"), checked.suffix)))
        return partial(self._recorded, account, clip, checked.frames)

    async def _recorded(self, account: Account, clip: Path, frames: int, progress: Progress) -> RecordedClip:
        progress.begin("queue")
        async with self._turn, _making(self._library, clip.with_name(_SESSION)) as (begun, begin):
            progress.begin("clip")
            await self.admission.check(account)
            owner = owner_of(CLIP, account.name)
            warnings = await self._player.play(clip, owner, begin, lambda done: progress.done(done / frames))
            await self.admission.check(account)
            found = self._library.of_identifier(begun[0]) if begun else None
            if found is None or not found.statistics.people:
                detail = "nobody was found in the clip: choose one that shows a person from head to feet"
                raise Refused(422, detail)
            # Its sender has ended with all that it sent: nobody has to wait before deleting it.
            self._library.usage.settled(found.number)
            return RecordedClip(found, warnings)


def _store(file: BinaryIO, path: Path) -> None:
    with path.open("wb") as stored:
        shutil.copyfileobj(file, stored)


def _file_name(shown: str, suffix: str) -> str:
    """What a clip's file, and so its session, is called."""
    stem = "".join(each if each.isalnum() or each in " _-." else "_" for each in Path(shown).stem)
    return f"{stem.strip(' .-')[:_NAME_CHARACTERS] or 'clip'}{suffix}"


@asynccontextmanager
async def _making(library: Library, note: Path) -> AsyncIterator[tuple[Sequence[str], Callable[[str], None]]]:
    """Yields the ids of the sessions that the block has begun to make, and what it calls with the id of each.

    Nobody sees the session before the end of the block, and it is discarded if that fails.

    Args:
        note: where the id is written for a receiver after one that is killed.
    """
    begun = list[str]()

    def begin(identifier: str) -> None:
        begun.append(identifier)
        library.unfinished.add(identifier)
        try:
            note.write_text(identifier)
        except OSError as error:
            # The frames cannot be written either, which ends the clip.
            logger.warning("cannot write %s: %s", note, error.strerror)

    try:
        yield begun, begin
        note.unlink(missing_ok=True)
    except BaseException:
        for identifier in begun:
            await library.discard(identifier)
        raise
    finally:
        library.unfinished.difference_update(begun)
