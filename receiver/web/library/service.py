"""What the page does with recorded sessions: shows, renames, deletes and downloads them."""

import asyncio
import itertools
import logging
import unicodedata
from collections.abc import Hashable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

from common.clock import SYSTEM_CLOCK, Clock
from common.errors import OutputError
from receiver.publish.session_deletion import SessionInUse
from receiver.publish.session_directory import SessionDirectory
from receiver.publish.session_records import SessionState, without_people
from receiver.web.accounts.store import Account
from receiver.web.database.database import Database
from receiver.web.library.downloads import Exports
from receiver.web.library.recorded import RecordedFrames
from receiver.web.library.removal import delete_sessions_of_removed, remove_account
from receiver.web.library.thumbnails import thumbnail
from receiver.web.owners import account_key, is_clip, key_of_session
from receiver.web.refused import Refused

logger = logging.getLogger(__name__)

MAX_NAME = 100
_THUMBNAILS = 256
# The picture of a session that goes on is drawn anew so often.
_THUMBNAIL_S = 30.0
_LINES_SEARCHED = 50
# Of an album, whose first pictures may all be without people.
_PAGES_SEARCHED = 20


class Library:
    """The recorded sessions of an output directory.

    Args:
        database: says whether an account was removed.
    """

    def __init__(self, directory: SessionDirectory, database: Database, clock: Clock = SYSTEM_CLOCK) -> None:
        self.out, self.usage = directory.config.out, directory.usage
        self.exports = Exports(self.out)
        self.frames = RecordedFrames(self.out, lambda: directory.generation)
        self._directory, self._database, self._clock = directory, database, clock
        self.unfinished: set[str] = set()
        """Ids of sessions that are being made of clips: nobody sees them yet."""
        self._drawn = lru_cache(_THUMBNAILS)(self._draw)
        self._drawing = asyncio.Lock()

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

    def page(self, state: SessionState, after: int, limit: int) -> list[dict[str, Any]]:
        """Lines of a session, as `RecordedFrames.page`, without those whom somebody has taken out."""
        return [without_people(line, state.hidden) for line in self.frames.page(state.number, after, limit)]

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

    async def thumbnail(self, state: SessionState) -> bytes | None:
        """A small picture, WebP, of a session's people; None if no mesh of it can be drawn."""
        async with self._drawing:
            shown = state.number, state.statistics.ended_at // _THUMBNAIL_S, state.hidden
            return await asyncio.to_thread(self._drawn, *shown)

    def _draw(self, number: int, *_: Hashable) -> bytes | None:
        """Of an album's first picture with people; else of a frame in the middle: people are as they are mostly."""
        state = self.session(number)
        if state is None:
            return None
        middle = () if state.is_album else self.page(state, state.last_sequence // 2 - 1, _LINES_SEARCHED)
        lines = itertools.chain(middle, self._first_lines(state))
        return next((picture for line in lines if (picture := thumbnail(self.out, line)) is not None), None)

    def _first_lines(self, state: SessionState) -> Iterator[dict[str, Any]]:
        after = -1
        for _ in range(_PAGES_SEARCHED if state.is_album else 1):
            lines = self.page(state, after, _LINES_SEARCHED)
            yield from lines
            after = lines[-1]["seq"] if lines else state.last_sequence
