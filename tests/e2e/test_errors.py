"""User errors give one line that names the remedy, the documented exit code, and no traceback."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemons import TIMEOUT_S
from tests.support.processes.forked_program import ForkedProgram


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_signal_while_a_server_is_silent(number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(TIMEOUT_S)
        camera = f"rtsp://user:secret@127.0.0.1:{server.getsockname()[1]}/a"
        sender = ForkedProgram("sender", ["--peer", "127.0.0.1:9", "--camera", camera])
        client, _ = server.accept()
        with client:
            sender.send_signal(number)
            # FFmpeg's own time limit would end the wait with exit code 3.
            _, errors = sender.communicate(timeout=TIMEOUT_S)
    assert sender.returncode == (-signal.SIGTERM if number == signal.SIGTERM else 130)
    assert errors == ("" if number == signal.SIGTERM else "sender: interrupted\n")


@pytest.mark.slow
def test_errors_are_told_before_the_networks_library_is_loaded(tmp_path: Path, used_port: int) -> None:
    sender, missing = ["--insecure", "--peer", "127.0.0.1:9"], str(tmp_path / "missing.mp4")
    runs: dict[str, dict[int, list[str]]] = {
        "sender": {
            2: ["--record", str(tmp_path / "a.bw"), "--delivery", "complete"],
            3: [*sender, "--camera", missing],
            5: [*sender, "--camera", "demo", "--metrics", f"127.0.0.1:{used_port}"],
        },
        "receiver": {
            2: ["--replay", str(tmp_path / "a.bw"), "--record", str(tmp_path / "b.bw")],
            3: ["--replay", str(tmp_path / "a.bw"), "--out", str(tmp_path / "out")],
            5: ["--listen", "127.0.0.1:0", "--out", __file__],
        },
    }
    for program, cases in runs.items():
        script = f"import sys; from {program}.__main__ import main; "
        script += f"print([(main(flags), 'torch' in sys.modules) for flags in {list(cases.values())!r}])"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.stdout == f"{[(code, False) for code in cases]}\n", done.stderr
