"""Programs that end together with their parent."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from receiver.web.children import end_with_parent

PARENT = """
import os, subprocess, sys
from receiver.web.children import end_with_parent
child = subprocess.Popen([sys.executable, "-I", "-S", end_with_parent.__file__, str(os.getpid()), "/bin/sleep", "600"])
print(child.pid, flush=True)
child.wait()
"""


def until_gone(process: int) -> None:
    """Waits until a process has ended, whoever its parent is."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(descriptor)
    assert poll.poll(20_000), f"process {process} goes on"
    os.close(descriptor)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part is Linux's")
def test_child_ends_with_a_parent_that_is_killed() -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    with parent.stdout:
        child = int(parent.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        until_gone(child)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part is Linux's")
def test_program_does_not_start_for_a_parent_that_has_ended() -> None:
    command = [sys.executable, "-I", "-S", str(end_with_parent.__file__), "1", "/bin/echo", "started"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
