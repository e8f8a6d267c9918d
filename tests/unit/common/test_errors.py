import errno
import subprocess
import sys

import pytest

from common.errors import WireError, exit_code_of


def _raise(error: BaseException | None) -> None:
    if error is not None:
        raise error


def test_exit_code_of_error_that_quotes_the_peer_prints_no_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work() -> None:
        raise WireError("the receiver refused: \x1b]0;title\x07 \u202e" + "x" * 5000)

    assert exit_code_of("sender", work) == 4
    line = capsys.readouterr().err
    assert line.startswith(r"sender: the receiver refused: \x1b]0;title\x07 \u202exxx")
    assert line.endswith("x…\n") and len(line) < 2100


@pytest.mark.parametrize(
    ("error", "missing"),
    [
        (MemoryError(), "memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (OSError(errno.EMFILE, "Too many open files"), "file descriptors"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 2798472 bytes"), "memory"),
        (RuntimeError("can't start new thread"), "memory"),
    ],
)
def test_exit_code_of_a_shortage(error: Exception, missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise error

    def deeper() -> None:
        try:
            work()
        except Exception as cause:
            raise RuntimeError("a library failed") from cause

    for task in (work, deeper):
        assert exit_code_of("sender", task) == 5
        assert capsys.readouterr().err.startswith(f"sender: too little {missing}: end other programs")


def test_exit_code_of_success_interrupt_and_full_disk(capsys: pytest.CaptureFixture[str]) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "a.bin")
    for error, code, line in (
        (None, 0, ""),
        (KeyboardInterrupt(), 130, "sender: interrupted\n"),
        (full, 5, "sender: cannot write a.bin: No space left on device\n"),
    ):
        assert exit_code_of("sender", lambda error=error: _raise(error)) == code  # type: ignore[misc]
        assert capsys.readouterr() == ("", line)


def test_exit_code_of_when_the_output_pipe_is_closed() -> None:
    talk = "[print('y' * 999) for _ in range(9999)]"
    script = f"from common.errors import exit_code_of; exit_code_of('it', lambda: {talk})"
    done = subprocess.run(f'"{sys.executable}" -c "{script}" | head -n 1', shell=True, capture_output=True, text=True)
    assert done.stdout == "y" * 999 + "\n"
    assert done.stderr == ""
