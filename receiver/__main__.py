"""The receiver's command line: `receiver --listen HOST:PORT --out PATH`, and its sub-commands."""

import asyncio
from collections.abc import Sequence
from typing import NoReturn

from common.io.command_line import Command, Program, read_config
from common.io.startup import announce, leave, loading, run_program

PROGRAM = Program(
    name="receiver",
    description="Receives people as semantic labels from senders, rebuilds each person as a watertight 3D mesh,\n"
    "and writes the meshes and one JSON line per frame to a directory.",
    examples=(
        ("receiver", "take senders on this machine, on port 50051; write to the directory out"),
        (
            "receiver --listen 0.0.0.0:50051 --insecure --out meshes --format ply",
            "take senders from any machine without certificates; write PLY files to the directory meshes",
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
            "write the first session in out to a file such as clip-1.glb, an animation for Blender",
        ),
        ("receiver accounts --out out add NAME", "make an account of the web page; see receiver accounts --help"),
    ),
    commands={
        "accounts": Command(
            "make and remove accounts of the web page and their tokens", "receiver.web.accounts.command"
        ),
        "doctor": Command(
            "check what the receiver needs, with the same options, and say what to do",
            "receiver.doctor",
        ),
        "export": Command(
            "write the people of a session as animation (glb, bvh, obj, ply, usdz) or numbers (npz, csv)",
            "receiver.export.command",
        ),
    },
)


def _work(arguments: Sequence[str]) -> None:
    from receiver.config import ReceiverConfig

    config = read_config(ReceiverConfig, PROGRAM, arguments)
    config.check()
    # Imported after the options are checked.
    from receiver.openings import opened
    from receiver.web.children.standby import standby

    with opened(config) as openings, asyncio.Runner() as runner:
        loading()
        waiting = runner.run(standby(config.device.device)) if config.web.page else None
        # The networks' library takes seconds.
        from receiver.composition import receive

        receive(config, openings, announce, runner, waiting)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the receiver, or the command that the first argument names, and returns its exit code."""
    return run_program(PROGRAM, _work, arguments)


def run() -> NoReturn:
    """The entry point of the installed program."""
    leave(main())


if __name__ == "__main__":
    run()
