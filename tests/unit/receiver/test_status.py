import re
from pathlib import Path

import pytest

from common.clock import Clock
from common.io.addresses import Address
from common.io.status_line import ASCII
from receiver import status
from receiver.link.config import SecurityConfig
from receiver.metrics import ReceiverMetrics
from receiver.status import ReceiverStatus, StatusLine, host_names, reached_as, startup_line
from tests.support.certificate_authority import Authority

PEM = Path("receiver.pem")
TLS = SecurityConfig(tls_cert=PEM, tls_key=PEM)


class FakeClock:
    now_s = 100.0

    def clock(self) -> Clock:
        return Clock(lambda: self.now_s, lambda: self.now_s)


@pytest.fixture
def time() -> FakeClock:
    return FakeClock()


def test_figures_of_two_sessions(time: FakeClock) -> None:
    status = ReceiverStatus(time.clock())
    status.sessions_changed(1)
    status.sessions_changed(1)
    for _ in range(60):
        for session, people in ((1, 2), (2, 1)):
            status.transferred(50)
            status.frame_published(session, people, 107.0)
            status.mesh_published()
        time.now_s += 0.1
    figures = status.figures()
    assert figures.frames_per_second == pytest.approx(20.0, rel=0.05)
    assert figures.bits_per_second == pytest.approx(8000.0, rel=0.05)
    assert (figures.sessions, figures.people, figures.age_ms, figures.meshes) == (2, 3, 107.0, 120)
    time.now_s += 10.0
    status.sessions_changed(-1)
    quiet = status.figures()
    assert (quiet.sessions, quiet.people, quiet.age_ms, quiet.frames_per_second) == (1, 0, None, 0.0)
    assert quiet.meshes == 120


def test_metrics_notify_the_status() -> None:
    metrics = ReceiverMetrics()
    metrics.peer_connected()
    metrics.frame_received({"root": 30, "header": 20})
    metrics.frame_published(90.0, 1.0, session=3, people=2)
    metrics.mesh_published("surface")
    figures = metrics.status.figures()
    assert (figures.sessions, figures.people, figures.age_ms, figures.meshes) == (1, 2, 90.0, 1)
    metrics.peer_left()
    assert metrics.status.figures().sessions == 0


def test_line_reads_the_disk_now_and_then(time: FakeClock) -> None:
    asked: list[Path] = []
    free = iter([54_200_000_000, 1_200_000_000])

    def disk(out: Path) -> tuple[float, float]:
        asked.append(out)
        return next(free), 1e12

    line = StatusLine(ReceiverStatus(time.clock()), Path("out"), time.clock(), disk)
    shown = "receiver  0 sessions | 0.0 fps | 0 people | links 0.0 kbit/s | 0 meshes | 54.2 GB free"
    assert line.line(200, ASCII).plain == shown
    time.now_s += 4.9
    assert line.line(200, ASCII).plain == shown
    assert asked == [Path("out")]
    time.now_s += 0.1
    little = line.line(200, ASCII)
    assert little.plain.endswith("1.2 GB free")
    assert [span.style for span in little.spans][-1] == "yellow"


def test_line_without_a_disk(time: FakeClock, tmp_path: Path) -> None:
    line = StatusLine(ReceiverStatus(time.clock()), tmp_path / "gone", time.clock())
    assert line.line(200, ASCII).plain.endswith("0 meshes")


@pytest.fixture(autouse=True)
def fixed_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "host_names", lambda: ["192.168.1.7", "studio"])


def test_loopback_names_the_flags_for_other_machines() -> None:
    line = startup_line(Address("127.0.0.1", 50051), SecurityConfig())
    assert line.startswith("listening on 127.0.0.1:50051 (this machine only); ")
    for expected in ("--listen 0.0.0.0:50051", "--tls-cert", "--tls-key", "--insecure", "docs/security.md"):
        assert expected in line


def test_line_names_the_senders_command_at_all_interfaces_or_at_one() -> None:
    everywhere = startup_line(Address("0.0.0.0", 7), SecurityConfig(insecure=True))
    assert everywhere.startswith("listening on 0.0.0.0:7 (not encrypted); ")
    assert "sender --camera 0 --peer 192.168.1.7:7 --insecure (also reachable as studio:7)" in everywhere
    one = startup_line(Address("10.0.0.5", 7), SecurityConfig(insecure=True))
    assert "sender --camera 0 --peer 10.0.0.5:7 --insecure" in one and "studio" not in one


def test_encrypted_receiver_names_what_the_sender_must_show() -> None:
    mutual = SecurityConfig(tls_cert=PEM, tls_key=PEM, tls_ca=PEM, tokens=Path("tokens.toml"))
    for security, more in ((TLS, ""), (mutual, " --tls-cert NAME.pem --tls-key NAME.key --token-file FILE")):
        line = startup_line(Address("0.0.0.0", 7), security)
        assert "(encrypted)" in line and "insecure" not in line
        assert f"--peer 192.168.1.7:7 --tls-ca ca.pem{more} (also" in line


def test_names_are_those_that_the_certificate_covers(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "certs")
    for hosts, names in (
        (("studio", "10.0.0.5"), ["studio"]),
        (("studio.example", "10.0.0.5"), ["studio.example", "10.0.0.5", "receiver"]),
        (("192.168.1.7", "other"), ["192.168.1.7"]),
    ):
        certificate, _ = authority.issue("receiver", *hosts)
        assert reached_as("0.0.0.0", certificate) == names
        assert reached_as("0.0.0.0", None) == ["192.168.1.7", "studio"]
    security = SecurityConfig(tls_cert=certificate, tls_key=certificate)
    assert "--peer 192.168.1.7:7 --tls-ca ca.pem" in startup_line(Address("0.0.0.0", 7), security)
    assert reached_as("10.0.0.5", PEM) == ["10.0.0.5"]


def test_host_names_are_an_address_and_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    names = host_names()
    assert all(names)
    assert all(re.fullmatch(r"[\d.]+", name) for name in names[:-1])
