"""Waiting for a machine that has time: stalls of the test's own process must not look like losses of the link."""

import asyncio

_PATIENCE = 40


async def calm(seconds: float) -> None:
    """Sleeps, and again as long as the machine is too busy to wake a sleeper before twice the time."""
    loop = asyncio.get_running_loop()
    for _ in range(_PATIENCE):
        began = loop.time()
        await asyncio.sleep(seconds)
        if loop.time() - began < 2 * seconds:
            return
