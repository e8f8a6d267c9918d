"""Freed memory is returned after a peak."""

import subprocess
import sys

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


def test_return_freed_memory_between_blocks_in_use() -> None:
    pages = subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, check=True, text=True).stdout
    assert 4096 * int(pages) > 100e6
