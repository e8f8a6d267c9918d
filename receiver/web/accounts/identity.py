"""Who makes a request: by the cookie of a session, or by a bearer token."""

from typing import Annotated

from fastapi import Depends, Header, Request, Response, Security
from fastapi.security import APIKeyCookie, HTTPBearer
from starlette.requests import HTTPConnection

from receiver.web.accounts import secrets
from receiver.web.accounts.service import AccountService, Identity
from receiver.web.accounts.store import SESSION_MOST_S
from receiver.web.guards import SAFE_METHODS, is_encrypted
from receiver.web.refused import Refused

COOKIE = "bodywire_session"
CSRF_HEADER = "X-CSRF-Token"


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
        found = await accounts.account_of_token(token.strip()) if scheme.lower() == "bearer" else None
        return Identity(found) if found else None
    secret = connection.cookies.get(_cookie_name(connection))
    account = await accounts.account_of_session(secret) if secret else None
    return Identity(account, secret) if account else None


def remember(request: Request, response: Response, secret: str) -> None:
    """Sets the cookie of a session."""
    name, secure = _cookie_name(request), is_encrypted(request)
    lasts_s = int(SESSION_MOST_S)
    response.set_cookie(name, secret, lasts_s, path="/", secure=secure, httponly=True, samesite="strict")


def forget(request: Request, response: Response) -> None:
    """Removes the session's cookie."""
    name, secure = _cookie_name(request), is_encrypted(request)
    response.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="strict")


def _cookie_name(connection: HTTPConnection) -> str:
    # Browsers accept this prefix only over TLS, for all paths, and from this very host.
    return f"__Host-{COOKIE}" if is_encrypted(connection) else COOKIE


_Csrf = Annotated[
    str | None,
    Header(alias=CSRF_HEADER, description="of changes with the cookie: `csrf` of /api/status"),
]
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


async def _visitor(request: Request, csrf: _Csrf = None) -> Identity | None:
    identity = await identify(request)
    expected = identity.csrf if identity and request.method not in SAFE_METHODS else None
    if expected is not None and not secrets.same(csrf or "", expected):
        raise Refused(403, f"the header {CSRF_HEADER} is missing or out of date: load the page again")
    return identity


Visitor = Annotated[Identity | None, Depends(_visitor)]
"""Whoever makes a request; a change with a cookie needs the CSRF token, and is answered by 403 without."""


async def _holder(identity: Visitor, _cookie: _Cookie = None, _bearer: _Bearer = None) -> Identity:
    if identity is None:
        raise Refused(401, "sign in first, or send a valid token: Authorization: Bearer bw_…")
    return identity


Holder = Annotated[Identity, Depends(_holder)]
"""A `Visitor` who has an account, by cookie or token; answers 401 otherwise."""


async def _browser(identity: Holder) -> Identity:
    if identity.session is None:
        raise Refused(403, "a token cannot do this: sign in on the page")
    return identity


Browser = Annotated[Identity, Depends(_browser)]
"""A `Holder` with a cookie: a token that leaks must not make others."""
