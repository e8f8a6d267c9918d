"""Who may see what people before a sender's camera do.

On the loopback whoever opens the address that the receiver has printed: its token tells the receiver's user from others
on this machine, who cannot read it. At any other address, and behind a proxy, a request must belong to an account, by a
cookie of the page or a token of the account.
"""

import asyncio
import hmac
from dataclasses import dataclass

from fastapi import Request
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response

from receiver.publish.session_records import SessionState
from receiver.web.accounts.identity import accounts_of, cookie_name, identify
from receiver.web.accounts.service import Identity
from receiver.web.guards import is_encrypted
from receiver.web.owners import account_key, is_clip, key_of_session
from receiver.web.places import NOBODY, Refused, Visitor

_RECHECK_EVERY_S = 10.0
# What proxies add: who comes through one is not on this machine.
_FORWARDED = ("forwarded", "via", "x-real-ip")

ACCOUNTLESS = ""
"""Name of a watcher who needs no account."""


@dataclass(frozen=True, slots=True)
class Access:
    """Decides who may watch (`token`: of the printed address; empty if it has none)."""

    needs_account: bool
    token: str = ""

    async def visitor(self, connection: HTTPConnection) -> Visitor | None:
        """Who may watch or send a camera, for places that visitors share; None if they may not."""
        name = await self.watcher(connection)
        return None if name is None else (True, name) if name else NOBODY

    async def watcher(self, connection: HTTPConnection) -> str | None:
        """Under which name a connection may watch; None if it may not."""
        identity = await identify(connection)
        return identity.account.name if identity else ACCOUNTLESS if self.is_local(connection) else None

    def is_local(self, connection: HTTPConnection) -> bool:
        """Whether a connection needs no account: not forwarded, and with the token."""
        headers = connection.headers
        if self.needs_account or any(name.startswith("x-forwarded") or name in _FORWARDED for name in headers):
            return False
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        cookie = connection.cookies.get(cookie_name(connection, _COOKIE), "")
        given = (cookie, connection.query_params.get("token", ""), bearer)
        return not self.token or any(same(one, self.token) for one in given)

    def is_owner(self, connection: HTTPConnection) -> bool:
        """Whether a connection is of the receiver's user: it needs no account, and has a token that others lack."""
        return bool(self.token) and self.is_local(connection)

    def entered(self, request: Request) -> Response | None:
        """For who opens the printed address: a cookie instead of the token, which no history then keeps."""
        if not self.token or not same(request.query_params.get("token", ""), self.token):
            return None
        response = RedirectResponse(".", 303)
        name, secure = cookie_name(request, _COOKIE), is_encrypted(request)
        response.set_cookie(name, self.token, secure=secure, httponly=True, samesite="strict")
        return response

    async def until_signed_out(self, connection: HTTPConnection) -> None:
        """Waits until a connection that may watch may no longer: its session ended, or its token was revoked."""
        if self.is_local(connection):
            await asyncio.Event().wait()
        while await self.watcher(connection) is not None:
            await asyncio.sleep(_RECHECK_EVERY_S)

    async def manager(self, request: Request, identity: Identity | None) -> "Manager":
        """What somebody may see and change of recorded sessions. Raises Refused (401) if they may not watch."""
        if await self.watcher(request) is None:
            detail = "sign in to watch" if self.needs_account else f"{_OPEN}, or sign in, to watch"
            raise Refused(401, detail)
        # Where watching needs an account and everybody can make one, accounts change their own sessions only.
        return Manager(identity, not (self.needs_account and accounts_of(request).sign_up_open))

    async def may_sign_up(self, request: Request) -> None:
        """A dependency of routes. Raises Refused (403)."""
        if not self.needs_account and not self.is_local(request):
            raise Refused(403, f"{_OPEN} to make an account")


@dataclass(frozen=True, slots=True)
class Manager:
    """Who asks for recorded sessions.

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


def same(given: str, expected: str) -> bool:
    """Compares secrets in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


_OPEN = "open the address that the receiver has printed"
_COOKIE = "page"
