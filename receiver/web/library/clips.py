"""Uploaded clips become recorded sessions: check, play, keep."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from starlette.datastructures import UploadFile

from common.io.files import PrivateFolder, read_regular, remove_abandoned
from receiver.config import UploadConfig
from receiver.publish.files import output_errors
from receiver.publish.session_records import SessionState
from receiver.web.accounts.store import Account
from receiver.web.children.clips import ChildClips
from receiver.web.library.service import Library
from receiver.web.metrics import WebMetrics
from receiver.web.owners import CLIP, owner_of
from receiver.web.places import Places, Refused
from receiver.web.uploads.decoder import check_clip
from receiver.web.uploads.uploads import Admission, Progress, UploadForm, Uploads, Work, shown_name

logger = logging.getLogger(__name__)

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
        self, config: UploadConfig, library: Library, player: ChildClips, admission: Admission, metrics: WebMetrics
    ) -> None:
        form = UploadForm(FIELD, "clip", config.clip_bytes, _UPLOAD_S)
        super().__init__(form, Places(_IN_WORK, _OF_ACCOUNT), admission, metrics.clip)
        self._library, self._player = library, player
        self._checks, self._turn = asyncio.Semaphore(_CHECKED_AT_ONCE), asyncio.Semaphore(_AT_ONCE)

    async def recover(self) -> None:
        """Removes what a receiver that was killed has left of clips."""
        out = self._library.out
        for path in out.glob(f"*/{_SESSION}"):
            with suppress(OSError, ValueError):  # it is of another program
                await self._library.discard(read_regular(path, _MOST_ID_BYTES).decode())
        await asyncio.to_thread(remove_abandoned, out)

    async def admit(self, account: Account) -> None:
        """See `Uploads.admit`."""
        await super().admit(account)
        kept = sum(state.statistics.disk_bytes for state in self._library.clips_of(account.name))
        if kept >= 1e9 * _MOST_GB:
            most = f"{kept / 1e9:.1f} of {_MOST_GB:g} GB"
            raise Refused(409, f"the account's clips take {most}: delete one first")

    async def check(self, account: Account, file: UploadFile, kept: ExitStack) -> Work[RecordedClip]:
        """See `Uploads.check`."""
        with output_errors(self._library.out):
            folder = PrivateFolder(self._library.out)
            kept.callback(folder.remove)
            path = folder.path / "upload"
            await asyncio.to_thread(_store, file.file, path)
        async with self._checks:
            checked = await asyncio.to_thread(check_clip, path)
        clip = path.rename(path.with_name(_file_name(shown_name(file, "clip"), checked.suffix)))
        return partial(self._recorded, account, clip, checked.frames)

    async def _recorded(self, account: Account, clip: Path, frames: int, progress: Progress) -> RecordedClip:
        progress.begin("queue")
        async with self._turn, _making(self._library, clip.with_name(_SESSION)) as begin:
            progress.begin("clip")
            await self.admission.check(account)
            identifier, warnings = await self._played(account, clip, frames, progress, begin)
            await self.admission.check(account)
            found = self._library.of_identifier(identifier)
            if found is None or not found.statistics.people:
                detail = "nobody was found in the clip: choose one that shows a person from head to feet"
                raise Refused(422, detail)
            # Its sender has ended with all that it sent: nobody has to wait before deleting it.
            self._library.usage.settled(found.number)
            return RecordedClip(found, warnings)

    async def _played(
        self, account: Account, clip: Path, frames: int, progress: Progress, begin: Callable[[str], None]
    ) -> tuple[str, list[str]]:
        """Plays a clip; returns the id of its session, and the warnings of the sender. Raises Refused."""
        began = list[str]()

        def on_session(identifier: str) -> None:
            began.append(identifier)
            begin(identifier)

        owner = owner_of(CLIP, account.name)
        warnings = await self._player.play(clip, owner, on_session, lambda done: progress.done(done / frames))
        return began[0] if began else "", warnings


def _store(file: BinaryIO, path: Path) -> None:
    with path.open("wb") as stored:
        shutil.copyfileobj(file, stored)


def _file_name(shown: str, suffix: str) -> str:
    """What a clip's file, and so its session, is called."""
    stem = "".join(each if each.isalnum() or each in " _-." else "_" for each in Path(shown).stem)
    return f"{stem.strip(' .-')[:_NAME_CHARACTERS] or 'clip'}{suffix}"


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
        try:
            note.write_text(identifier)
        except OSError as error:
            # The frames cannot be written either, which ends the clip.
            logger.warning("cannot write %s: %s", note, error.strerror)

    try:
        yield begin
        note.unlink(missing_ok=True)
    except BaseException:
        for identifier in begun:
            await library.discard(identifier)
        raise
    finally:
        library.unfinished -= begun
