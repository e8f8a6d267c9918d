"""What the page does with recorded sessions: shows, renames, deletes and downloads them."""

import asyncio
import json
import logging
import unicodedata
from collections.abc import Hashable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from common.clock import SYSTEM_CLOCK, Clock
from common.errors import OutputError
from common.io.files import stamp_of
from receiver.export.rigging import made_of_body
from receiver.publish.session_deletion import SessionInUse
from receiver.publish.session_directory import SessionDirectory
from receiver.publish.session_records import SessionState
from receiver.web.accounts.store import Account
from receiver.web.children.workshop import Workshop
from receiver.web.database.database import Database
from receiver.web.library.downloads import Downloads, without
from receiver.web.library.recorded import RecordedFrames
from receiver.web.library.removal import delete_sessions_of_removed, remove_account
from receiver.web.library.thumbnails import first_thumbnail
from receiver.web.owners import account_key, is_clip, key_of_session
from receiver.web.refused import Refused

logger = logging.getLogger(__name__)

MAX_NAME = 100
# The picture of a session that goes on is drawn anew so often.
_THUMBNAIL_S = 30.0
_LINES_SEARCHED = 50
# Of an album, whose first pictures may all be without people.
_PAGES_SEARCHED = 20


class Library:
    """The recorded sessions of an output directory.

    Args:
        database: says whether an account was removed.
        workshop: makes bodies and thumbnails.
    """

    def __init__(
        self, directory: SessionDirectory, database: Database, workshop: Workshop, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.out, self.usage, self._workshop = directory.config.out, directory.usage, workshop
        self.downloads = Downloads(self.out)
        self.frames = RecordedFrames(self.out, lambda: directory.generation)
        self._directory, self._database, self._clock = directory, database, clock
        self.unfinished: set[str] = set()
        """Ids of sessions that are being made of clips: nobody sees them yet."""
        self._drawing, self._reading = asyncio.Lock(), asyncio.Lock()

    def sessions(self) -> list[SessionState]:
        """The sessions that have frames, by number."""
        found = self._directory.sessions()
        return [state for state in found if state.frames and state.identifier not in self.unfinished]

    def of_identifier(self, identifier: str) -> SessionState | None:
        """The session of an id, also one that is being made or has no frames; None if there is none."""
        return next((state for state in self._directory.sessions() if state.identifier == identifier), None)

    def clips_of(self, account: str) -> list[SessionState]:
        """The sessions of clips that an account has uploaded."""
        key = account_key(account)
        return [state for state in self.sessions() if is_clip(state) and key_of_session(state) == key]

    def session(self, number: int) -> SessionState | None:
        """A session that has frames, or None."""
        return next((state for state in self.sessions() if state.number == number), None)

    async def change(self, state: SessionState, name: str | None, hidden: Sequence[int] | None) -> bool:
        """Names a session, or takes people out of it; returns whether there is one.

        Raises:
            Refused: 422 for a name that does not print, or for an identity that nobody has.
        """
        if name is not None:
            name = unicodedata.normalize("NFKC", name).strip()
            if len(name) > MAX_NAME or not name.isprintable():
                raise Refused(422, f"a name has at most {MAX_NAME} characters that print")
        for person in set(hidden or ()) - state.statistics.people:
            raise Refused(422, f"nobody in the session has the id {person}")
        change = partial(self._directory.change, state.number, name=name, hidden=hidden)
        return await asyncio.to_thread(change)

    async def delete(self, states: Sequence[SessionState]) -> None:
        """Deletes sessions with their files. Raises SessionInUse or OutputError."""
        await asyncio.to_thread(self._directory.delete, [state.number for state in states])

    async def remove_account(self, account: Account) -> None:
        """Removes an account with its models and sessions; a session in use is deleted later. Raises OutputError."""
        now = self._clock.wall()
        await asyncio.to_thread(remove_account, self._database, self.out, account, now)
        await self.delete_of_removed()

    async def delete_of_removed(self) -> None:
        """Deletes the sessions of accounts that were removed, as far as they are not in use. Raises OutputError."""
        await asyncio.to_thread(delete_sessions_of_removed, self._directory, self._database)

    async def discard(self, identifier: str) -> None:
        """Deletes a session that has ended and that nobody has seen."""
        found = self.of_identifier(identifier)
        if found is None:
            return
        self.usage.settled(found.number)
        try:
            await self.delete([found])
        except (SessionInUse, OutputError) as error:
            logger.warning("session %d of a clip that failed is left: %s", found.number, error)

    async def body(self, path: Path, visitor: Hashable) -> bytes | None:
        """A GLB file made of a body, see `made_of_body`; None if there is no such body. Raises Refused: 429, 503."""
        source = path.with_name(f"{path.name.removesuffix('.glb').removesuffix('.body')}.body.gltf")
        stamp = await asyncio.to_thread(stamp_of, source)
        if stamp is None:
            return None
        with suppress(ValueError):
            return await self._workshop.made(visitor, (path, stamp), _body, path)
        return None

    async def page(self, state: SessionState, after: int, limit: int) -> list[bytes]:
        """Lines of a session, as `RecordedFrames.page`, without those whom somebody has taken out.

        One thread reads at a time.
        """
        async with self._reading:
            return await asyncio.to_thread(self._page, state, after, limit)

    def _page(self, state: SessionState, after: int, limit: int) -> list[bytes]:
        lines = self.frames.page(state.number, after, limit)
        return [without(line, state.hidden).strip() for line in lines] if state.hidden else lines

    async def thumbnail(self, state: SessionState) -> bytes | None:
        """A small picture, WebP, of a session's people; None if no mesh of it can be drawn. Raises Refused: 503."""
        key = state.number, state.statistics.ended_at // _THUMBNAIL_S, state.hidden
        async with self._drawing:
            lines = [] if self._workshop.keeps(key) else await self._lines_to_draw(state)
            return await self._workshop.made(None, key, first_thumbnail, self.out, lines)

    async def _lines_to_draw(self, state: SessionState) -> list[bytes]:
        """Of an album its first picture with people; else frames from the middle on: people are as they are mostly."""
        if not state.is_album:
            pages = [await self.page(state, after, _LINES_SEARCHED) for after in (state.last_sequence // 2 - 1, -1)]
            return [line for page in pages for line in page]
        after = -1
        for _ in range(_PAGES_SEARCHED):
            lines = await self.page(state, after, _LINES_SEARCHED)
            records = [json.loads(line) for line in lines]
            if not records or any(record["people"] for record in records):
                return lines
            after = records[-1]["seq"]
        return []


def _body(path: Path) -> list[bytes]:
    return [made_of_body(path)]
