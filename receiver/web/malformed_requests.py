"""Keeps tracebacks of malformed HTTP out of the log.

uvicorn answers 400 itself when the body of a request breaks HTTP, and closes the connection. The application's own
answer then fails, and would be logged with a traceback for each such request.
"""

import logging

from h11 import LocalProtocolError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)


class DropLateAnswers:
    """Wraps an application: an answer to a request that uvicorn has answered already is dropped."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_or_drop(message: Message) -> None:
            try:
                await send(message)
            except LocalProtocolError as error:
                logger.debug("an answer to malformed HTTP is dropped: %s", error)

        await self._app(scope, receive, send_or_drop)
