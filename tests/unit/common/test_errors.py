import errno
import inspect
import subprocess
import sys

import pytest

import common.errors
from common.errors import BodywireError, SourceError, UsageError, WireError, exit_code_of

ALL = [kind for _, kind in inspect.getmembers(common.errors, inspect.isclass) if issubclass(kind, BodywireError)]


def _raise(error: BaseException | None) -> None:
    if error is not None:
        raise error


@pytest.mark.parametrize("kind", ALL)
def test_docstring_lists_every_error_with_its_exit_code(kind: type[BodywireError]) -> None:
    lines = [line.split() for line in (common.errors.__doc__ or "").splitlines()]
    described = [words[words.index(kind.__name__) + 1] for words in lines if kind.__name__ in words]
    assert len(described) == 1
    # The docstring omits the codes of the subclasses of WireError, which inherit its code.
    assert described[0] == str(kind.exit_code) or (issubclass(kind, WireError) and kind is not WireError)


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


def test_exit_code_of_propagates_what_is_no_shortage() -> None:
    for error in (OSError(errno.EIO, "x"), RuntimeError("x"), ImportError("No module named x"), ZeroDivisionError()):
        with pytest.raises(type(error)):
            exit_code_of("sender", lambda error=error: _raise(error))  # type: ignore[misc]


def test_branches_have_distinct_exit_codes() -> None:
    # Only errors of this module: a command that checks something may define its own, with exit code 1.
    branches = [kind for kind in BodywireError.__subclasses__() if kind.__module__ == "common.errors"]
    codes = {kind.exit_code for kind in branches}
    assert len(codes) == len(branches)
    assert codes == {2, 3, 4, 5, 6}
    assert (UsageError.exit_code, SourceError.exit_code) == (2, 3)


def test_exit_code_of_when_the_output_pipe_is_closed() -> None:
    talk = "[print('y' * 999) for _ in range(9999)]"
    script = f"from common.errors import exit_code_of; exit_code_of('it', lambda: {talk})"
    done = subprocess.run(f'"{sys.executable}" -c "{script}" | head -n 1', shell=True, capture_output=True, text=True)
    assert done.stdout == "y" * 999 + "\n"
    assert done.stderr == ""
