"""The start of a daemon's process, before anything large is imported: standard streams and threads.

Imports no library, so that it runs where the daemon itself cannot.
"""

import contextlib
import gc
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from common.errors import OutputError, exit_code_of
from common.io.command_line import Program, check_command

if TYPE_CHECKING:
    import asyncio

try:
    import resource
except ImportError as error:
    raise SystemExit("Bodywire runs on Linux and macOS: on Windows, install it in WSL 2") from error

logger = logging.getLogger(__name__)

# More files than any limit here asks for; some systems have no limit, and number them to the billions.
_MOST_FILES = 1 << 20
# A thread whose network, picture or copy is done waits so long for another one to leave the interpreter, several times
# a frame: with Python's own 5 ms, a frame that three threads share takes an eighth longer.
_SWITCH_S = 5e-4
_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def run_program(program: Program, work: Callable[[Sequence[str]], None], arguments: Sequence[str] | None) -> int:
    """Runs the command that the first argument names, or else the daemon; returns the exit code.

    Args:
        work: of the daemon, with its arguments. It imports what it needs: an import that fails for lack of memory is
            then reported in one line.
        arguments: without the program's name; by default those of the process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] in program.commands:
        code: int = importlib.import_module(program.commands[given[0]].module).main(given[1:])
        return code

    def prepared() -> None:
        if given and not given[0].startswith("-"):
            check_command(program, given[0])
        prepare_process()
        gc.disable()
        try:
            work(given)
        finally:
            gc.enable()

    return exit_code_of(program.name, prepared)


def loading() -> None:
    """Tells that what follows takes seconds, on a busy machine half a minute."""
    logger.info("loading networks …")


def freeze_garbage() -> None:
    """Switches garbage collection on, without what is loaded by now: libraries and networks would take it 0.5 s."""
    gc.freeze()
    gc.enable()


def prepare_process() -> None:
    """Opens closed standard streams, lets the process open more files, keeps libraries from threads of their own.

    Its threads take turns more often.
    """
    open_standard_streams()
    raise_descriptor_limit()
    sys.setswitchinterval(_SWITCH_S)
    # gRPC's library would write its own stack to stderr beside the line in which a daemon reports an error.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # NumPy's matrix products are small: a second thread mostly spins, and took more time than the receiver's work.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"


def raise_descriptor_limit() -> int:
    """Lets this process open as many files as the system's hard limit allows; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limited = [each for each in (hard, _MOST_FILES) if each != resource.RLIM_INFINITY]
    if soft != resource.RLIM_INFINITY and soft < min(limited):
        with contextlib.suppress(ValueError, OSError):  # macOS has another limit below the hard one
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(limited), hard))
            return min(limited)
    return _MOST_FILES if soft == resource.RLIM_INFINITY else soft


def stop_on_signals(stop: "asyncio.Event") -> None:
    """Sets an event at SIGTERM and SIGINT, and at SIGHUP, of a terminal that closes, unless nohup ignores it."""
    from asyncio import get_running_loop

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            get_running_loop().add_signal_handler(number, stop.set)


def announce(line: str) -> None:
    """Prints a line on stdout at once. Raises OutputError if stdout cannot be written."""
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write the output: {error.strerror}") from error


def leave(exit_code: int) -> NoReturn:
    """Ends a daemon's process without finalising the interpreter.

    With torch, finalising takes a second of CPU; and a thread that waits in a library's call for a silent server may
    return during it and crash.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(exit_code)


def open_standard_streams() -> None:
    """Connects closed standard streams to /dev/null; otherwise the next file or socket would take their place."""
    for descriptor, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor, which is this one
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", errors="backslashreplace", closefd=False))
