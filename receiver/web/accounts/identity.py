"""Who makes a request: by the cookie of a session, or by a bearer token."""

from typing import Annotated

from fastapi import Depends, Request, Response, Security
from fastapi.security import APIKeyCookie, HTTPBearer
from starlette.requests import HTTPConnection

from receiver.web.accounts.service import AccountService, Identity
from receiver.web.accounts.store import SESSION_MOST_S
from receiver.web.guards import is_encrypted
from receiver.web.places import Refused

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
