from common.codec.packet import CODEC_VERSION
from common.wire.convert import PROTOCOL_VERSION, Hello, decode_client, encode_client
from common.wire.version_probe import is_of_networks, is_probe, probe_hello
from receiver.link.handshake import Handshake


def test_probe_survives_the_wire_and_is_recognised() -> None:
    hello = decode_client(encode_client(probe_hello("doctor")))
    assert isinstance(hello, Hello)
    assert is_probe(hello)
    assert (hello.protocol_version, hello.codec_version, hello.sender) == (PROTOCOL_VERSION, CODEC_VERSION, "doctor")
    assert probe_hello("a").session_id != probe_hello("a").session_id
    assert not is_probe(Hello(bytes(16), "camera", CODEC_VERSION, b"\0" * 7 + b"\1", True, session_secret=bytes(32)))


def test_receiver_refuses_a_probe_for_its_model_only() -> None:
    refusal = Handshake(model_hash=b"\x01" * 8, codec_version=CODEC_VERSION).refusal(probe_hello("doctor"))
    assert refusal is not None
    assert refusal.reason == "it has model 0101010101010101, the sender 0000000000000000"
    assert is_of_networks(refusal.reason)
    other = Handshake(model_hash=b"\x01" * 8, codec_version=CODEC_VERSION + 1).refusal(probe_hello("doctor"))
    assert other is not None and not is_of_networks(other.reason)
