"""Accounts, sessions and tokens: what the page and the programs do with them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from common.clock import Clock
from common.text import printable
from receiver.web.accounts import secrets, store
from receiver.web.accounts.mail import Mailer
from receiver.web.accounts.names import checked_label, checked_name, checked_new_name, name_key
from receiver.web.accounts.passwords import MAX_PASSWORD, PasswordHasher, check_password
from receiver.web.accounts.store import Account
from receiver.web.accounts.throttle import KeyedRates, SignInGuard, TriedTooOften
from receiver.web.database.database import Database
from receiver.web.database.tables import AccountRow, SessionRow, TokenRow
from receiver.web.metrics import SignInOutcome

logger = logging.getLogger(__name__)

# Of one address, as are the attempts: a class room behind one address may sign in, a program may not guess.
_SIGN_UPS_PER_MINUTE, _SIGN_UPS_AT_ONCE = 2.0, 20
_SIGN_INS_PER_MINUTE, _SIGN_INS_AT_ONCE = 30.0, 30
# To one account.
_MAILS_PER_MINUTE, _MAILS_AT_ONCE = 3 / 60, 3


RESET_S = 86_400.0
"""How long a link to set another password is valid."""


class WrongPassword(Exception):
    """There is no account of this name with this password."""


class NoMail(Exception):
    """The receiver sends no mails."""


class SignUpClosed(Exception):
    """Visitors cannot make accounts here."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new session (`secret`: for the cookie; `browser`: for the cookie by which the browser stays known)."""

    account: Account
    secret: str
    browser: str

    @property
    def csrf(self) -> str:
        return secrets.csrf_token(self.secret)


