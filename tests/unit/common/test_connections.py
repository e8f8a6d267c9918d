import errno
import logging
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any

import pytest

from common.clock import Clock
from common.connections import BeginRate, BoundedListener, TcpConnections


def test_account_begins_a_burst_of_sessions_and_then_one_per_second() -> None:
    now_s = 0.0
    rate = BeginRate(1.0, 3, Clock(lambda: now_s, lambda: 0.0))
    assert [rate.take("a") for _ in range(8)] == [True] * 3 + [False] * 5
    assert rate.take("b")
    now_s = 1.0
    assert [rate.take("a") for _ in range(2)] == [True, False]
    now_s = 100.0
    assert all(rate.take("a") for _ in range(3))


def test_memory_of_accounts_is_bounded() -> None:
    now_s = 0.0
    rate = BeginRate(1.0, 3, Clock(lambda: now_s, lambda: 0.0))
    for number in range(10_000):
        now_s += 0.01
        rate.take(str(number))
    assert len(rate._restored_s) <= 1024


@pytest.fixture
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        with closing(client), closing(accepted):
            yield client, accepted


def test_the_kernel_counts_what_both_ends_sent(connected: tuple[socket.socket, socket.socket]) -> None:
    client, accepted = connected
    client.sendall(bytes(5000))
    while len(accepted.recv(5000, socket.MSG_PEEK)) < 5000:
        pass
    accepted.sendall(bytes(10))
    assert len(client.recv(10)) == 10
    (found,) = TcpConnections().to_port(client.getpeername()[1])
    assert (found.sent_bytes, found.received_bytes) == (5000, 10)
    # At least SYN, one packet of data and its acknowledgement.
    assert found.ip_bytes >= 5010 + 3 * 52
    (other,) = TcpConnections().from_host(*client.getsockname())
    assert (other.sent_bytes, other.received_bytes) == (10, 5000)
    assert client.fileno() >= 0
    client.sendall(b"still open")


def test_the_list_is_read_now_and_then(connected: tuple[socket.socket, socket.socket]) -> None:
    client, accepted = connected
    now_s = [0.0]
    connections = TcpConnections(Clock(lambda: now_s[0], lambda: 0.0))
    port = client.getpeername()[1]
    assert connections.to_port(port)[0].sent_bytes == 0
    client.sendall(b"1234")
    assert accepted.recv(4) == b"1234"
    assert connections.to_port(port)[0].sent_bytes == 0
    now_s[0] = 1.0
    assert connections.to_port(port)[0].sent_bytes == 4


def test_nothing_is_found_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.connections._FOLDER", "/nowhere")
    assert TcpConnections().to_port(1) == []


class Port:
    """A listener of so many connections, and its clients; what it accepts stays open."""

    def __init__(self, opened: ExitStack, most: int, **settings: Any) -> None:
        bound = socket.create_server(("127.0.0.1", 0))
        bound.setblocking(False)
        self.listener = opened.enter_context(BoundedListener(bound, "page", most, **settings))
        self._opened = opened

    def connect(self, source: str, count: int = 1) -> None:
        for _ in range(count):
            address = self.listener.getsockname()
            self._opened.enter_context(socket.create_connection(address, 10, (source, 0)))
            with suppress(BlockingIOError, ConnectionAbortedError):
                self._opened.enter_context(self.listener.accept()[0])

    @property
    def hosts(self) -> Counter[str]:
        return Counter(each.host for each in self.listener.connections)


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_a_host_has_half_and_the_busiest_makes_room_for_others(opened: ExitStack) -> None:
    port = Port(opened, 8)
    port.connect("127.0.0.2", 9)
    assert port.hosts == {"127.0.0.2": 4}
    for number in range(3, 9):
        port.connect(f"127.0.0.{number}")
    assert port.hosts == {"127.0.0.2": 2, **{f"127.0.0.{number}": 1 for number in range(3, 9)}}


def test_those_in_work_stay_and_newcomers_are_refused(opened: ExitStack) -> None:
    port = Port(opened, 4, waiting=lambda _: [])
    port.connect("127.0.0.2", 3)
    port.connect("127.0.0.3", 3)
    assert port.hosts == {"127.0.0.2": 2, "127.0.0.3": 2}
    port.connect("127.0.0.4")
    assert "127.0.0.4" not in port.hosts


def test_the_first_group_that_waits_ends_first(opened: ExitStack) -> None:
    port = Port(opened, 4, waiting=lambda present: [[], present[1:2], present], is_shared=lambda _: True)
    port.connect("127.0.0.2", 4)
    before = port.listener.connections
    port.connect("127.0.0.2")
    assert port.listener.connections[:-1] == [before[0], *before[2:]]


def test_those_that_are_old_end(opened: ExitStack) -> None:
    port = Port(opened, 4)
    port.connect("127.0.0.2", 2)
    port.listener.end_older_than(60)
    assert port.hosts == {"127.0.0.2": 2}
    port.listener.end_older_than(-1)
    assert not port.hosts


def test_descriptors_of_others_are_kept_free(opened: ExitStack) -> None:
    # More than there are gaps below, which others have left.
    free = max(opened.enter_context(socket.socket()).fileno() for _ in range(64))
    port = Port(opened, 100, kept_free_from=free + 6)
    port.connect("127.0.0.2", 20)
    assert 0 < port.hosts["127.0.0.2"] < 6


def test_trouble_is_one_line_in_the_log(
    opened: ExitStack, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rare = Port(opened, 8, takes=lambda host: host != "127.0.0.2")
    rare.connect("127.0.0.2", 20)
    rare.connect("127.0.0.3")
    assert rare.hosts == {"127.0.0.3": 1}

    def exhausted(_: socket.socket) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(socket.socket, "accept", exhausted)
    for _ in range(3):
        with pytest.raises(BlockingIOError):
            rare.listener.accept()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "page: an address connects too often (127.0.0.2): those that say nothing end, others may be refused",
        "page: no descriptor is left: those that say nothing end, others may be refused",
    ]
