"""Starts a program fast: forked from a process that has imported what both daemons import, most of a start's time."""

import faulthandler
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import DupFd
from typing import Any, TextIO

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["sender.composition", "receiver.composition"])

_WRITING_STACKS_S = 1.0


class ForkedProgram:
    """`python -m MODULE ARGUMENTS`, with what tests use of `subprocess.Popen`; nothing comes from standard input."""

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        (output, to_output), (errors, to_errors) = os.pipe(), os.pipe()
        self._process = _CONTEXT.Process(target=_Become(to_output, to_errors), args=(module, arguments))
        self._process.start()
        for descriptor in (to_output, to_errors):
            os.close(descriptor)
        self.stdout: TextIO = os.fdopen(output, encoding="utf-8")
        self.stderr: TextIO = os.fdopen(errors, encoding="utf-8")

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        if self._process.is_alive():
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Reads what is left of the output, and waits for the end.

        Raises:
            subprocess.TimeoutExpired: the program had not ended by then; it is killed. Notes give its output, and
                where its threads were.
        """
        with ThreadPoolExecutor(2) as readers:
            reading = [readers.submit(stream.read) for stream in (self.stdout, self.stderr) if not stream.closed]
            self._process.join(timeout)
            if late := self._process.is_alive():
                self.send_signal(signal.SIGUSR1)
                self._process.join(_WRITING_STACKS_S)
                self.kill()
        for stream in (self.stdout, self.stderr):
            stream.close()
        output, errors = [each.result() for each in reading] or ("", "")
        if late:
            expired = subprocess.TimeoutExpired(self._process.name, timeout or 0, output, errors)
            expired.add_note(f"output:\n{output}errors:\n{errors}")
            raise expired
        return output, errors


class _Become:
    """Is sent to the new process, which becomes the program."""

    def __init__(self, output: int, errors: int) -> None:
        self._streams = {1: output, 2: errors}

    def __getstate__(self) -> dict[int, Any]:
        return {number: DupFd(descriptor) for number, descriptor in self._streams.items()}

    def __setstate__(self, streams: dict[int, Any]) -> None:
        self._streams = {number: stream.detach() for number, stream in streams.items()}

    def __call__(self, module: str, arguments: Sequence[str]) -> None:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, descriptor in self._streams.items():
            os.dup2(descriptor, number)
            os.close(descriptor)
        faulthandler.register(signal.SIGUSR1)  # for `communicate`
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