class AccountService:
    """What visitors do with accounts."""

    def __init__(
        self,
        database: Database,
        passwords: PasswordHasher,
        *,
        sign_up: bool,
        clock: Clock,
        on_sign_in: Callable[[SignInOutcome], None] = lambda _: None,
        mailer: Mailer | None = None,
    ) -> None:
        self.sign_up_open, self.sends_mail = sign_up, mailer is not None
        self._mailer, self._mails = mailer, KeyedRates(_MAILS_PER_MINUTE, _MAILS_AT_ONCE, clock)
        self._database, self._passwords, self._clock = database, passwords, clock
        self._on_sign_in = on_sign_in
        self._guard = SignInGuard(clock)
        self._sign_ups = KeyedRates(_SIGN_UPS_PER_MINUTE, _SIGN_UPS_AT_ONCE, clock)
        self._sign_ins = KeyedRates(_SIGN_INS_PER_MINUTE, _SIGN_INS_AT_ONCE, clock)

    async def count(self) -> int:
        """How many accounts there are."""
        return await self._database.read_async(store.count_accounts)

    async def sign_up(self, name: str, password: str, address: str, previous: str | None = None) -> SignedIn:
        """Makes an account and signs it in.

        Args:
            address: of the client, see `address_key`.
            previous: secret of the session that the browser has presented; it ends.

        Raises:
            SignUpClosed: visitors cannot make accounts.
            ValueError: name or password break a rule, which the message says.
            NameTaken: there is one of this name.
            TriedTooOften, PasswordsBusy: later.
        """
        if not self.sign_up_open:
            raise SignUpClosed
        name = checked_new_name(name)
        check_password(password, name)
        _pay(self._sign_ups, address)
        encoded = await self._passwords.hash(password)
        now = self._clock.wall()
        account = await self._database.write_async(lambda session: store.add_account(session, name, encoded, now))
        logger.info("account %s signed up from %s", printable(account.name, 100), printable(address, 100))
        return await self._begin_session(account, encoded, previous)

    async def sign_in(
        self, name: str, password: str, address: str, previous: str | None = None, browser: str = ""
    ) -> SignedIn:
        """Begins a session; its secret is new in any case, and the browser's previous session ends.

        A wrong password and an unknown name take the same time and give the same error. Only its own failures lock a
        browser out that has signed in before.

        Args:
            previous: secret of the session that the browser has presented.
            browser: `SignedIn.browser` of an earlier time.

        Raises:
            WrongPassword: or there is no such account.
            TriedTooOften, PasswordsBusy: later.
        """
        account, encoded = await self._authenticated(name, password, address, browser)
        if self._passwords.is_outdated(encoded):
            encoded = await self._passwords.hash(password)
            await self._database.write_async(lambda session: store.set_password_hash(session, account, encoded))
        return await self._begin_session(account, encoded, previous)

    async def check_password(self, account: Account, password: str, address: str, browser: str = "") -> None:
        """Checks who asks for what cannot be undone; raises as `sign_in`."""
        await self._authenticated(account.name, password, address, browser)

    async def change_password(self, account: Account, old: str, new: str, address: str, browser: str = "") -> SignedIn:
        """Replaces a password, and signs all browsers out but the one that asks; its session is a new one.

        Raises:
            ValueError: the new password breaks a rule, which the message says.
            WrongPassword, TriedTooOften, PasswordsBusy: as `sign_in`.
        """
        check_password(new, account.name)
        await self.check_password(account, old, address, browser)
        return await self._begin_session(account, await self._set_password(account, new), None)

    async def reset_password(self, secret: str, new: str, address: str) -> Account:
        """Sets another password with a link, which is used up; signs all browsers out.

        Raises:
            ValueError: the new password breaks a rule, which the message says.
            WrongPassword: the link is unknown, used up or too old.
            TriedTooOften, PasswordsBusy: later.
        """
        _pay(self._sign_ins, address)
        digest, now = secrets.secret_hash(secret), self._clock.wall()
        if digest is None:
            raise WrongPassword
        account = await self._database.read_async(lambda session: store.find_reset(session, digest, now))
        if account is None:
            raise WrongPassword
        check_password(new, account.name)
        if not await self._database.write_async(lambda session: store.remove_reset(session, digest)):
            raise WrongPassword  # somebody else was faster
        await self._set_password(account, new)
        return account

    async def forgotten_password(self, name: str, address: str) -> None:
        """Sends a link to the account of a name that is a mail address, if there is one; nobody hears whether.

        Raises:
            NoMail: the receiver sends no mails.
            TriedTooOften: later.
        """
        if self._mailer is None:
            raise NoMail
        _pay(self._sign_ins, address)
        row = await self._find_account(name)
        if row is None or "@" not in row.name or self._mails.take(row.name_key) > 0:
            return
        account, now = Account(row.id, row.name), self._clock.wall()
        secret = await self._database.write_async(lambda session: make_reset(session, account, now))
        self._mailer.send_later(account.name, secret)

    async def _set_password(self, account: Account, new: str) -> str:
        encoded = await self._passwords.hash(new)
        await self._database.write_async(lambda session: store.change_password(session, account, encoded))
        logger.info("account %s has another password", printable(account.name, 100))
        return encoded

    async def created_at(self, account: Account) -> float:
        """When an account was made."""
        return await self._database.read_async(lambda session: store.created_at(session, account))

    async def browsers(self, account: Account) -> Sequence[SessionRow]:
        """The browsers that are signed in, the last used first."""
        now = self._clock.wall()
        return await self._database.read_async(lambda session: store.list_sessions(session, account, now))

    async def end_browsers(self, account: Account, wanted: Callable[[SessionRow], bool]) -> int:
        """Signs browsers of an account out; returns their number."""
        hashes = [row.token_hash for row in await self.browsers(account) if wanted(row)]
        await self._database.write_async(lambda session: store.remove_sessions(session, account, hashes))
        return len(hashes)

    async def _authenticated(self, name: str, password: str, address: str, browser: str) -> tuple[Account, str]:
        """The account of a name and a password, and its hash; raises as `sign_in`."""
        key, row = name_key(name), await self._find_account(name)
        known = secrets.proven_browser(browser, row.password_hash) if row else None
        source = f"browser {known}" if known else address
        try:
            _pay(self._sign_ins, source)
            self._guard.begin(key, source, known=known is not None)
        except TriedTooOften:
            self._on_sign_in(SignInOutcome.LOCKED)
            raise
        right = await self._passwords.verify(row.password_hash if row else None, password[: MAX_PASSWORD + 1])
        if not right or row is None:
            logger.warning("failed to sign in from %s", printable(address, 100))
            self._on_sign_in(SignInOutcome.WRONG)
            raise WrongPassword
        self._on_sign_in(SignInOutcome.SUCCEEDED)
        self._guard.succeed(key, source)
        return Account(row.id, row.name), row.password_hash

    async def sign_out(self, secret: str) -> None:
        """Ends a session."""
        digest = secrets.secret_hash(secret)
        if digest is not None:
            await self._database.write_async(lambda session: store.remove_session(session, digest))

    async def account_of_session(self, secret: str) -> Account | None:
        """The account that a cookie signs in; None if it is unknown or has expired."""
        return await self._identified(secret, store.find_session, store.use_session)

    async def account_of_token(self, token: str) -> Account | None:
        """The account that a bearer token belongs to; None if it is unknown or was revoked."""
        if not token.startswith(secrets.TOKEN_PREFIX):
            return None
        return await self._identified(token, store.find_token, store.use_token)

    async def _identified(
        self,
        secret: str,
        find: Callable[[Session, bytes, float], tuple[Account, bool] | None],
        use: Callable[[Session, bytes, float], None],
    ) -> Account | None:
        digest, now = secrets.secret_hash(secret), self._clock.wall()
        if digest is None:
            return None
        found = await self._database.read_async(lambda session: find(session, digest, now))
        if found and found[1]:
            await self._database.write_async(lambda session: use(session, digest, now))
        return found[0] if found else None

    async def list_tokens(self, account: Account) -> Sequence[TokenRow]:
        """The account's tokens, newest first."""
        return await self._database.read_async(lambda session: store.list_tokens(session, account))

    async def add_token(self, account: Account, label: str) -> tuple[TokenRow, str]:
        """Makes a token; returns it and its secret, which is stored nowhere.

        Raises:
            ValueError: the label breaks a rule, which the message says.
            TooManyTokens: the account has as many as it may have.
        """
        return await self._database.write_async(lambda session: make_token(session, account, label, self._clock.wall()))

    async def remove_token(self, account: Account, token: str) -> bool:
        """Revokes a token; returns whether the account had it."""
        return await self._database.write_async(lambda session: store.remove_token(session, account, token))

    async def _find_account(self, name: str) -> AccountRow | None:
        try:
            checked_name(name)
        except ValueError:
            return None  # such a name does not exist, and a database may not even be asked for it
        return await self._database.read_async(lambda session: store.find_account(session, name))

    async def _begin_session(self, account: Account, password_hash: str, previous: str | None) -> SignedIn:
        secret, now = secrets.new_session_secret(), self._clock.wall()
        digest, old = secrets.secret_hash(secret), secrets.secret_hash(previous or "")
        assert digest is not None

        def work(session: Session) -> None:
            if old is not None:
                store.remove_session(session, old)
            store.add_session(session, account, digest, now)

        await self._database.write_async(work)
        return SignedIn(account, secret, secrets.browser_proof(password_hash))


def make_token(session: Session, account: Account, label: str, now: float) -> tuple[TokenRow, str]:
    """Adds a token of a new secret; see `AccountService.add_token`."""
    secret = secrets.new_token()
    digest = secrets.secret_hash(secret)
    assert digest is not None
    return store.add_token(session, account, checked_label(label), digest, now), secret


def make_reset(session: Session, account: Account, now: float) -> str:
    """Adds a link to set another password, valid for `RESET_S`; returns its secret, which is stored nowhere."""
    secret = secrets.new_session_secret()
    digest = secrets.secret_hash(secret)
    assert digest is not None
    store.add_reset(session, account, digest, now + RESET_S)
    return secret


def _pay(rates: KeyedRates, address: str) -> None:
    wait_s = rates.take(address)
    if wait_s > 0:
        raise TriedTooOften(wait_s)
