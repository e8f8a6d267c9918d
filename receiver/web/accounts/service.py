"""Signing up and in; browsers that have done so before are counted apart from guesses of others.

The idea is OWASP's, "Slow Down Online Guessing Attacks with Device Cookies". The key of the signature is the hash of
the password, with its random salt: a cookie is of one account, until its password changes, and nothing else is stored.
"""

import hashlib
import hmac
import logging
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from common.clock import Clock
from common.text import printable
from receiver.web.accounts import store
from receiver.web.accounts.store import MAX_PASSWORD, Account, PasswordHasher, check_password, checked_name, name_key
from receiver.web.database import Database
from receiver.web.metrics import SignInOutcome
from receiver.web.places import RateLimits, Refused

_NONCE_BYTES = 16
_NONCE_CHARACTERS = 2 * _NONCE_BYTES


def new_device(password_hash: str) -> str:
    """What a browser shows when it signs in the next time."""
    nonce = secrets.token_hex(_NONCE_BYTES)
    return nonce + _signature(nonce, password_hash)


def device_of(shown: str, password_hash: str) -> str | None:
    """By what the limits know a browser; None if it has not signed in to the account before."""
    nonce, signature = shown[:_NONCE_CHARACTERS], shown[_NONCE_CHARACTERS:]
    right = hmac.compare_digest(signature.encode(errors="replace"), _signature(nonce, password_hash).encode())
    return nonce if right and password_hash else None


def _signature(nonce: str, password_hash: str) -> str:
    return hmac.new(password_hash.encode(), f"device {nonce}".encode(errors="replace"), hashlib.sha256).hexdigest()


logger = logging.getLogger(__name__)

# A class room behind one address may sign up and in, a program may not guess.
_SIGN_UPS_OF_ADDRESS, _SIGN_INS_OF_ADDRESS = "20 per 10 minute", "30 per minute; 200 per hour"
# Failures at an account: those of one address do not keep its owner out elsewhere. Those of many do, but for browsers
# that have signed in before, each of which is counted for itself.
_FAILURES_OF_ADDRESS, _FAILURES = "5 per 5 minute", "50 per hour"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who makes a request.

    Args:
        session: its secret; None if a bearer token proves who it is.
        device: what the browser shows when it signs in the next time; only for one that has signed in now.
    """

    account: Account
    session: str | None = None
    device: str = ""


class AccountService:
    """What visitors do with accounts."""

    def __init__(
        self,
        database: Database,
        passwords: PasswordHasher,
        sign_up: bool,
        clock: Clock,
        on_sign_in: Callable[[SignInOutcome], None],
    ) -> None:
        self.database, self.sign_up_open, self.clock = database, sign_up, clock
        self._passwords, self._on_sign_in = passwords, on_sign_in
        self._sign_ups, self._sign_ins = RateLimits(_SIGN_UPS_OF_ADDRESS), RateLimits(_SIGN_INS_OF_ADDRESS)
        self._failures_of_address, self._failures = RateLimits(_FAILURES_OF_ADDRESS), RateLimits(_FAILURES)

    async def sign_up(self, name: str, password: str, address: str, previous: str | None = None) -> Identity:
        """Makes an account and signs it in.

        Args:
            address: of the client, see `address_key`.
            previous: secret of the session that the browser has presented; it ends.

        Raises:
            Refused: 403 visitors cannot make accounts, 422 name or password break a rule, 409 the name is taken,
                429 later.
        """
        if not self.sign_up_open:
            raise Refused(403, "accounts are made by `receiver accounts add` here: ask its administrator")
        name = checked_name(name)
        check_password(password, name)
        self._sign_ups.take(address)
        encoded = await self._passwords.hash(password)
        account = await self.database.write_async(store.add_account, name, encoded, self.clock.wall())
        logger.info("account %s signed up from %s", printable(account.name, 100), printable(address, 100))
        return await self._begin_session(account, previous)

    async def sign_in(
        self, name: str, password: str, address: str, previous: str | None = None, device: str = ""
    ) -> Identity:
        """Begins a session; its secret is new in any case, and the browser's previous session ends.

        Args:
            previous: secret of the session that the browser has presented.
            device: what it was given when it signed in before.

        Raises:
            Refused: as `authenticate`.
        """
        return await self._begin_session(await self.authenticate(name, password, address, device), previous, device)

    async def authenticate(self, name: str, password: str, address: str, device: str = "") -> Account:
        """The account of a name and a password.

        A wrong password and an unknown name take the same time and give the same error.

        Raises:
            Refused: 401 the password is wrong, or there is no such account, 429 later.
        """
        row = await self.database.read_async(store.find_account, name)
        known = (row["password_hash"] or None) if row else None
        key, own = name_key(name), device_of(device, known or "")
        who = own or address
        at_account, of_all = f"{who} {key}", f"{own} {key}" if own else key
        try:
            self._sign_ins.take(who)
            # Counted before the outcome is known: tries at the same time do not slip through.
            self._failures_of_address.take(at_account)
            self._failures.take(of_all)
        except Refused:
            self._on_sign_in(SignInOutcome.LOCKED)
            raise
        right = await self._passwords.verify(known, password[: MAX_PASSWORD + 1])
        if not right or row is None or known is None:
            logger.warning("failed to sign in from %s", printable(address, 100))
            self._on_sign_in(SignInOutcome.WRONG)
            raise Refused(401, "the name or the password is wrong")
        self._on_sign_in(SignInOutcome.SUCCEEDED)
        self._failures_of_address.forget(at_account)
        self._failures.forget(of_all)
        return Account(row["id"], row["name"])

    async def confirm(self, account: Account, password: str, address: str, device: str = "") -> None:
        """Asks somebody who is signed in for the password again. Raises Refused: 403 it is wrong, 429 later."""
        try:
            await self.authenticate(account.name, password, address, device)
        except Refused as error:
            raise Refused(403, "the password is wrong") if error.status == 401 else error from error

    async def change_password(self, account: Account, old: str, new: str, address: str, device: str = "") -> Identity:
        """Replaces a password, and signs all browsers out but the one that asks; its session is a new one.

        Raises:
            Refused: 422 the new password breaks a rule, 403 the old one is wrong, 429 later.
        """
        check_password(new, account.name)
        await self.confirm(account, old, address, device)
        encoded = await self._passwords.hash(new)
        await self.database.write_async(store.change_password, account, encoded)
        logger.info("account %s has another password", printable(account.name, 100))
        return await self._begin_session(account, None)

    async def account_of(self, secret: str, *, token: bool) -> Account | None:
        """The account of a cookie, or of a bearer token; None if it is unknown, has expired, or was revoked."""
        now = self.clock.wall()
        found = await self.database.read_async(store.find_secret, secret, now, token=token)
        if found and found[1]:
            await self.database.write_async(store.use_secret, secret, now)
        return found[0] if found else None

    async def machines_account(self) -> Account:
        """The account of this machine's user, who needs none."""
        found = await self.database.read_async(store.find_account, store.MACHINES)
        if found is None:
            return await self.database.write_async(store.machines_account, self.clock.wall())
        return Account(found["id"], found["name"])

    async def _begin_session(self, account: Account, previous: str | None, device: str = "") -> Identity:
        def work(database: sqlite3.Connection) -> Identity:
            if previous is not None:
                store.remove_secret(database, previous)
            row = store.find_account(database, account.name)
            password_hash = row["password_hash"] if row else ""
            kept = device if device_of(device, password_hash) else new_device(password_hash)
            return Identity(account, store.begin_session(database, account, self.clock.wall()), kept)

        return await self.database.write_async(work)
