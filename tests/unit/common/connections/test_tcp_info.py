import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from common.clock import Clock
from common.connections import TcpConnections


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
