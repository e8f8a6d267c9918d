"""The command lines of the daemons: they know their commands, and answer before anything large is imported."""

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

import pytest

import receiver.__main__
import sender.__main__

# Answers all questions in one new process, then names the large libraries that were loaded.  NumPy must not be before
# `prepare_process` has set how many threads its products take.
_QUESTIONS = """
import contextlib, io, sys, sender.__main__, receiver.__main__
print("numpy" in sys.modules)
for main in (sender.__main__.main, receiver.__main__.main):
    for arguments in (["--bogus"], ["--help"], ["--help-all"], ["--version"], ["doctor", "--help"]):
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as shown:
            assert main(arguments) == 2
        assert shown.getvalue() or arguments == ["--bogus"]
def ask_receiver(command):
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as shown:
        receiver.__main__.main([command, "--help"])
    assert shown.getvalue()
ask_receiver("export")
print([name for name in ("torch", "scipy", "cv2", "av", "grpc", "ray") if name in sys.modules])
ask_receiver("accounts")
import receiver.export.session_export
print("torch" in sys.modules)
"""


def test_every_command_has_a_main() -> None:
    for program in (sender.__main__.PROGRAM, receiver.__main__.PROGRAM):
        for command in program.commands.values():
            assert callable(importlib.import_module(command.module).main)


@pytest.mark.parametrize("daemon", [sender.__main__, receiver.__main__])
def test_everyday_help_has_no_switches_for_studies(daemon: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        daemon.main(["--help"])
    shown = capsys.readouterr().out
    assert "--policy" not in shown and "paper" not in shown and "--channel" not in shown
    assert 15 <= len(re.findall(r"^  --\w", shown, re.MULTILINE)) <= 25


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (sender.__main__.main, ["docter"], "there is no command or file docter: did you mean doctor?"),
        (sender.__main__.main, ["nowhere.jpg"], "nowhere.jpg does not exist: give --camera"),
        (receiver.__main__.main, ["exprt", "1"], "there is no command exprt: did you mean export?"),
        (receiver.__main__.main, ["photo.jpg"], "there is no command photo.jpg: there are accounts, doctor, export"),
    ],
)
def test_word_that_is_no_command(
    main: Callable[[Sequence[str]], int], arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) in (2, 3)
    assert message in capsys.readouterr().err


def test_questions_are_answered_before_large_libraries_are_imported() -> None:
    done = subprocess.run([sys.executable, "-c", _QUESTIONS], capture_output=True, text=True, timeout=120)
    assert done.stdout == "False\n[]\nFalse\n", done.stderr
    for daemon in ("sender", "receiver"):
        assert f"{daemon}: unrecognized arguments: --bogus; see {daemon} --help\n" in done.stderr
