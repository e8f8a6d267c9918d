"""Who may see what people before a sender's camera do.

On the loopback everybody may: who is on this machine reaches the senders' port as well. At any other address a request
must belong to an account, by a cookie of the page or a token.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

_RECHECK_EVERY_S = 10.0

ACCOUNTLESS = ""
"""Name of a watcher who needs no account."""


@dataclass(frozen=True, slots=True)
class Access:
    """Decides who may watch."""

    needs_account: bool
    account_name: Callable[[HTTPConnection], Awaitable[str | None]]

    async def watcher(self, connection: HTTPConnection) -> str | None:
        """Under which name a connection may watch; None if it may not."""
        name = await self.account_name(connection)
        return name or (None if self.needs_account else ACCOUNTLESS)

    async def until_signed_out(self, connection: HTTPConnection) -> None:
        """Waits until a connection that may watch may no longer: its session ended, or its token was revoked."""
        if not self.needs_account:
            await asyncio.Event().wait()
        while await self.watcher(connection) is not None:
            await asyncio.sleep(_RECHECK_EVERY_S)

    async def may_watch(self, request: Request) -> None:
        """A dependency of routes. Raises HTTPException (401)."""
        if await self.watcher(request) is None:
            raise HTTPException(401, "sign in to watch", {"www-authenticate": "Bearer"})
