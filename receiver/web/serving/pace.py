"""How fast clients have to send and to read, where the server waits for them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable

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
