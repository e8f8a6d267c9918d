"""The sender's command line: `sender --camera SOURCE --peer HOST:PORT`."""

from collections.abc import Sequence
from typing import NoReturn

from common.io.command_line import Command, Program, read_config
from common.io.startup import announce, leave, loading, run_program

PROGRAM = Program(
    name="sender",
    description="Finds people in the pictures of a camera or file, turns them into some fifteen bytes of semantic\n"
    "labels a frame, and streams the labels to a receiver, which rebuilds the people as 3D meshes.",
    examples=(
        ("sender", "send the clip that ships with the package to a receiver on this machine"),
        ("sender photo.jpg", "send a picture; a video, a folder or a camera's number do as well"),
        (
            "sender 0 --peer 192.168.1.7:50051 --insecure",
            "send the first camera to another machine without certificates; the receiver needs --insecure too",
        ),
        (
            "sender --camera talk.mp4 --peer receiver.example --tls-ca certs/ca.pem --preview seen.mp4",
            "send a video, encrypted; write what was seen in it to seen.mp4",
        ),
        (
            "sender --camera 0 --camera rtsp://10.0.0.7/stream",
            "send two cameras, each in a session of its own: faster than two senders, which share no networks",
        ),
        ("sender --camera 0 --record talk.bw", "record the first camera for receiver --replay, without a receiver"),
    ),
    bare="camera",
    commands={
        "cameras": Command("list the cameras of this machine", "sender.capture.cameras"),
        "doctor": Command(
            "check what the sender needs, with the same options, and say what to do",
            "sender.doctor",
        ),
    },
)


def _work(arguments: Sequence[str]) -> None:
    from sender.config import SenderConfig

    config = read_config(SenderConfig, PROGRAM, arguments)
    config.check()
    # Imported after the options are checked, and the networks' library after everything is open: it takes seconds.
    from sender.openings import opened

    with opened(config) as openings:
        loading()
        from common.weights.graph_cache import GRAPHS

        GRAPHS.read_ahead("sender")
        from sender.composition import send

        send(openings, announce)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the sender, or the command that the first argument names, and returns its exit code."""
    return run_program(PROGRAM, _work, arguments)


def run() -> NoReturn:
    """The entry point of the installed program."""
    leave(main())


if __name__ == "__main__":
    run()
