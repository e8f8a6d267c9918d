"""Uploaded clips become recorded sessions: check, play, keep."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from common.io.private_folder import PrivateFolder, remove_abandoned
from receiver.publish.output_files import output_errors
from receiver.publish.session_records import SessionState
from receiver.web.accounts.store import Account
from receiver.web.clips import ClipPlayer, ClipRefused
from receiver.web.config import UploadConfig
from receiver.web.library.clip_check import CheckedClip, check_clip
from receiver.web.library.service import Library
from receiver.web.metrics import WebMetrics
from receiver.web.owners import CLIP, owner_of
from receiver.web.pictures import PicturesUnavailable
from receiver.web.uploads.jobs import Admission, Job, Jobs, Places, StageTimer
from receiver.web.uploads.multipart import UploadedFile, UploadForm
from receiver.web.uploads.refusals import UploadRefused, outcome_of

FIELD = "clip"
# A clip takes both networks and disk for minutes: one is played at a time, and some wait.
_AT_ONCE, _IN_WORK, _OF_ACCOUNT = 1, 8, 3
# Bodies on their way lie on the disk, each as large as a clip may be.
_ARRIVING = 16
_CHECKED_AT_ONCE = 2
_SESSION = "session"
"""In the folder of a clip, the id of its session: a receiver that was killed has left both."""


class ClipService:
    """Takes clips, and keeps their sessions; nothing is left of one that fails or is cancelled."""

    def __init__(
        self, config: UploadConfig, library: Library, player: ClipPlayer, admission: Admission, metrics: WebMetrics
    ) -> None:
        self._config, self._library, self._player, self._admission = config, library, player, admission
        self._metrics = metrics
        self._arriving, self._in_work = Places(_ARRIVING, _OF_ACCOUNT), Places(_IN_WORK, _OF_ACCOUNT)
        self._checks, self._turn = asyncio.Semaphore(_CHECKED_AT_ONCE), asyncio.Semaphore(_AT_ONCE)
        self._jobs = Jobs[SessionState](self.ended)

    async def recover(self) -> None:
        """Removes what a receiver that was killed has left of clips."""
        out = self._library.out
        for path in out.glob(f"*/{_SESSION}"):
            await self._library.discard(path.read_text())
        await asyncio.to_thread(remove_abandoned, out)

    async def close(self) -> None:
        """Gives up the clips in work."""
        await self._jobs.close()

    def form(self, place: ExitStack) -> UploadForm:
        """What a form with a clip has to have; the clip is on disk until `place` is closed. Raises OutputError."""
        config = self._config
        with output_errors(self._library.out):
            folder = PrivateFolder(self._library.out)
        place.callback(folder.remove)
        # As much time for a byte as a picture has.
        seconds = config.upload_seconds * max(1.0, config.clip_bytes / config.upload_bytes)
        return UploadForm(FIELD, "clip", config.clip_bytes, seconds, folder.path)

    @asynccontextmanager
    async def admit(self, account: Account) -> AsyncIterator[None]:
        """Admits a body until the block ends. Raises UploadRefused: 409 the account keeps too much, 429 uploads."""
        async with self._admission.admit(account, self._in_work):
            kept = sum(state.statistics.disk_bytes for state in self._library.clips_of(account.name))
            if kept >= 1e9 * self._config.account_gb:
                most = f"{kept / 1e9:.1f} of {self._config.account_gb:g} GB"
                raise UploadRefused(409, f"the account's clips take {most}: delete one first")
            with self._arriving.take(account):
                yield

    def work(self, account: Account) -> AbstractContextManager[None]:
        """The place of a clip that has arrived. Raises UploadRefused (429) if there is none."""
        return self._in_work.take(account)

    async def begin(self, account: Account, place: ExitStack, file: UploadedFile) -> Job[SessionState]:
        """Checks a clip, and begins to play it; its place is free again at the end. Raises UploadRefused."""
        assert file.path is not None
        async with self._checks:
            clip = await asyncio.to_thread(check_clip, file.path, file.name, self._config)
        return self._jobs.start(place, partial(self._recorded, account, clip))

    def ended(self, error: BaseException | None, seconds: float) -> None:
        """An upload has ended, perhaps with an error."""
        self._metrics.clip(outcome_of(error), seconds)

    async def _recorded(self, account: Account, clip: CheckedClip, timer: StageTimer) -> SessionState:
        timer.begin("queue")
        async with self._turn, _making(self._library, clip.path.with_name(_SESSION)) as begin:
            timer.begin("clip")
            await self._admission.check(account)
            identifier = await self._played(account, clip, timer, begin)
            await self._admission.check(account)
            found = self._library.of_identifier(identifier)
            if found is None or not found.statistics.people:
                detail = "nobody was found in the clip: choose one that shows a person from head to feet"
                raise UploadRefused(422, detail)
            # Its sender has ended with all that it sent: nobody has to wait before deleting it.
            self._library.usage.settled(found.number)
            return found

    async def _played(
        self, account: Account, clip: CheckedClip, timer: StageTimer, begin: Callable[[str], None]
    ) -> str:
        """Plays a clip; returns the id of its session. Raises UploadRefused."""
        began = list[str]()

        def on_session(identifier: str) -> None:
            began.append(identifier)
            begin(identifier)

        try:
            owner = owner_of(CLIP, account.name)
            await self._player.play(clip.path, owner, on_session, lambda frames: timer.done(frames / clip.frames))
        except ClipRefused as error:
            raise UploadRefused(422, str(error)) from error
        except PicturesUnavailable as error:
            raise UploadRefused(503, str(error), 10.0) from error
        return began[0] if began else ""


@asynccontextmanager
async def _making(library: Library, note: Path) -> AsyncIterator[Callable[[str], None]]:
    """Calls what it yields with the id of the session that the block makes.

    Nobody sees the session before the end of the block, and it is discarded if that fails.

    Args:
        note: where the id is written for a receiver after one that is killed.
    """
    begun = set[str]()

    def begin(identifier: str) -> None:
        begun.add(identifier)
        library.unfinished.add(identifier)
        with output_errors(note):
            note.write_text(identifier)

    try:
        yield begin
        note.unlink(missing_ok=True)
    except BaseException:
        for identifier in begun:
            await library.discard(identifier)
        raise
    finally:
        library.unfinished -= begun
