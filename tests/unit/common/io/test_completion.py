"""The completion scripts, sourced in a real bash."""

import argparse
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from common.io.command_line import SHELLS, completion_script
from common.io.options import Command, Program, option


@dataclass(frozen=True, slots=True)
class Capture:
    """Where frames come from."""

    camera: str = option("demo", help="a camera, 100 % free text")
    tls_ca: Path | None = option(None, help="a file")
    policy: Literal["capacity", "paper"] = option("capacity", help="a policy")
    colours: bool = option(True, help="send colours")


@dataclass(frozen=True, slots=True)
class Config:
    """All."""

    capture: Capture = field(default_factory=Capture)


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", metavar="SESSION")
    parser.add_argument("--format", choices=["glb", "bvh"])
    parser.add_argument("--output", type=Path)


PROGRAM = Program(
    "sender",
    "Sends.",
    (),
    {
        "doctor": Command("check it", "", daemon_flags=True, flags={"--json": "as JSON"}),
        "accounts": Command("users", ""),
        "export": Command("write it", "", add_arguments=add_export_arguments),
    },
)

_COMPLETE = """
source "$1"; shift
function_name=$(complete -p sender | sed 's/.*-F \\([^ ]*\\).*/\\1/')
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
"$function_name" sender "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str) -> str:
    return completion_script(Config, PROGRAM, shell)


def proposals(tmp_path: Path, *words: str) -> set[str]:
    """What bash proposes for the last word."""
    path = tmp_path / "sender.bash"
    path.write_text(script("bash"))
    command = ["bash", "--norc", "-c", _COMPLETE, "bash", str(path), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_proposes(tmp_path: Path) -> None:
    for words, expected in (
        (["--pol"], {"--policy"}),
        (["--policy", ""], {"capacity", "paper"}),
        (["--policy", "pap"], {"paper"}),
        (["--no-c"], {"--no-colours"}),
        (["do"], {"doctor"}),
        (["doctor", "--js"], {"--json"}),
        (["doctor", "--policy", "c"], {"capacity"}),
        (["accounts", "--pol"], set()),
        (["export", "--for"], {"--format"}),
        (["export", "--format", "b"], {"bvh"}),
        (["export", "--pol"], set()),
    ):
        assert proposals(tmp_path, "sender", *words) == expected


def test_bash_proposes_files(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    for words in (["--camera"], ["--tls-ca"], ["--config"], ["export", "--output"]):
        assert proposals(tmp_path, "sender", *words, f"{tmp_path}/cl") == {f"{tmp_path}/clip.mp4"}


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_has_a_script(shell: str, tmp_path: Path) -> None:
    text = script(shell)
    assert "policy" in text and "capacity" in text and "doctor" in text
    if shutil.which(shell):
        path = tmp_path / "script"
        path.write_text(text)
        subprocess.run([shell, "-n", str(path)], check=True, capture_output=True)
