"""Freed memory is returned once after each peak."""

import asyncio
import subprocess
import sys

from receiver.freed_memory import FreedMemory

# Blocks below the size that glibc maps by themselves, every hundredth of which stays: the others are free, and inside.
_PEAK = """
from pathlib import Path
from receiver.freed_memory import return_freed_memory
resident = lambda: int(Path("/proc/self/statm").read_text().split()[1])
blocks = [bytes(100_000) for _ in range(2_000)]
kept = blocks[::100]
del blocks
before = resident()
return_freed_memory()
print(before - resident())
"""


async def test_return_soon_called_by_many_sessions_that_end_together() -> None:
    loop, returned = asyncio.get_running_loop(), asyncio.Queue[None]()

    def give_back() -> None:
        loop.call_soon_threadsafe(returned.put_nowait, None)

    memory = FreedMemory(give_back, wait_s=0.001)
    for _ in range(2):
        memory.return_soon()
        memory.return_soon()
        await asyncio.wait_for(returned.get(), 30)
    assert returned.empty()


async def test_close_before_the_time_is_over() -> None:
    returned = list[None]()
    memory = FreedMemory(lambda: returned.append(None), wait_s=0)
    memory.return_soon()
    memory.close()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not returned


def test_return_freed_memory_between_blocks_in_use() -> None:
    pages = subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, check=True, text=True).stdout
    assert 4096 * int(pages) > 100e6
