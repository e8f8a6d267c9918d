"""Who makes a request: by the cookie of a session, or by a bearer token."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request, Response, Security
from fastapi.security import APIKeyCookie, HTTPBearer
from starlette.requests import HTTPConnection

from receiver.web.accounts import secrets
from receiver.web.accounts.service import AccountService, SignedIn
from receiver.web.accounts.store import SESSION_MOST_S, Account
from receiver.web.guards import is_encrypted
from receiver.web.problems import problem

COOKIE = "bodywire_session"
CSRF_HEADER = "X-CSRF-Token"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who makes a request, by the secret of a session; None if a bearer token proves it."""

    account: Account
    session: str | None = None

    @property
    def csrf(self) -> str | None:
        """What `X-CSRF-Token` must be; None for a bearer token, which no other site can make a browser send."""
        return None if self.session is None else secrets.csrf_token(self.session)


def accounts_of(connection: HTTPConnection) -> AccountService:
    """The accounts of the application; `install` of `receiver.web.service` puts them there."""
    found: AccountService = connection.app.state.accounts
    return found


async def identify(connection: HTTPConnection) -> Identity | None:
    """The identity behind a request or a WebSocket; None if there is none, or if what proves it is not valid."""
    accounts = accounts_of(connection)
    authorization = connection.headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        found = await accounts.account_of_token(token.strip()) if scheme.lower() == "bearer" else None
        return Identity(found) if found else None
    secret = connection.cookies.get(_cookie_name(connection))
    account = await accounts.account_of_session(secret) if secret else None
    return Identity(account, secret) if account else None


async def account_name(connection: HTTPConnection) -> str | None:
    """The name of the account behind a request or a WebSocket, or None."""
    identity = await identify(connection)
    return identity.account.name if identity else None


def remember(request: Request, response: Response, signed_in: SignedIn) -> None:
    """Sets the cookie of a new session."""
    name, secure = _cookie_name(request), is_encrypted(request)
    lasts_s = int(SESSION_MOST_S)
    response.set_cookie(name, signed_in.secret, lasts_s, path="/", secure=secure, httponly=True, samesite="strict")


def forget(request: Request, response: Response) -> None:
    """Removes the session's cookie."""
    name, secure = _cookie_name(request), is_encrypted(request)
    response.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="strict")


def _cookie_name(connection: HTTPConnection) -> str:
    # Browsers accept this prefix only over TLS, for all paths, and from this very host.
    return f"__Host-{COOKIE}" if is_encrypted(connection) else COOKIE


# These are read by the document only; `identify` does the work.
_Cookie = Annotated[
    str | None,
    Security(
        APIKeyCookie(
            name=COOKIE,
            scheme_name="cookie",
            auto_error=False,
            description="set by signing in; over TLS its name begins with `__Host-`",
        )
    ),
]
_Bearer = Annotated[
    object,
    Security(
        HTTPBearer(scheme_name="token", auto_error=False, description="made on the page, or by `receiver accounts`")
    ),
]
Csrf = Annotated[
    str | None, Header(alias=CSRF_HEADER, description="needed with the cookie: `csrf` of /api/status", max_length=200)
]


async def _visitor(request: Request, csrf: Csrf = None) -> Identity | None:
    identity = await identify(request)
    if identity is not None:
        check_csrf(identity, csrf)
    return identity


async def _reader(request: Request, _cookie: _Cookie = None, _bearer: _Bearer = None) -> Identity:
    identity = await identify(request)
    if identity is None:
        raise problem(
            401, "sign in first, or send a valid token: Authorization: Bearer bw_…", {"WWW-Authenticate": "Bearer"}
        )
    return identity


async def _writer(identity: Annotated[Identity, Depends(_reader)], csrf: Csrf = None) -> Identity:
    check_csrf(identity, csrf)
    return identity


async def _browser_reader(identity: Annotated[Identity, Depends(_reader)]) -> Identity:
    return _in_browser(identity)


async def _browser_writer(identity: Annotated[Identity, Depends(_writer)]) -> Identity:
    return _in_browser(identity)


def _in_browser(identity: Identity) -> Identity:
    if identity.session is None:
        raise problem(403, "a token cannot do this: sign in on the page")
    return identity


def check_csrf(identity: Identity, given: str | None) -> None:
    """Raises 403 if somebody with a cookie changes something without the page's token."""
    expected = identity.csrf
    if expected is not None and not secrets.same(given or "", expected):
        raise problem(403, f"the header {CSRF_HEADER} is missing or out of date: load the page again")


Visitor = Annotated[Identity | None, Depends(_visitor)]
"""Whoever signs in or up, perhaps signed in already."""
Reader = Annotated[Identity, Depends(_reader)]
"""Whoever proves an account, by cookie or token; answers 401 otherwise."""
Writer = Annotated[Identity, Depends(_writer)]
"""A `Reader` who changes something: with a cookie, the CSRF token is needed; answers 403 otherwise."""
BrowserReader = Annotated[Identity, Depends(_browser_reader)]
"""A `Reader` with a cookie: a token that leaks must not make others."""
BrowserWriter = Annotated[Identity, Depends(_browser_writer)]
"""A `Writer` with a cookie."""
