"""Routes whose requests have a small body of JSON."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from receiver.web.refused import Refused
from receiver.web.serving.pace import PACE_S

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
