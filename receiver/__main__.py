"""The receiver's command line: `receiver --listen HOST:PORT --out PATH`, and its sub-commands."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from common.errors import exit_code_of
from common.io.configuration import read_config
from common.io.options import Command, Program
from common.io.startup import announce, leave, prepare_process
from receiver.export.arguments import add_export_arguments


def _version() -> str:
    from common.version import version_line

    return version_line("receiver")


PROGRAM = Program(
    name="receiver",
    description="Receives people as semantic labels from senders, rebuilds each person as a watertight 3D mesh,\n"
    "and writes the meshes and one JSON line per frame to a directory.",
    examples=(
        ("receiver", "take senders on this machine, on port 50051; write to the directory out"),
        (
            "receiver --listen 0.0.0.0:50051 --insecure --out meshes --format ply",
            "take senders from any machine without encryption; write PLY files to the directory meshes",
        ),
        (
            "receiver --listen 0.0.0.0:50051 --tls-cert certs/receiver.pem --tls-key certs/receiver.key",
            "take senders from any machine, encrypted; deploy/certs makes the certificates",
        ),
        (
            "receiver --replay talk.bw --speed max",
            "rebuild the people of a recording of sender --record or receiver --record",
        ),
        (
            "receiver export 1",
            "write the first session in out to session-1.glb, an animation for Blender",
        ),
        ("receiver accounts --out out add NAME", "make an account of the web page; see receiver accounts --help"),
    ),
    version=_version,
    commands={
        "accounts": Command("make and remove accounts of the web page and their tokens"),
        "doctor": Command(
            "check what the receiver needs, with the same options, and say what to do",
            daemon_flags=True,
            flags={"--json": "print one JSON document instead of lines"},
        ),
        "export": Command(
            "write the people of a recorded session as animation files: glb, bvh, obj, ply, usdz",
            add_arguments=add_export_arguments,
        ),
    },
)


def _accounts(arguments: Sequence[str]) -> int:
    from receiver.web.accounts.command import main as accounts

    return accounts(arguments)


def _doctor(arguments: Sequence[str]) -> int:
    from receiver.doctor.command import main as doctor

    return doctor(arguments)


def _export(arguments: Sequence[str]) -> int:
    from receiver.export.command import main as export

    return export(arguments)


SUBCOMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "accounts": _accounts,
    "doctor": _doctor,
    "export": _export,
}
"""Commands by their name, the first argument; they take the other arguments and return the exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the receiver, or the command that the first argument names, and returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in SUBCOMMANDS:
        return SUBCOMMANDS[arguments[0]](arguments[1:])

    def work() -> None:
        prepare_process()
        # Imported here, so that an import that fails for lack of memory is reported in one line.
        from receiver.composition import ReceiverConfig, receive

        receive(read_config(ReceiverConfig, PROGRAM, arguments), announce)

    return exit_code_of("receiver", work)


def run() -> NoReturn:
    """The entry point of the installed program."""
    leave(main())


if __name__ == "__main__":
    run()
