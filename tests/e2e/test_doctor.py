"""`sender doctor` and `receiver doctor`, as commands."""

import re
import socket
from pathlib import Path

import pytest

from tests.e2e.daemons import receiver, run


def problems(output: str) -> list[str]:
    """The names of the checks that found a problem."""
    return [line.split()[1].rstrip(":") for line in output.splitlines() if line.startswith("problem ")]


@pytest.mark.slow
def test_running_daemon_is_well_and_notices_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with receiver(out) as running:
        before = sorted(path.name for path in out.iterdir())
        done = run("sender", "doctor", "--peer", running.address, "--quality", "fast")
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert "of a live camera, reads every other frame of videos" in done.stdout
        assert re.search(r"ok       peer: the receiver at .* takes this sender over QUIC", done.stdout)
        # A second receiver with these options would end with code 5.
        second = run("receiver", "doctor", "--listen", running.address, "--out", str(out))
        assert (second.returncode, second.stderr) == (5, "")
        assert problems(second.stdout) == ["listen", "output"]
        assert sorted(path.name for path in out.iterdir()) == before
        second = run("receiver", "--listen", "127.0.0.1:0", "--out", str(out))
        assert second.returncode == 5 and "Traceback" not in second.stderr
        (line,) = (line for line in second.stderr.splitlines() if line.startswith("receiver: "))
        assert "another receiver" in line
        code, errors = running.terminate()
    assert "loading networks …" in errors
    # Neither a session nor a line in the log, but how many files may be open, and that networks are loaded or compiled.
    said = [line for line in errors.splitlines() if " networks " not in line and " files may be open: " not in line]
    assert (code, said) == (0, [])
    assert (out / "sessions.jsonl").read_text() == ""


@pytest.mark.slow
def test_all_problems_of_a_sender_are_told(tmp_path: Path) -> None:
    camera, spool = str(tmp_path / "talk.mp4"), tmp_path / "spool"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        cameras = ("--camera", camera, "--camera", "rtsp://127.0.0.1:9/a")
        flags = (*cameras, "--delivery", "complete", "--spool", str(spool), "--metrics", address)
        done = run("sender", "doctor", *flags, "--peer", "127.0.0.1:9")
    assert (done.returncode, done.stderr) == (3, "")
    assert problems(done.stdout) == ["source", "metrics"]
    assert re.search(r"warning  peer: no receiver at 127.0.0.1:9 .*; the sender will wait", done.stdout)
    assert re.search(
        r"warning  source: cannot open rtsp://127.0.0.1:9/a: .*; the sender will send the others", done.stdout
    )
    assert not spool.exists()
