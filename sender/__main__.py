"""The sender's command line: `sender --camera SOURCE --peer HOST:PORT`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from common.errors import exit_code_of
from common.io.configuration import read_config
from common.io.options import Command, Program
from common.io.startup import announce, leave, prepare_process


def _version() -> str:
    from common.version import version_line

    return version_line("sender")


PROGRAM = Program(
    name="sender",
    description="Finds people in the pictures of a camera or file, turns them into about 20 bytes of semantic labels\n"
    "a frame, and streams the labels to a receiver, which rebuilds the people as 3D meshes.",
    examples=(
        ("sender", "send the clip that ships with the package to a receiver on this machine"),
        (
            "sender --camera 0 --peer 192.168.1.7:50051 --insecure",
            "send the first camera to another machine without encryption; the receiver needs --insecure too",
        ),
        (
            "sender --camera talk.mp4 --peer receiver.example --tls-ca certs/ca.pem --preview seen.mp4",
            "send a video, encrypted; write what was seen in it to seen.mp4",
        ),
        ("sender --camera 0 --record talk.bw", "record the first camera for receiver --replay, without a receiver"),
    ),
    version=_version,
    commands={
        "doctor": Command(
            "check what the sender needs, with the same options, and say what to do",
            daemon_flags=True,
            flags={"--json": "print one JSON document instead of lines"},
        )
    },
)


def _doctor(arguments: Sequence[str]) -> int:
    from sender.doctor.command import main as doctor

    return doctor(arguments)


SUBCOMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {"doctor": _doctor}
"""Commands by their name, the first argument; they take the other arguments and return the exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the sender, or the command that the first argument names, and returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in SUBCOMMANDS:
        return SUBCOMMANDS[arguments[0]](arguments[1:])

    def work() -> None:
        prepare_process()
        # Imported here, so that an import that fails for lack of memory is reported in one line.
        from sender.composition import send
        from sender.config import SenderConfig

        send(read_config(SenderConfig, PROGRAM, arguments), announce)

    return exit_code_of("sender", work)


def run() -> NoReturn:
    """The entry point of the installed program."""
    leave(main())


if __name__ == "__main__":
    run()
