"""HTTP routes of accounts, sessions and tokens."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Message, Receive

from receiver.web.accounts.identity import BrowserReader, BrowserWriter, Visitor, identities_of
from receiver.web.accounts.names import MAX_LABEL, MAX_NAME, MIN_NAME
from receiver.web.accounts.passwords import MAX_PASSWORD, MIN_PASSWORD, PasswordsBusy
from receiver.web.accounts.service import SignedIn, SignUpClosed, WrongPassword
from receiver.web.accounts.store import MAX_TOKENS, NameTaken, TooManyTokens
from receiver.web.accounts.throttle import TriedTooOften, address_key
from receiver.web.problems import problem, problems, retry_later

TokenId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="of /api/tokens")]


class Given(BaseModel):
    """A body that has exactly these fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NameAndPassword(Given):
    """What one signs in and up with."""

    name: str = Field(max_length=4 * MAX_NAME, description=f"{MIN_NAME} to {MAX_NAME} letters, digits and . @ + - _")
    password: str = Field(max_length=MAX_PASSWORD, description=f"of a new account: at least {MIN_PASSWORD} characters")


class LabelGiven(Given):
    """What a new token is for."""

    label: str = Field(max_length=4 * MAX_LABEL, description=f"1 to {MAX_LABEL} characters, for the list of tokens")


class AccountShown(BaseModel):
    """Who is signed in now.

    Args:
        csrf: for the header X-CSRF-Token.
    """

    account: str
    csrf: str


class TokenShown(BaseModel):
    """A bearer token in the list."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    label: str
    created_at: datetime
    used_at: datetime | None


class TokensShown(BaseModel):
    """All tokens of an account, newest first."""

    tokens: list[TokenShown]


class TokenMade(BaseModel):
    """A new bearer token; its secret is shown this once."""

    id: str
    label: str
    token: str


def accounts_api(may_sign_up: Callable[[Request], Awaitable[None]]) -> APIRouter:
    """The routes `/api/accounts`, `/api/session` and `/api/tokens`."""
    api = APIRouter(prefix="/api", route_class=SmallBodyRoute)
    api.post(
        "/accounts",
        status_code=201,
        tags=["accounts"],
        dependencies=[Depends(may_sign_up)],
        responses=problems(400, 403, 408, 409, 413, 422, 429, 503),
    )(sign_up)
    api.post("/session", tags=["accounts"], responses=problems(400, 401, 403, 408, 413, 422, 429, 503))(sign_in)
    api.delete("/session", status_code=204, tags=["accounts"], responses=problems(401, 403, 422, 503))(sign_out)
    api.get("/tokens", tags=["tokens"], responses=problems(401, 403, 422, 503))(list_tokens)
    api.post("/tokens", status_code=201, tags=["tokens"], responses=problems(400, 401, 403, 408, 409, 413, 422, 503))(
        make_token
    )
    api.delete("/tokens/{token}", status_code=204, tags=["tokens"], responses=problems(401, 403, 404, 422, 503))(
        revoke_token
    )
    return api


async def sign_up(given: NameAndPassword, request: Request, response: Response, visitor: Visitor) -> AccountShown:
    """Makes an account and signs the browser in."""
    identities = identities_of(request)
    try:
        async with attempt():
            signed_in = await identities.accounts.sign_up(
                given.name, given.password, client_address(request), visitor.session if visitor else None
            )
    except SignUpClosed as error:
        raise problem(403, "accounts are made by `receiver accounts add` here: ask its administrator") from error
    except NameTaken as error:
        raise problem(409, "this name is taken: choose another one, or sign in") from error
    except ValueError as error:
        raise problem(422, str(error)) from error
    return remembered(request, response, signed_in)


async def sign_in(given: NameAndPassword, request: Request, response: Response, visitor: Visitor) -> AccountShown:
    """Signs the browser in; its previous session ends."""
    identities = identities_of(request)
    try:
        async with attempt():
            signed_in = await identities.accounts.sign_in(
                given.name,
                given.password,
                client_address(request),
                visitor.session if visitor else None,
                identities.browser(request),
            )
    except WrongPassword as error:
        raise problem(401, "the name or the password is wrong") from error
    return remembered(request, response, signed_in)


async def sign_out(request: Request, response: Response, identity: BrowserWriter) -> None:
    """Ends the browser's session."""
    identities = identities_of(request)
    await identities.accounts.sign_out(identity.session or "")
    identities.forget(request, response)


async def list_tokens(request: Request, identity: BrowserReader) -> TokensShown:
    """Lists the account's bearer tokens, without their secrets."""
    tokens = await identities_of(request).accounts.list_tokens(identity.account)
    return TokensShown(tokens=[TokenShown.model_validate(token) for token in tokens])


async def make_token(given: LabelGiven, request: Request, identity: BrowserWriter) -> TokenMade:
    """Makes a bearer token for programs; the answer is the only place where its secret is shown."""
    try:
        token, secret = await identities_of(request).accounts.add_token(identity.account, given.label)
    except TooManyTokens as error:
        raise problem(409, f"the account has {MAX_TOKENS} tokens: revoke one first") from error
    except ValueError as error:
        raise problem(422, str(error)) from error
    return TokenMade(id=token.id, label=token.label, token=secret)


async def revoke_token(token: TokenId, request: Request, identity: BrowserWriter) -> None:
    """Revokes a bearer token at once."""
    if not await identities_of(request).accounts.remove_token(identity.account, token):
        raise problem(404, "there is no such token")


@asynccontextmanager
async def attempt() -> AsyncIterator[None]:
    """Answers 429 where somebody tries passwords too often, or too many do."""
    try:
        yield
    except TriedTooOften as error:
        raise retry_later(429, str(error), error.wait_s) from error
    except PasswordsBusy as error:
        raise retry_later(429, "many people are signing in: try again in a few seconds", 5.0) from error


def remembered(request: Request, response: Response, signed_in: SignedIn) -> AccountShown:
    """The answer to somebody who has signed in, with the cookies."""
    identities_of(request).remember(request, response, signed_in)
    response.headers["Cache-Control"] = "no-store"
    return AccountShown(account=signed_in.account.name, csrf=signed_in.csrf)


def client_address(request: Request) -> str:
    """By what a client is known to the throttle."""
    return address_key(request.client.host if request.client else None)


_MAX_BYTES, _MAX_S = 8192, 15.0


class SmallBodyRoute(APIRoute):
    """A route that answers 413 to a body above 8 kB, and 408 to one that takes longer than 15 s."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with a limited body."""
        handler = super().get_route_handler()

        async def limited(request: Request) -> Response:
            return await handler(Request(request.scope, _limited(request.receive)))

        return limited


def _limited(receive: Receive) -> Receive:
    deadline_s = asyncio.get_running_loop().time() + _MAX_S
    total, ended = 0, False

    async def limited() -> Message:
        nonlocal total, ended
        if ended:  # what comes now is the end of the connection, for which there is no hurry
            return await receive()
        try:
            async with asyncio.timeout_at(deadline_s):
                message = await receive()
        except TimeoutError as error:
            raise problem(408, "the request came too slowly: send it again", {"Connection": "close"}) from error
        total += len(message.get("body", b""))
        ended = not message.get("more_body", False)
        if total > _MAX_BYTES:
            raise problem(413, f"the body is larger than {_MAX_BYTES} bytes: shorten it", {"Connection": "close"})
        return message

    return limited
