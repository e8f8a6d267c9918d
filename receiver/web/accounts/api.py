"""HTTP routes of accounts, their sessions, passwords and tokens."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, Field

from common.io.addresses import address_key
from receiver.web.access import Browser, Caller, accounts_of, device_shown, forget, remember
from receiver.web.accounts import store
from receiver.web.accounts.service import Identity
from receiver.web.accounts.store import MAX_LABEL, MAX_NAME, MAX_PASSWORD, MIN_NAME, MIN_PASSWORD
from receiver.web.guards import Given, SmallBodyRoute
from receiver.web.places import Refused
from receiver.web.site import site_of

TokenId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="of /api/tokens")]
Password = Annotated[str, Field(max_length=MAX_PASSWORD)]
NewPassword = Annotated[str, Field(max_length=MAX_PASSWORD, description=f"at least {MIN_PASSWORD} characters")]


class NameAndPassword(Given):
    """What one signs in and up with."""

    name: str = Field(max_length=4 * MAX_NAME, description=f"{MIN_NAME} to {MAX_NAME} letters, digits and . @ + - _")
    password: NewPassword


class PasswordChange(Given):
    """The password that holds, and the one that is to hold."""

    old: Password
    new: NewPassword


class PasswordGiven(Given):
    """The password, where a change cannot be undone."""

    password: Password


class LabelGiven(Given):
    """What a new token is for."""

    label: str = Field(max_length=4 * MAX_LABEL, description=f"1 to {MAX_LABEL} characters, for the list of tokens")


class AccountShown(BaseModel):
    """Who is signed in now."""

    account: str


class AccountUse(BaseModel):
    """An account, and how much of what it may have it has.

    Args:
        models_allowed: how many models and sessions of clips together.
    """

    account: str
    created_at: datetime
    models: int
    clips: int
    models_allowed: int


class TokenShown(BaseModel):
    """A bearer token in the list."""

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
    token: str


def accounts_api(may_sign_up: Callable[[Request], Awaitable[None]]) -> APIRouter:
    """The routes `/api/accounts`, `/api/session`, `/api/password`, `/api/account` and `/api/tokens`."""
    api = APIRouter(prefix="/api", tags=["accounts"], route_class=SmallBodyRoute)
    sign_up_checks = [Depends(may_sign_up)]
    api.post("/accounts", status_code=201, dependencies=sign_up_checks)(sign_up)
    api.post("/session")(sign_in)
    api.delete("/session", status_code=204)(sign_out)
    api.put("/password")(change_password)
    api.get("/account")(show_account)
    api.delete("/account", status_code=204)(delete_account)
    api.get("/tokens")(list_tokens)
    api.post("/tokens", status_code=201)(make_token)
    api.delete("/tokens/{token}", status_code=204)(revoke_token)
    return api


async def sign_up(given: NameAndPassword, request: Request, response: Response, visitor: Caller) -> AccountShown:
    """Makes an account and signs the browser in."""
    previous = visitor.session if visitor else None
    signed_in = await accounts_of(request).sign_up(given.name, given.password, client_address(request), previous)
    return remembered(request, response, signed_in)


async def sign_in(given: NameAndPassword, request: Request, response: Response, visitor: Caller) -> AccountShown:
    """Signs the browser in; its previous session ends."""
    previous = visitor.session if visitor else None
    address, device = client_address(request), device_shown(request)
    signed_in = await accounts_of(request).sign_in(given.name, given.password, address, previous, device)
    return remembered(request, response, signed_in)


async def sign_out(request: Request, response: Response, identity: Browser) -> None:
    """Ends the browser's session."""
    await accounts_of(request).database.write_async(store.remove_secret, identity.session or "")
    forget(request, response)


async def change_password(
    given: PasswordChange, identity: Browser, request: Request, response: Response
) -> AccountShown:
    """Changes the password; all other browsers are signed out."""
    accounts, address, device = accounts_of(request), client_address(request), device_shown(request)
    signed_in = await accounts.change_password(identity.account, given.old, given.new, address, device)
    return remembered(request, response, signed_in)


async def show_account(identity: Browser, request: Request) -> AccountUse:
    """Says how much of what the account may have it has."""
    account, admission = identity.account, site_of(request).admission
    row = await accounts_of(request).database.read_async(store.find_account, account.name)
    return AccountUse(
        account=account.name,
        created_at=datetime.fromtimestamp(row["created_at"] if row else 0.0, UTC),
        models=await admission.models(account),
        clips=admission.clips(account),
        models_allowed=admission.most,
    )


async def delete_account(given: PasswordGiven, identity: Browser, request: Request, response: Response) -> None:
    """Deletes the account with its models and tokens, and the sessions of its cameras and clips."""
    address, device = client_address(request), device_shown(request)
    await accounts_of(request).confirm(identity.account, given.password, address, device)
    await site_of(request).library.remove_account(identity.account)
    forget(request, response)


async def list_tokens(request: Request, identity: Browser) -> TokensShown:
    """Lists the account's bearer tokens, without their secrets."""
    tokens = await accounts_of(request).database.read_async(store.list_tokens, identity.account)
    return TokensShown(tokens=[TokenShown.model_validate(dict(token)) for token in tokens])


async def make_token(given: LabelGiven, request: Request, identity: Browser) -> TokenMade:
    """Makes a bearer token for programs; the answer is the only place where its secret is shown."""
    accounts = accounts_of(request)
    token, secret = await accounts.database.write_async(
        store.add_token, identity.account, given.label, accounts.clock.wall()
    )
    return TokenMade(id=token, token=secret)


async def revoke_token(token: TokenId, request: Request, identity: Browser) -> None:
    """Revokes a bearer token at once."""
    if not await accounts_of(request).database.write_async(store.remove_token, identity.account, token):
        raise Refused(404, "there is no such token")


def remembered(request: Request, response: Response, signed_in: Identity) -> AccountShown:
    """The answer to somebody who has signed in, with the cookies."""
    remember(request, response, signed_in)
    response.headers["Cache-Control"] = "no-store"
    return AccountShown(account=signed_in.account.name)


def client_address(request: Request) -> str:
    """By what a client is known to the limits."""
    return address_key(request.client.host if request.client else None)
