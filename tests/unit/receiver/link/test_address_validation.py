from typing import Any

import pytest
from aioquic.quic.packet import QuicHeader, pull_quic_header

from common.wire.quic_connection import CONNECTION_ID_BYTES, Buffer, LinkConnection, configuration
from receiver.link.quic_server import AddressValidation

PLACE, ELSEWHERE = ("127.0.0.2", 4000), ("127.0.0.3", 4000)


class Client:
    """A sender at an address, until its first packet."""

    def __init__(self, place: Any = PLACE) -> None:
        self.place = place
        self.connection = LinkConnection(configuration=configuration(is_sender=True))
        self.connection.connect(("127.0.0.1", 1), now=0.0)

    def header(self) -> QuicHeader:
        """Of the packet that it sends now."""
        self.packet = self.connection.datagrams_to_send(now=0.0)[0][0]
        return pull_quic_header(Buffer(data=self.packet), host_cid_length=CONNECTION_ID_BYTES)

    def asked(self, retry: bytes) -> QuicHeader:
        """Of the packet after a token."""
        self.connection.receive_datagram(retry, ("127.0.0.1", 1), now=0.0)
        return self.header()


def besieged(now_s: float = 0.0) -> AddressValidation:
    """After as many first packets as there may be without proof."""
    validation = AddressValidation()
    while not validation.asks(now_s):
        validation.begun(validation.check(Client().header(), PLACE, now_s), now_s)
    return validation


def test_who_has_proved_nothing_is_asked_once_many_have_begun() -> None:
    validation = besieged()
    assert validation.asks(9.9), "whether their handshakes have ended or not"
    assert not validation.asks(10.1)


def test_handshake_that_ends_makes_room() -> None:
    validation, client = AddressValidation(), Client()
    packet = validation.check(client.header(), PLACE, 0.0)
    for _ in range(100):
        validation.begun(packet, 0.0)
        validation.proved(packet.identifier)
    assert not validation.asks(0.0)


def test_token_proves_its_address_and_takes_no_room() -> None:
    validation, client = besieged(), Client()
    header = client.header()
    retry = validation.retry(header, PLACE, 1.0)
    assert len(retry) < len(client.packet)
    asked = client.asked(retry)
    with pytest.raises(ValueError, match=r"(?i)address"):
        validation.check(asked, ELSEWHERE, 1.5)
    packet = validation.check(asked, PLACE, 1.5)
    assert (packet.original, packet.retry) == (header.destination_cid, packet.identifier)
    assert packet.round_trip_s == pytest.approx(0.5)
    validation.begun(packet, 1.5)
    assert not validation.asks(10.1)


def test_first_packet_begins_one_connection() -> None:
    validation, client = AddressValidation(), Client()
    header = client.header()
    for _ in range(2):
        packet = validation.check(header, PLACE, 0.0)
    validation.begun(packet, 0.0)
    with pytest.raises(ValueError, match="has begun a connection"):
        validation.check(header, ELSEWHERE, 5.0)


def test_short_identifier_is_refused() -> None:
    header = Client().header()
    header.destination_cid = header.destination_cid[:7]
    with pytest.raises(ValueError, match="identifier"):
        AddressValidation().check(header, PLACE, 0.0)
