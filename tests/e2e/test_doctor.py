"""`sender doctor` and `receiver doctor`, as commands."""

import json
import socket
from pathlib import Path

from tests.e2e.daemons import receiver, run
from tests.support.certificate_authority import Authority


def problems(output: str) -> list[str]:
    """The names of the checks that found a problem."""
    return [line.split()[1].rstrip(":") for line in output.splitlines() if line.startswith("problem ")]


def test_running_daemon_is_well_and_notices_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with receiver(out) as running:
        before = sorted(path.name for path in out.iterdir())
        done = run("sender", "doctor", "--peer", running.address)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert "ok       peer versions: protocol, codec and weights are the same" in done.stdout
        assert done.stdout.splitlines()[-1].startswith("the sender can run (")
        # A second receiver with these options would end with code 5.
        second = run("receiver", "doctor", "--listen", running.address, "--out", str(out))
        assert (second.returncode, second.stderr) == (5, "")
        assert problems(second.stdout) == ["output", "listen"]
        assert sorted(path.name for path in out.iterdir()) == before
        code, errors = running.terminate()
    # Neither a session nor a line in the log.
    assert (code, errors) == (0, "")
    assert (out / "sessions.jsonl").read_text() == ""


def test_receiver_that_has_not_been_started(tmp_path: Path) -> None:
    done = run("receiver", "doctor", "--listen", "127.0.0.1:0", "--out", str(tmp_path / "out"), "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert (document["program"], document["exit_code"]) == ("receiver", 0)
    names = {finding["check"] for finding in document["findings"]}
    assert {"python", "packages", "messages", "weights", "output", "disk", "listen", "clock"} <= names
    assert not (tmp_path / "out").exists()


def test_unreachable_peer_and_missing_camera(tmp_path: Path) -> None:
    done = run("sender", "doctor", "--camera", str(tmp_path / "talk.mp4"), "--peer", "127.0.0.1:9")
    assert (done.returncode, done.stderr) == (3, "")
    assert problems(done.stdout) == ["source", "peer"]
    assert "127.0.0.1:9 refused: start the receiver there" in done.stdout


def test_busy_metrics_port_and_unknown_flag() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        done = run("sender", "doctor", "--metrics", address, "--peer", "127.0.0.1:9")
    assert (done.returncode, done.stderr) == (5, "")
    assert problems(done.stdout) == ["metrics", "peer"]
    wrong = run("sender", "doctor", "--kamera", "0")
    assert (wrong.returncode, wrong.stderr) == (2, "")
    assert problems(wrong.stdout) == ["configuration"]


def test_wrong_authority_and_expired_certificate(tmp_path: Path) -> None:
    ours, others = Authority.make(tmp_path / "ours"), Authority.make(tmp_path / "others")
    certificate, key = ours.issue("receiver", "127.0.0.1")
    stale, stale_key = ours.issue("stale", days=0)
    with receiver(tmp_path / "out", "--tls-cert", str(certificate), "--tls-key", str(key)) as running:
        done = run("sender", "doctor", "--peer", running.address, "--tls-ca", str(others.certificate))
        assert (done.returncode, done.stderr) == (4, ""), done.stdout
        assert problems(done.stdout) == ["peer"]
        assert "peer tls: the certificate of the receiver" in done.stdout
    flags = ("--tls-cert", str(stale), "--tls-key", str(stale_key), "--out", str(tmp_path / "out"))
    expired = run("receiver", "doctor", "--listen", "127.0.0.1:0", *flags)
    assert (expired.returncode, expired.stderr) == (2, "")
    assert problems(expired.stdout) == ["certificates", "admission"]
    assert "expired on" in expired.stdout
