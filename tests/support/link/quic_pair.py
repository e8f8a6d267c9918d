"""Both ends of a QUIC connection in one process, one of which may send any frames."""

from typing import Any

from aioquic import tls
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import (
    QuicPreferredAddress,
    pull_quic_transport_parameters,
    push_quic_transport_parameters,
)

from common.wire.certificates import OWN_CERTIFICATE_NAME
from common.wire.quic_connection import Buffer, LinkConnection, configuration
from receiver.link.auth.own_certificate import OwnCertificate

SENDER, RECEIVER = ("127.0.0.1", 1), ("127.0.0.1", 2)
_FLIGHTS = 8
# Behind what aioquic sends itself.
_FIRST_PACKET = 1000
_SHORTEST = 20
_LONG_NUMBER = 0x43


class _Moving(LinkConnection):
    """A receiver's end that asks the sender to go on at another address (RFC 9000, section 9.6)."""

    place = ("", 0)

    def _serialize_transport_parameters(self) -> bytes:
        parameters = pull_quic_transport_parameters(Buffer(data=super()._serialize_transport_parameters()))
        parameters.preferred_address = QuicPreferredAddress(self.place, None, bytes(8), bytes(16))
        buffer = Buffer(capacity=512)
        push_quic_transport_parameters(buffer, parameters)
        return buffer.data


class QuicPair:
    """A sender's end and a receiver's, whose handshake is over.

    Args:
        moves_to: the address at which the receiver wants to be reached then.

    Attributes:
        addresses: to which the sender has sent.
    """

    def __init__(self, moves_to: tuple[str, int] | None = None) -> None:
        self._now_s = 0.0
        self.addresses = set[Any]()
        certificates = OwnCertificate().current()
        assert certificates.certificate is not None
        assert certificates.key is not None
        receives, sends = configuration(is_sender=False), configuration(is_sender=True)
        (receives.certificate,) = tls.load_pem_x509_certificates(certificates.certificate)
        receives.private_key = tls.load_pem_private_key(certificates.key)
        sends.cadata, sends.server_name = certificates.certificate, OWN_CERTIFICATE_NAME
        self.sender = LinkConnection(configuration=sends)
        self.sender.connect(RECEIVER, now=self._now_s)
        destination = self.sender.original_destination_connection_id
        kind = LinkConnection if moves_to is None else _Moving
        _Moving.place = moves_to or _Moving.place
        self.receiver = kind(configuration=receives, original_destination_connection_id=destination)
        for _ in range(_FLIGHTS):
            self.exchange()
        self._number = _FIRST_PACKET

    def exchange(self) -> None:
        """Each end sends what it has to send, after a while."""
        self._now_s += 0.1
        for data, address in self.sender.datagrams_to_send(now=self._now_s):
            self.addresses.add(address)
            self.receiver.receive_datagram(data, SENDER, now=self._now_s)
        for data, _ in self.receiver.datagrams_to_send(now=self._now_s):
            self.sender.receive_datagram(data, RECEIVER, now=self._now_s)

    def greet(self) -> None:
        """The sender says something, and the receiver answers."""
        for end, said in ((self.sender, b"Hello"), (self.receiver, b"Welcome")):
            end.send_stream_data(0, said)
            self.exchange()
        while self.receiver.next_event() is not None:
            pass

    def send(self, frames: bytes, *, to_sender: bool = False) -> None:
        """Sends a packet of these frames, to the receiver or the sender, which may answer."""
        target, other = (self.sender, self.receiver) if to_sender else (self.receiver, self.sender)
        self._number += 1
        header = bytes((_LONG_NUMBER,)) + other._peer_cid.cid + self._number.to_bytes(4, "big")
        crypto: Any = other._cryptos[tls.Epoch.ONE_RTT]
        packet = crypto.encrypt_packet(header, frames.ljust(_SHORTEST, b"\0"), self._number)
        target.receive_datagram(packet, RECEIVER if to_sender else SENDER, now=self._now_s)
        target.datagrams_to_send(now=self._now_s)

    @staticmethod
    def end_of(connection: LinkConnection) -> str:
        """Why an end has ended the connection; empty if it has not."""
        event = connection._close_event
        return event.reason_phrase if isinstance(event, ConnectionTerminated) else ""
