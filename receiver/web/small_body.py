"""Routes whose requests have small bodies, which must arrive soon."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message, Receive

from receiver.web.problems import problem

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
