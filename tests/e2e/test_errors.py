"""User errors give one line that names the remedy, the documented exit code, and no traceback."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemons import TIMEOUT_S, run


def only_line(errors: str, program: str) -> str:
    assert "Traceback" not in errors
    lines = [line for line in errors.splitlines() if line.startswith(f"{program}: ")]
    assert len(lines) == 1, errors
    return lines[0]


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def send_in_background(*flags: str) -> subprocess.Popen[str]:
    """Starts a sender in which SIGINT has its usual effect, also where the tests run in the background."""
    restore = "import os,signal,sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    sender = [sys.executable, "-m", "sender", "--peer", "127.0.0.1:9", *flags]
    command = [sys.executable, "-c", restore, *sender]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_while_a_server_is_silent(number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(TIMEOUT_S)
        sender = send_in_background("--camera", f"rtsp://user:secret@127.0.0.1:{server.getsockname()[1]}/a")
        client, _ = server.accept()
        with client:
            sender.send_signal(number)
            # FFmpeg's own time limit would end the wait with exit code 3.
            _, errors = sender.communicate(timeout=TIMEOUT_S)
    assert sender.returncode == (-signal.SIGTERM if number == signal.SIGTERM else 130)
    assert errors == ("" if number == signal.SIGTERM else "sender: interrupted\n")


@pytest.mark.slow
def test_port_in_use(tmp_path: Path, used_port: int) -> None:
    done = run("receiver", "--listen", f"127.0.0.1:{used_port}", "--out", str(tmp_path / "out"))
    assert done.returncode == 5
    assert str(used_port) in only_line(done.stderr, "receiver")


def test_errors_are_told_before_the_networks_library_is_loaded(tmp_path: Path, used_port: int) -> None:
    sender, missing = ["--insecure", "--peer", "127.0.0.1:9"], str(tmp_path / "missing.mp4")
    for program, code, flags in (
        ("sender", 2, ["--record", str(tmp_path / "a.bw"), "--delivery", "complete"]),
        ("sender", 3, [*sender, "--camera", missing]),
        ("sender", 5, [*sender, "--camera", "demo", "--metrics", f"127.0.0.1:{used_port}"]),
        ("receiver", 2, ["--replay", str(tmp_path / "a.bw"), "--record", str(tmp_path / "b.bw")]),
        ("receiver", 3, ["--replay", str(tmp_path / "a.bw"), "--out", str(tmp_path / "out")]),
        ("receiver", 5, ["--listen", "127.0.0.1:0", "--out", __file__]),
    ):
        script = f"import sys; from {program}.__main__ import main; print(main(sys.argv[1:]), 'torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", script, *flags], capture_output=True, text=True)
        assert done.stdout == f"{code} False\n", done.stderr
