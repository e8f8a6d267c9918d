"""Names are looked up without holding anybody up, and addresses are probed."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from common.io.addresses import Address
from common.wire.stream import StreamBroken
from sender.link import transport
from sender.link.transport import Names, first_to_answer

PEER = Address("studio.example", 50051)


class NameService:
    """What `getaddrinfo` answers: an address, an error, or nothing until it is released."""

    def __init__(self) -> None:
        self.answer: str | OSError | None = None
        self.asked = 0
        self._released = threading.Event()

    def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked += 1
        if self.answer is None:
            self._released.wait()
        if isinstance(self.answer, OSError):
            raise self.answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.answer or "192.0.2.9", port))]

    def release(self) -> None:
        self._released.set()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameService]:
    service = NameService()
    monkeypatch.setattr(socket, "getaddrinfo", service.getaddrinfo)
    monkeypatch.setattr(transport, "_LOOKUP_S", 0.05)
    yield service
    service.release()


async def test_addresses_of_a_name_service_that_stops_answering(service: NameService) -> None:
    names = Names()
    with pytest.raises(StreamBroken, match="the name service does not answer"):
        await names.addresses(PEER)
    service.answer = "192.0.2.1"
    service.release()
    async with asyncio.timeout(10):
        while await names.addresses(PEER) != [Address("192.0.2.1", 50051)]:
            await asyncio.sleep(0.01)
    service.answer = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    assert await names.addresses(PEER) == [Address("192.0.2.1", 50051)], "those of before"
    service.answer = "192.0.2.2"
    assert await names.addresses(PEER) == [Address("192.0.2.2", 50051)]


async def test_one_lookup_at_a_time_and_none_of_an_address(service: NameService) -> None:
    names = Names()
    for _ in range(3):
        with pytest.raises(StreamBroken):
            await names.addresses(PEER)
    assert service.asked == 1
    assert await names.addresses(Address("::1", 50051)) == [Address("::1", 50051)]
    assert service.asked == 1


async def test_unknown_name(service: NameService) -> None:
    service.answer = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    with pytest.raises(StreamBroken, match="Name or service not known"):
        await Names().reachable(PEER)


async def test_address_that_accepts_comes_before_one_that_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepting = Address("127.0.0.1", server.getsockname()[1])
        refusing = Address("127.0.0.9", accepting.port)
        assert await first_to_answer([refusing, accepting]) == accepting
    assert await first_to_answer([refusing]) == refusing, "its machine is there"


async def test_probes_leave_an_interval_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    probed = list[Address]()

    async def silent(address: Address) -> tuple[Address, None]:
        probed.append(address)
        await asyncio.Event().wait()
        return address, None

    monkeypatch.setattr("sender.link.transport._accepts", silent)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await first_to_answer([Address("192.0.2.1", 9)], 1.0)
    assert len(probed) == 2
