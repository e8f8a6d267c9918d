from dataclasses import dataclass

from common.clock import Clock
from receiver.metrics import ReceiverMetrics
from receiver.status import ReceiverStatus


@dataclass
class FakeClock:
    now_s: float = 100.0

    def clock(self) -> Clock:
        return Clock(lambda: self.now_s, lambda: self.now_s)


def test_figures_of_two_sessions() -> None:
    time = FakeClock()
    status = ReceiverStatus(time.clock())
    status.sessions_changed(1)
    status.sessions_changed(1)
    for _ in range(60):
        for session, people in ((1, 2), (2, 1)):
            status.transferred(50)
            status.frame_published(session, people, 107.0)
            status.mesh_published()
        time.now_s += 0.1
    assert status.parts() == ["2 sessions", "20.0 fps", "3 people", "age 107 ms", "120 meshes", "links 8.0 kbit/s"]
    time.now_s += 10.0
    status.sessions_changed(-1)
    assert status.parts() == ["1 session", "0.0 fps", "0 people", "120 meshes", "links 0.0 kbit/s"]


def test_metrics_notify_the_status() -> None:
    metrics = ReceiverMetrics()
    metrics.peer_connected()
    metrics.frame_published(90.0, 1.0, session=3, people=2)
    metrics.mesh_published("surface")
    assert {"1 session", "2 people", "age 90 ms", "1 mesh"} <= set(metrics.status.parts())
    metrics.peer_left()
    assert "0 sessions" in metrics.status.parts()


def test_little_room_on_the_disk_is_marked() -> None:
    assert ReceiverStatus().parts(54.2e9)[-1] == "54.2 GB free"
    assert ReceiverStatus().parts(1.2e9)[0] == "[yellow]1.2 GB free[/]"
