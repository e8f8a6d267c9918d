"""Who may see and change recorded sessions."""

from dataclasses import dataclass

from fastapi import Request
from starlette.requests import HTTPConnection

from receiver.publish.session_records import SessionState
from receiver.web.access import Access
from receiver.web.accounts.service import Identity
from receiver.web.library.clips import ClipService
from receiver.web.library.schemas import SessionShown
from receiver.web.library.service import Library
from receiver.web.live.hub import LiveHub
from receiver.web.owners import account_key, is_clip, key_of_session


@dataclass(frozen=True, slots=True)
class Manager:
    """Who asks for sessions.

    Args:
        identity: None without an account.
        all_sessions: whether they may change the sessions of all senders and cameras.
    """

    identity: Identity | None
    all_sessions: bool

    def may_see(self, state: SessionState) -> bool:
        """Whether a session is shown to them; a clip is to its own account, and to this machine's user."""
        return not is_clip(state) or self._owns(state) or (self.identity is None and self.all_sessions)

    def may_change(self, state: SessionState) -> bool:
        """Whether a session is theirs to change."""
        return self.may_see(state) and (self.all_sessions or self._owns(state))

    def _owns(self, state: SessionState) -> bool:
        return self.identity is not None and key_of_session(state) == account_key(self.identity.account.name)


@dataclass(frozen=True, slots=True)
class LibrarySite:
    """What the routes of recorded sessions work with.

    Args:
        sign_up_open: visitors can make accounts: where watching needs one, these change their own sessions only.
    """

    library: Library
    clips: ClipService
    hub: LiveHub
    access: Access
    sign_up_open: bool

    async def manager(self, request: Request, identity: Identity | None) -> Manager:
        """What somebody who makes a request may see. Raises HTTPException (401) if they may not watch."""
        await self.access.may_watch(request)
        trusted = not (self.access.needs_account and self.sign_up_open)
        return Manager(identity, trusted)

    def shown(self, state: SessionState, manager: Manager) -> SessionShown:
        """A session as it is shown to somebody."""
        live = self.hub.sessions.get(state.number)
        connected = live is not None and live.connected
        return SessionShown.from_state(state, connected=connected, may_change=manager.may_change(state))


def site_of(connection: HTTPConnection) -> LibrarySite:
    """The `LibrarySite` of the application."""
    found: LibrarySite = connection.app.state.library
    return found
