"""What a forked process frees."""

import subprocess
import sys

_EXITS = """
import os, sys
from common.forks import keep_in_forks

class Decoder:
    def __del__(self):
        os.write(1, b"parent " if os.getpid() == parent else b"child ")

parent, kept, garbage = os.getpid(), keep_in_forks(Decoder()), Decoder()
garbage.itself = garbage
del garbage
if os.fork() == 0:
    del kept
    sys.exit()
os.wait()
"""


def test_only_the_parent_frees_what_is_kept_and_what_is_garbage() -> None:
    done = subprocess.run([sys.executable, "-c", _EXITS], capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["parent", "parent"], "")
