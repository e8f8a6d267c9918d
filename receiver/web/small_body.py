"""How fast clients have to send and to read, where the server waits for them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from receiver.web.places import Refused

PACE_S = 10.0
"""Seconds in which a rate has to be reached."""
LEAST_BYTES_PER_S = 8_000
"""Of the slowest phones."""


async def paced(chunks: AsyncIterator[bytes], least_bytes_per_s: Callable[[], float]) -> AsyncGenerator[bytes, None]:
    """The chunks of a body, whose client has `PACE_S` for as many bytes as that is at the least rate, again and again.

    Raises TimeoutError when they have not come. What is done between two chunks takes no time of the client's.
    """
    loop = asyncio.get_running_loop()
    left_s, came = PACE_S, 0
    while True:
        began_s = loop.time()
        async with asyncio.timeout(left_s):
            chunk = await anext(chunks, None)
        if chunk is None:
            return
        left_s, came = left_s - (loop.time() - began_s), came + len(chunk)
        if came >= PACE_S * least_bytes_per_s():
            left_s, came = PACE_S, 0
        yield chunk


_MAX_BYTES = 8192


class Given(BaseModel):
    """A body that has exactly these fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class SmallBodyRoute(APIRoute):
    """A route that answers 413 to a body above 8 kB, or of unknown size, before it is read, and 408 to a slow one."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with a limited body."""
        handler = super().get_route_handler()

        async def limited(request: Request) -> Response:
            length = request.headers.get("content-length", "0")
            if "transfer-encoding" in request.headers or not length.isdecimal() or int(length) > _MAX_BYTES:
                raise Refused(413, f"send a body of at most {_MAX_BYTES} bytes, whole")
            try:
                async with asyncio.timeout(PACE_S):
                    await request.body()
            except TimeoutError as error:
                raise Refused(408, "the body came too slowly: send it again") from error
            return await handler(request)

        return limited
