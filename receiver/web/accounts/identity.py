"""Who makes a request: by the cookie of a session, or by a bearer token."""

from typing import Annotated

from fastapi import Depends, Request, Response, Security
from fastapi.security import APIKeyCookie, HTTPBearer
from starlette.requests import HTTPConnection

from receiver.web.accounts.service import AccountService, Identity
from receiver.web.accounts.store import SESSION_MOST_S
from receiver.web.guards import is_encrypted
from receiver.web.refused import Refused

COOKIE = "bodywire_session"


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
    secret = connection.cookies.get(_cookie_name(connection))
    account = await accounts.account_of(secret, token=False) if secret else None
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


# These are read by the document only; `identify` does the work.
_Cookie = Annotated[str | None, Security(APIKeyCookie(name=COOKIE, scheme_name="cookie", auto_error=False))]
_Bearer = Annotated[object, Security(HTTPBearer(scheme_name="token", auto_error=False))]


Visitor = Annotated[Identity | None, Depends(identify)]
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


async def _holder(identity: Visitor, _proofs: Proofs) -> Identity:
    return holder_of(identity)


Holder = Annotated[Identity, Depends(_holder)]
"""A `Visitor` who has an account, by cookie or token; answers 401 otherwise."""


async def _browser(identity: Holder) -> Identity:
    if identity.session is None:
        raise Refused(403, "a token cannot do this: sign in on the page")
    return identity


Browser = Annotated[Identity, Depends(_browser)]
"""A `Holder` with a cookie: a token that leaks must not make others."""
