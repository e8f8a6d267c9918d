"""What the page does with recorded sessions: shows, renames, deletes, shares and downloads them."""

import asyncio
import unicodedata
from collections import OrderedDict
from collections.abc import Sequence

from common.clock import SYSTEM_CLOCK, Clock
from receiver.publish.session_directory import SessionDirectory
from receiver.publish.session_records import SessionState
from receiver.web.accounts.secrets import secret_hash
from receiver.web.children.cameras import owner_of
from receiver.web.database.database import Database
from receiver.web.database.tables import ShareRow
from receiver.web.library import shares
from receiver.web.library.downloads import Exports
from receiver.web.library.recorded import RecordedFrames
from receiver.web.library.shares import Share
from receiver.web.library.thumbnails import thumbnail

MAX_NAME = 100
_THUMBNAILS = 256
# The picture of a session that goes on is drawn anew so often.
_THUMBNAIL_S = 30.0
_LINES_SEARCHED = 50


class Library:
    """The recorded sessions of an output directory.

    Args:
        database: has the links with which sessions are shared.
    """

    def __init__(self, directory: SessionDirectory, database: Database, clock: Clock = SYSTEM_CLOCK) -> None:
        self.out, self.usage = directory.config.out, directory.usage
        self.exports = Exports(self.out)
        self.frames = RecordedFrames(self.out, lambda: directory.generation)
        self._directory, self._database, self._clock = directory, database, clock
        self._thumbnails: OrderedDict[tuple[int, float], bytes | None] = OrderedDict()
        self._drawing = asyncio.Lock()

    def sessions(self) -> list[SessionState]:
        """The sessions that have frames, by number."""
        return [state for state in self._directory.sessions() if state.frames]

    def session(self, number: int) -> SessionState | None:
        """A session that has frames, or None."""
        return next((state for state in self.sessions() if state.number == number), None)

    async def shared(self, secret: str) -> SessionState | None:
        """The session of a link; None if it is unknown, has expired or was revoked, or the session was deleted."""
        digest, now = secret_hash(secret), self._clock.wall()
        if digest is None:
            return None
        found = await self._database.read_async(lambda session: shares.find_shared(session, digest, now))
        return next((state for state in self.sessions() if state.identifier == found), None) if found else None

    async def rename(self, number: int, name: str) -> bool:
        """Names a session; returns whether there is one. Raises ValueError for a name that does not print."""
        name = unicodedata.normalize("NFKC", name).strip()
        if len(name) > MAX_NAME or not name.isprintable():
            raise ValueError(f"a name has at most {MAX_NAME} characters that print")
        return await asyncio.to_thread(self._directory.rename, number, name)

    async def delete(self, states: Sequence[SessionState]) -> None:
        """Deletes sessions with their files and links. Raises SessionInUse or OutputError."""
        await asyncio.to_thread(self._directory.delete, [state.number for state in states])
        known = [state.identifier for state in states if state.identifier is not None]
        await self._database.write_async(lambda session: shares.remove_shares(session, known))

    async def delete_of_account(self, account: str) -> int:
        """Deletes the sessions that the browsers' cameras of an account have made; returns their number."""
        states = [state for state in self._directory.sessions() if is_of_account(state, account)]
        if states:
            await self.delete(states)
        return len(states)

    async def share(self, state: SessionState, account: int | None, lasts_s: float) -> Share:
        """Makes a link. Raises TooManyShares."""
        now, identifier = self._clock.wall(), state.identifier or ""
        return await self._database.write_async(
            lambda session: shares.add_share(session, identifier, account, now, lasts_s)
        )

    async def shares(self, state: SessionState) -> Sequence[ShareRow]:
        """The links of a session."""
        now, identifier = self._clock.wall(), state.identifier or ""
        return await self._database.read_async(lambda session: shares.list_shares(session, identifier, now))

    async def unshare(self, state: SessionState, share: str) -> bool:
        """Revokes a link; returns whether there was one."""
        identifier = state.identifier or ""
        return await self._database.write_async(lambda session: shares.remove_share(session, identifier, share))

    async def thumbnail(self, state: SessionState) -> bytes | None:
        """A small picture, WebP, of a session's people; None if no mesh of it can be drawn."""
        drawn_of = state.number, state.statistics.ended_at // _THUMBNAIL_S
        async with self._drawing:
            if drawn_of not in self._thumbnails:
                self._thumbnails[drawn_of] = await asyncio.to_thread(self._draw, state)
            self._thumbnails.move_to_end(drawn_of)
            while len(self._thumbnails) > _THUMBNAILS:
                self._thumbnails.popitem(last=False)
            return self._thumbnails[drawn_of]

    def _draw(self, state: SessionState) -> bytes | None:
        """Of a frame in the middle, where people are as they are most of the time."""
        middle = state.last_sequence // 2
        for after in (middle - 1, -1):
            for line in self.frames.page(state.number, after, _LINES_SEARCHED):
                picture = thumbnail(self.out, line)
                if picture is not None:
                    return picture
        return None


def is_of_account(state: SessionState, account: str) -> bool:
    """Whether the browser of an account has made a session."""
    return state.owner is not None and state.owner.subject == f"token:{owner_of((True, account))}"
