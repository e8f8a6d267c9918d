"""User errors give one line that names the remedy, the documented exit code, and no traceback."""

import ast
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.e2e.daemons import TIMEOUT_S
from tests.support.link.certificate_authority import Authority
from tests.support.processes.forked_program import ForkedProgram

LARGE = ("torch", "openvino", "scipy")


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


@pytest.fixture
def other_server() -> Iterator[str]:
    """A server that is no receiver."""
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def told_by(program: str, cases: Sequence[Sequence[str]]) -> tuple[list[int], str, list[str]]:
    """Exit codes of a program's `main` in one new process, what it said, and the large libraries that it imported."""
    script = f"import sys; from {program}.__main__ import main; print([main(flags) for flags in {list(cases)!r}]); "
    script += f"print([name for name in {LARGE!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=TIMEOUT_S)
    codes, imported = done.stdout.splitlines() or pytest.fail(done.stderr)
    return json.loads(codes), done.stderr, ast.literal_eval(imported)


def test_sender_tells_errors_before_networks_are_loaded(tmp_path: Path, used_port: int, other_server: str) -> None:
    (tmp_path / "empty").mkdir()
    (file := tmp_path / "talk.bw").touch()
    used, missing, nobody = f"127.0.0.1:{used_port}", str(tmp_path / "missing"), ["--peer", "127.0.0.1:9"]
    soon = ["--connect-timeout", "0.2"]
    cases: dict[str, tuple[int, list[str]]] = {
        "--delivery complete needs --peer": (2, ["--record", missing, "--delivery", "complete"]),
        "--tls-ca: cannot read": (2, [*nobody, "--tls-ca", missing]),
        "--token-file: cannot read": (2, [*nobody, "--token-file", missing]),
        "missing does not exist": (3, [*nobody, "--camera", missing]),
        "contains no image": (3, [*nobody, "--camera", str(tmp_path / "empty")]),
        "127.0.0.1:9 within 0.2 s (Connection refused)": (4, [*nobody, *soon]),
        "nosuch.invalid:50051 within 0.2 s (": (4, ["--peer", "nosuch.invalid", "--insecure", *soon]),
        "is not a Bodywire receiver": (4, ["--peer", other_server]),
        "does not encrypt": (4, ["--peer", other_server, "--tls-ca", str(Authority.make(tmp_path).certificate)]),
        "cannot serve metrics": (5, [*nobody, "--metrics", used]),
        "talk.bw exists": (5, [*nobody, "--record", str(file)]),
        "cannot write the preview": (5, [*nobody, "--preview", str(file / "seen.mp4")]),
        "the spool": (5, [*nobody, "--delivery", "complete", "--spool", str(file)]),
    }
    codes, said, imported = told_by("sender", [flags for _, flags in cases.values()])
    assert codes == [code for code, _ in cases.values()] and imported == [], said
    assert [text for text in cases if text not in said] == [], said
    new = tmp_path / "new.bw"
    assert told_by("sender", [[*nobody, *soon, "--record", str(new)]])[0] == [4]
    assert not new.exists(), "the next start would refuse to replace it"


def test_receiver_tells_errors_before_networks_are_loaded(tmp_path: Path, used_port: int) -> None:
    (file := tmp_path / "talk.bw").touch()
    used, missing = f"127.0.0.1:{used_port}", str(tmp_path / "missing")
    free = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--out", str(tmp_path / "out")]
    cases: dict[str, tuple[int, list[str]]] = {
        "--replay and --record exclude each other": (2, ["--replay", missing, "--record", missing + ".bw"]),
        "--tls-cert: cannot read": (2, [*free, "--tls-cert", missing, "--tls-key", missing]),
        "--tokens: cannot read": (2, [*free, "--tokens", missing]),
        "missing: No such file": (3, [*free, "--replay", missing]),
        "no Ray cluster answers": (4, [*free, "--engine", "ray:127.0.0.1:9"]),
        f"cannot listen on {used}": (5, [*free, "--listen", used]),
        "cannot serve the page": (5, [*free, "--http", used]),
        "cannot serve metrics": (5, [*free, "--metrics", used]),
        "talk.bw exists": (5, [*free, "--record", str(file)]),
        f"cannot write {file}": (5, [*free, "--out", str(file)]),
    }
    codes, said, imported = told_by("receiver", [flags for _, flags in cases.values()])
    assert codes == [code for code, _ in cases.values()] and imported == [], said
    assert [text for text in cases if text not in said] == [], said
