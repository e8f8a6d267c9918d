"""The start of a daemon's process, tested in small processes that import no network library."""

import gc
import subprocess
import sys
from collections.abc import Sequence

import pytest

from common.errors import UsageError
from common.io.startup import freeze_garbage, run_program
from sender.__main__ import PROGRAM

# A program that prepares itself like a daemon, then runs WORK.
_PROGRAM = """
import sys
from common.errors import SourceError, exit_code_of
from common.io.startup import announce, prepare_process
def work():
    prepare_process()
    {work}
sys.exit(exit_code_of("sender", work))
"""


def run(shell: str, work: str = "announce('ready')") -> subprocess.CompletedProcess[str]:
    """Runs the program in a shell line in which `"$@"` is its command."""
    command = [sys.executable, "-c", _PROGRAM.format(work=work)]
    return subprocess.run(["sh", "-c", shell, "sh", *command], capture_output=True, text=True, timeout=60)


def test_process_may_open_as_many_files_as_the_system_lets_it() -> None:
    work = "import resource; announce(str(resource.getrlimit(resource.RLIMIT_NOFILE)))"
    assert run('ulimit -Sn 100; ulimit -Hn 300; exec "$@"', work).stdout == "(300, 300)\n"


def test_threads_of_a_daemon_take_turns_within_a_fraction_of_a_frame() -> None:
    assert float(run('exec "$@"', "announce(str(sys.getswitchinterval()))").stdout) <= 1e-3


@pytest.mark.parametrize("fails", [False, True])
def test_garbage_is_looked_for_once_all_is_loaded(fails: bool) -> None:
    states = []

    def work(arguments: Sequence[str]) -> None:
        states.append(gc.isenabled())
        if fails:
            raise UsageError("no camera")
        freeze_garbage()
        states.append(gc.isenabled())

    frozen = gc.get_freeze_count()
    assert run_program(PROGRAM, work, []) == (UsageError.exit_code if fails else 0)
    assert states == ([False] if fails else [False, True])
    assert gc.isenabled()
    assert (gc.get_freeze_count() > frozen) is not fails


def test_windows_is_told_where_it_runs() -> None:
    work = "import sys; sys.modules['resource'] = None; import sender.__main__"
    done = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "Bodywire runs on Linux and macOS: on Windows, install it in WSL 2\n")


@pytest.mark.parametrize(("limit", "missing"), [("-v 2000000", "memory"), ("-n 8", "file descriptors")])
def test_limit_that_is_too_low_ends_the_process_in_one_line(limit: str, missing: str) -> None:
    use = {"memory": "import torch", "file descriptors": "files = [open('/dev/null') for _ in range(9)]"}
    done = run(f'ulimit {limit}; exec "$@"', use[missing])
    assert (done.returncode, done.stderr.count("\n")) == (5, 1), done.stderr
    assert done.stderr.startswith(f"sender: too little {missing}: ")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_take_no_file(closed: str) -> None:
    work = "import os; fd = os.open('/dev/zero', 0); assert fd > 2, fd; announce('ready'); raise SourceError('gone')"
    done = run(f'exec "$@" {closed}', work)
    assert done.returncode == 3
    assert done.stderr == ("" if "2>&-" in closed else "sender: gone\n")


def test_full_output_is_reported_and_hides_no_error() -> None:
    exits = "print('usage'); sys.exit(0)"
    for variable, work in (("A=", "announce('ready')"), ("PYTHONUNBUFFERED=", exits), ("PYTHONUNBUFFERED=1", exits)):
        done = run(f'{variable} exec "$@" >/dev/full', work)
        assert done.returncode == 5, work
        assert done.stderr == "sender: cannot write the output: No space left on device\n", work
    done = run('PYTHONUNBUFFERED= exec "$@" >/dev/full', "print('usage'); raise SourceError('gone')")
    assert (done.returncode, done.stderr) == (3, "sender: gone\n")
    assert run('exec "$@" 2>/dev/full', "raise SourceError('gone')").returncode == 3


def test_leave_waits_for_no_thread() -> None:
    work = (
        "import threading, time; from common.io.startup import leave; print('done', end=''); "
        "threading.Thread(target=time.sleep, args=(50,)).start(); leave(3)"
    )
    done = run('PYTHONUNBUFFERED= exec "$@"', work)
    assert (done.returncode, done.stdout) == (3, "done")


@pytest.mark.parametrize(("action", "answer"), [("SIG_DFL", "stopped\n"), ("SIG_IGN", "ignored\n")])
def test_hang_up_stops_a_daemon_unless_it_is_ignored(action: str, answer: str) -> None:
    work = f"""
    import asyncio, os, signal
    from common.io.startup import stop_on_signals
    signal.signal(signal.SIGHUP, signal.{action})
    async def serve():
        stop = asyncio.Event()
        stop_on_signals(stop)
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.1)
        announce("stopped" if stop.is_set() else "ignored")
    asyncio.run(serve())
    """
    done = run('exec "$@"', work)
    assert (done.stdout, done.stderr) == (answer, "")
