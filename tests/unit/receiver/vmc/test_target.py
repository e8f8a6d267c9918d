"""Where motion goes, and what is told when nothing gets there."""

import errno
import logging
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from common.clock import Clock
from common.io.addresses import Address
from receiver.config import VmcConfig
from receiver.vmc import motion_sender
from receiver.vmc.motion_sender import Target, failure, probed

To = Callable[[Address], Target]
REOPENED_S = 1.01
"""A little more than the time after which what fails is opened again."""


class Time:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.clock = Clock(lambda: self.now_s, lambda: self.now_s)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def to(time: Time) -> Iterator[To]:
    """Makes targets, and closes them."""
    made: list[Target] = []

    def make(address: Address) -> Target:
        made.append(Target(address, time.clock))
        return made[-1]

    yield make
    for each in made:
        each.close()


def listening(family: int = socket.AF_INET, host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    opened.bind((host, port))
    opened.setblocking(False)
    return opened


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with listening() as opened:
        yield opened


def port_of(opened: socket.socket) -> int:
    return int(opened.getsockname()[1])


def taken(opened: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(opened.recv(65_536))
        except BlockingIOError:
            return found


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return found


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> None:
    """Lookups of names give these in turn: lists of addresses, or errors."""
    given, real = iter(answers), socket.getaddrinfo

    def getaddrinfo(host: str, port: int, type: int) -> Any:
        answer = next(given)
        if isinstance(answer, OSError):
            raise answer
        return [found for each in answer for found in real(each, port, type=type)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_localhost_is_reached_by_ipv4_first(
    listener: socket.socket, to: To, time: Time, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    resolve_to(monkeypatch, ["::1", "127.0.0.1"])
    port = port_of(listener)
    opened = to(Address("localhost", port))
    opened.send([b"one", b"two"])
    assert taken(listener) == [b"one", b"two"]
    assert lines(caplog) == [f"--vmc localhost:{port}: motion goes to 127.0.0.1:{port}"]


def test_next_address_is_taken_where_nobody_listens_at_the_first(
    to: To, time: Time, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    with listening(socket.AF_INET6, "::1") as listener:
        resolve_to(monkeypatch, *[["::1", "127.0.0.1"]] * 9)
        port = port_of(listener)
        opened = to(Address("localhost", port))
        for _ in range(10):
            opened.send([b"pose"] * 2)
            time.now_s += REOPENED_S
        assert len(taken(listener)) > 10
    refused = f"--vmc localhost:{port}: nothing gets there (Connection refused)"
    first, second, third, again = lines(caplog)
    assert (first, third) == tuple(
        f"--vmc localhost:{port}: motion goes to {host}:{port}" for host in ("127.0.0.1", "[::1]")
    )
    assert second.startswith(refused) and "start the program" in second
    assert again == f"--vmc localhost:{port}: motion gets to [::1]:{port} again"


def test_closed_port_is_told_once_and_again_when_somebody_listens(
    listener: socket.socket, to: To, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    port = port_of(listener)
    opened = to(Address("127.0.0.1", port))
    opened.send([b"pose"])
    listener.close()
    for _ in range(600):
        opened.send([b"pose"])
        time.now_s += 1 / 60
    goes, refused = lines(caplog)
    assert "motion goes to" in goes and "(Connection refused): start the program" in refused
    with listening(port=port) as back:
        for _ in range(600):
            opened.send([b"pose"])
            time.now_s += 1 / 60
        assert len(taken(back)) > 200, "as many as the system keeps"
    (again,) = lines(caplog)
    assert again.endswith(f"motion gets to 127.0.0.1:{port} again")
    for _ in range(3):
        opened.send([b"pose"])
    assert [line.split(": ")[1] for line in lines(caplog)] == ["nothing gets there (Connection refused)"]


def test_broadcast_is_permitted(listener: socket.socket, to: To, time: Time, caplog: pytest.LogCaptureFixture) -> None:
    port = port_of(listener)
    with listening(host="0.0.0.0", port=0) as everywhere:
        opened = to(Address("127.255.255.255", port_of(everywhere)))
        opened.send([b"pose"])
        assert taken(everywhere) == [b"pose"]
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert probed(Address("127.255.255.255", port)).endswith("every machine of that network")


def test_name_that_resolves_later_is_looked_up_again_beside_the_sending(
    listener: socket.socket, to: To, time: Time, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    resolve_to(monkeypatch, unknown, unknown, ["127.0.0.1"])
    opened = to(Address("studio", port_of(listener)))
    for _ in range(4):
        opened.send([b"pose"])
        if opened._lookup is not None:
            opened._lookup._thread.join()
        opened.send([b"pose"])
        time.now_s += REOPENED_S
    assert taken(listener)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning == f"--vmc {opened._address}: Name or service not known: give an address that this machine knows"


def test_each_cause_is_told_while_a_network_goes_and_it_is_opened_again_when_it_comes(
    listener: socket.socket, to: To, time: Time, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    opened = to(Address("127.0.0.1", port_of(listener)))
    opened.send([b"pose"])
    real = motion_sender.connected
    opened.close()
    for cause in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        monkeypatch.setattr(motion_sender, "connected", Mock(side_effect=OSError(cause, os.strerror(cause))))
        for _ in range(300):
            opened.send([b"pose"])
            time.now_s += 1 / 60
    monkeypatch.setattr(motion_sender, "connected", real)
    for _ in range(400):
        opened.send([b"pose"])
        time.now_s += 1 / 60
    told = [line.split(": ", 1)[1].split(": ")[0] for line in lines(caplog)]
    assert told[1:3] == ["nothing gets there (Network is unreachable)", "nothing gets there (No route to host)"]
    assert told[3:] == [f"motion gets to 127.0.0.1:{port_of(listener)} again"]
    assert len(taken(listener)) > 100


def test_what_is_told_says_what_to_do() -> None:
    address = Address("10.0.0.255", 39539)
    assert failure(address, OSError(errno.EPERM, "Operation not permitted")).endswith("permit it in the firewall")
    unreachable = failure(address, OSError(errno.ENETUNREACH, "Network is unreachable"))
    assert (
        unreachable == "--vmc 10.0.0.255:39539: nothing gets there (Network is unreachable): tried again until it works"
    )


def test_doctor_says_where_motion_leads(listener: socket.socket) -> None:
    port = port_of(listener)
    assert probed(Address("127.0.0.1", port)) == f"127.0.0.1:{port}"
    assert taken(listener) == [motion_sender.EMPTY_BUNDLE]
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        probed(Address("127.0.0.1", port))
    with pytest.raises(socket.gaierror):
        probed(Address("nowhere.invalid", port))


def test_addresses_of_the_configuration() -> None:
    texts = ("39540", ":39541", "studio", "[::1]:9", "192.168.1.255:39539", "[ff02::1%eth0]:9", "239.1.2.3:9")
    assert [str(each) for each in VmcConfig(texts).addresses] == [
        *("127.0.0.1:39540", "127.0.0.1:39541", "studio:39539", "[::1]:9", "192.168.1.255:39539"),
        *("[ff02::1%eth0]:9", "239.1.2.3:9"),
    ]
    assert VmcConfig().addresses == ()


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        *((("",), "--vmc: '' is not host:port"), (("0",), "--vmc needs a port"), (("a:b",), "not host:port")),
        *((("studio:99999",), "not host:port"), (("a:39539-39540",), "not host:port")),
        *(
            (("a", "a:39539"), "--vmc a:39539 is there twice"),
            (("[fe80::1]:9",), r"its interface, such as \[fe80::1%eth0"),
        ),
        (("127.0.0.1:9", "[ff02::1]:9"), "needs its interface"),
    ],
)
def test_addresses_that_cannot_work(texts: tuple[str, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        VmcConfig(texts)
