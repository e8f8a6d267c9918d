"""Who makes a request, and who may see what people before a sender's camera do.

On the loopback whoever opens the address that the receiver has printed: its token tells the receiver's user from others
on this machine, who cannot read it. At any other address, and behind a proxy, a request must belong to an account, by a
cookie of the page or a bearer token of the account.
"""

import asyncio
import hmac
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response, Security
from fastapi.security import APIKeyCookie, HTTPBearer
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse

from receiver.publish.session_records import SessionState
from receiver.web.accounts.service import AccountService, Identity
from receiver.web.accounts.store import SESSION_MOST_S
from receiver.web.guards import is_encrypted
from receiver.web.owners import account_key, is_clip, key_of_session
from receiver.web.places import NOBODY, Refused, Visitor

_RECHECK_EVERY_S = 10.0
# What proxies add: who comes through one is not on this machine.
_FORWARDED = ("forwarded", "via", "x-real-ip")


@dataclass(frozen=True, slots=True)
class Access:
    """Decides who may watch (`token`: of the printed address; empty if it has none)."""

    needs_account: bool
    token: str = ""

    async def visitor(self, connection: HTTPConnection) -> Visitor | None:
        """Who may watch or send a camera, for places that visitors share; None if they may not."""
        identity = await identify(connection)
        return (True, identity.account.name) if identity else NOBODY if self.is_local(connection) else None

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
        while await self.visitor(connection) is not None:
            await asyncio.sleep(_RECHECK_EVERY_S)

    async def manager(self, request: Request, identity: Identity | None) -> "Manager":
        """What somebody may see and change of recorded sessions. Raises Refused (401) if they may not watch."""
        if await self.visitor(request) is None:
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


_SESSION, _DEVICE = "session", "device"
# Browsers keep no cookie for longer.
_DEVICE_LASTS_S = 400 * 86_400


def accounts_of(connection: HTTPConnection) -> AccountService:
    """The accounts of the application's `Site`."""
    found: AccountService = connection.app.state.site.accounts
    return found


async def identify(connection: HTTPConnection) -> Identity | None:
    """The identity behind a request or a WebSocket; None if there is none, or if what proves it is not valid."""
    accounts = accounts_of(connection)
    authorization = connection.headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        found = await accounts.account_of(token.strip(), token=True) if scheme.lower() == "bearer" else None
        return Identity(found) if found else None
    secret = connection.cookies.get(cookie_name(connection, _SESSION))
    account = await accounts.account_of(secret, token=False) if secret else None
    return Identity(account, secret) if account else None


def remember(request: Request, response: Response, identity: Identity) -> None:
    """Sets the cookies of a browser that has signed in: of its session, and of one that has signed in before."""
    given = ((_SESSION, identity.session or "", int(SESSION_MOST_S)), (_DEVICE, identity.device, _DEVICE_LASTS_S))
    for what, secret, lasts_s in given:
        name, secure = cookie_name(request, what), is_encrypted(request)
        response.set_cookie(name, secret, lasts_s, path="/", secure=secure, httponly=True, samesite="strict")


def forget(request: Request, response: Response) -> None:
    """Removes the session's cookie."""
    name, secure = cookie_name(request, _SESSION), is_encrypted(request)
    response.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="strict")


def device_shown(request: Request) -> str:
    """What a browser shows of having signed in before; empty if nothing."""
    return request.cookies.get(cookie_name(request, _DEVICE), "")


def cookie_name(connection: HTTPConnection, what: str) -> str:
    """Cookies are of a host and all its ports, on which other receivers may serve."""
    server = connection.scope.get("server") or ("", None)
    name = f"bodywire_{what}_{server[1] or 0}"
    # Browsers accept this prefix only over TLS, for all paths, and from this very host.
    return f"__Host-{name}" if is_encrypted(connection) else name


# These are read by the document only; `identify` does the work.
_IN_DOCUMENT = APIKeyCookie(name="bodywire_session_PORT", scheme_name="cookie", auto_error=False)
_Cookie = Annotated[str | None, Security(_IN_DOCUMENT)]
_Bearer = Annotated[object, Security(HTTPBearer(scheme_name="token", auto_error=False))]


Caller = Annotated[Identity | None, Depends(identify)]
"""Whoever makes a request. That no other site makes a browser send it, `Guard` and the cookie's `SameSite` see to."""


def holder_of(identity: Identity | None) -> Identity:
    """Whoever has an account. Raises Refused (401) for others."""
    if identity is None:
        raise Refused(401, "sign in first, or send a valid token: Authorization: Bearer bw_…")
    return identity


async def _proofs(_cookie: _Cookie = None, _bearer: _Bearer = None) -> None:
    return None


Proofs = Annotated[None, Depends(_proofs)]
"""Says in the document how an account is proven."""


async def _holder(identity: Caller, _proofs: Proofs) -> Identity:
    return holder_of(identity)


Holder = Annotated[Identity, Depends(_holder)]
"""A `Caller` who has an account, by cookie or token; answers 401 otherwise."""


async def _browser(identity: Holder) -> Identity:
    if identity.session is None:
        raise Refused(403, "a token cannot do this: sign in on the page")
    return identity


Browser = Annotated[Identity, Depends(_browser)]
"""A `Holder` with a cookie: a token that leaks must not make others."""
