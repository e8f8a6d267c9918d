"""HTTP routes of an account itself: its password, its browsers, what it uses, and its end."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, Field

from receiver.web.accounts.api import AccountShown, Given, SmallBodyRoute, attempt, client_address, remembered
from receiver.web.accounts.identity import BrowserReader, BrowserWriter, check_origin, identities_of
from receiver.web.accounts.names import MAX_NAME
from receiver.web.accounts.passwords import MAX_PASSWORD, MIN_PASSWORD
from receiver.web.accounts.secrets import secret_hash, session_id
from receiver.web.accounts.service import NoMail, WrongPassword
from receiver.web.library.service import Library
from receiver.web.models.service import ModelService
from receiver.web.problems import problem, problems
from receiver.web.uploads.jobs import Admission

BrowserId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="of /api/browsers")]


class PasswordChange(Given):
    """The password that holds, and the one that is to hold."""

    old: str = Field(max_length=MAX_PASSWORD)
    new: str = Field(max_length=MAX_PASSWORD, description=f"at least {MIN_PASSWORD} characters")


class PasswordReset(Given):
    """The secret of a link, and a new password."""

    secret: str = Field(max_length=64)
    password: str = Field(max_length=MAX_PASSWORD, description=f"at least {MIN_PASSWORD} characters")


class AccountNamed(Given):
    """The name of an account."""

    name: str = Field(max_length=4 * MAX_NAME)


class PasswordGiven(Given):
    """The password, where a change cannot be undone."""

    password: str = Field(max_length=MAX_PASSWORD)


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


class BrowserShown(BaseModel):
    """A browser that is signed in; `current`: the one that asks."""

    id: str
    created_at: datetime
    used_at: datetime
    current: bool


class BrowsersShown(BaseModel):
    """All browsers that are signed in, the last used first."""

    browsers: list[BrowserShown]


def settings_api(models: ModelService, library: Library, admission: Admission) -> APIRouter:
    """The routes `/api/account`, `/api/password` and `/api/browsers`."""
    api = APIRouter(prefix="/api", tags=["accounts"], route_class=SmallBodyRoute)

    async def show_account(identity: BrowserReader, request: Request) -> AccountUse:
        """Says how much of what the account may have it has."""
        accounts = identities_of(request).accounts
        created = datetime.fromtimestamp(await accounts.created_at(identity.account), UTC)
        kept, clips = await admission.models(identity.account), admission.clips(identity.account)
        return AccountUse(
            account=identity.account.name, created_at=created, models=kept, clips=clips, models_allowed=admission.most
        )

    async def delete_account(
        given: PasswordGiven, identity: BrowserWriter, request: Request, response: Response
    ) -> None:
        """Deletes the account with its models, tokens and links, and the sessions of its cameras and clips."""
        identities, account = identities_of(request), identity.account
        try:
            async with attempt():
                address, browser = client_address(request), identities.browser(request)
                await identities.accounts.check_password(account, given.password, address, browser)
        except WrongPassword as error:
            raise problem(403, _WRONG) from error
        await library.remove_account(account, models.files)
        identities.forget(request, response)

    write = problems(400, 401, 403, 408, 413, 422, 429, 503)
    api.get("/account", responses=problems(401, 403, 422, 503))(show_account)
    api.delete("/account", status_code=204, responses=write)(delete_account)
    api.put("/password", responses=write)(change_password)
    api.post("/password", status_code=204, dependencies=[Depends(check_origin)], responses=write)(reset_password)
    api.post(
        "/password/forgotten",
        status_code=204,
        dependencies=[Depends(check_origin)],
        responses=problems(400, 403, 404, 408, 413, 422, 429, 503),
    )(forgotten_password)
    api.get("/browsers", responses=problems(401, 403, 422, 503))(list_browsers)
    api.delete("/browsers", status_code=204, responses=problems(401, 403, 422, 503))(end_other_browsers)
    api.delete("/browsers/{browser}", status_code=204, responses=problems(401, 403, 404, 422, 503))(end_browser)
    return api


_WRONG = "the password is wrong"


async def change_password(
    given: PasswordChange, identity: BrowserWriter, request: Request, response: Response
) -> AccountShown:
    """Changes the password; all other browsers are signed out."""
    identities = identities_of(request)
    try:
        async with attempt():
            signed_in = await identities.accounts.change_password(
                identity.account, given.old, given.new, client_address(request), identities.browser(request)
            )
    except WrongPassword as error:
        raise problem(403, _WRONG) from error
    except ValueError as error:
        raise problem(422, str(error)) from error
    return remembered(request, response, signed_in)


async def reset_password(given: PasswordReset, request: Request) -> None:
    """Sets another password with a link by mail or of `receiver accounts reset`; all browsers are signed out."""
    try:
        async with attempt():
            accounts = identities_of(request).accounts
            await accounts.reset_password(given.secret, given.password, client_address(request))
    except WrongPassword as error:
        raise problem(403, "this link was used, or is too old: ask the administrator for another one") from error
    except ValueError as error:
        raise problem(422, str(error)) from error


async def forgotten_password(given: AccountNamed, request: Request) -> None:
    """Mails a link to set another password to an account whose name is a mail address; the answer tells nothing."""
    try:
        async with attempt():
            await identities_of(request).accounts.forgotten_password(given.name, client_address(request))
    except NoMail as error:
        raise problem(404, "this receiver sends no mails: ask its administrator for a link") from error


async def list_browsers(identity: BrowserReader, request: Request) -> BrowsersShown:
    """Lists the browsers that are signed in."""
    current, rows = (
        secret_hash(identity.session or ""),
        await identities_of(request).accounts.browsers(identity.account),
    )
    return BrowsersShown(
        browsers=[
            BrowserShown(
                id=session_id(row.token_hash),
                created_at=datetime.fromtimestamp(row.created_at, UTC),
                used_at=datetime.fromtimestamp(row.used_at, UTC),
                current=row.token_hash == current,
            )
            for row in rows
        ]
    )


async def end_other_browsers(identity: BrowserWriter, request: Request) -> None:
    """Signs all other browsers out."""
    current = secret_hash(identity.session or "")
    await identities_of(request).accounts.end_browsers(identity.account, lambda row: row.token_hash != current)


async def end_browser(browser: BrowserId, identity: BrowserWriter, request: Request) -> None:
    """Signs a browser out."""
    accounts = identities_of(request).accounts
    if not await accounts.end_browsers(identity.account, lambda row: session_id(row.token_hash) == browser):
        raise problem(404, "there is no such browser")
