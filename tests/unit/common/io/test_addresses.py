import errno

import pytest

from common.io.addresses import Address, bound_socket


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:50051", "127.0.0.1", 50051), ("studio.example:0", "studio.example", 0), ("[::1]:9100", "::1", 9100)],
)
def test_parse_and_str_round_trip(text: str, host: str, port: int) -> None:
    address = Address.parse(text)
    assert address == Address(host, port)
    assert str(address) == text


def test_malformed_text_is_refused_with_and_without_a_default() -> None:
    for text in ("", ":", "[]", "[]:1", "[::1]1", "[::1", "::1", "::1:50051", ":x", "host:65536", "host:x", "host:²"):
        for default in (None, Address("127.0.0.1", 50051)):
            with pytest.raises(ValueError, match=r"host:port|brackets"):
                Address.parse(text, default)


def test_incomplete_addresses_and_impossible_names_are_refused() -> None:
    for text in ("host", ":1", "host:"):
        with pytest.raises(ValueError, match="host:port"):
            Address.parse(text)
    for host in ("a" * 64, "studio..example"):
        with pytest.raises(ValueError, match="no host has this name"):
            Address.parse(f"{host}:50051")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("0.0.0.0", "0.0.0.0", 50051),
        ("studio", "studio", 50051),
        (":9100", "127.0.0.1", 9100),
        ("[::]", "::", 50051),
        ("studio:0", "studio", 0),
    ],
)
def test_default_completes_host_or_port(text: str, host: str, port: int) -> None:
    assert Address.parse(text, Address("127.0.0.1", 50051)) == Address(host, port)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_bound_socket_finds_an_address_busy_while_a_server_listens(host: str) -> None:
    with bound_socket(Address(host, 0)) as first:
        address = Address(host, first.getsockname()[1])
        first.listen()
        with pytest.raises(OSError) as caught:
            bound_socket(address)
        assert caught.value.errno == errno.EADDRINUSE
    bound_socket(address).close()


def test_several_addresses_are_refused() -> None:
    for text in ("a:1,b:2", "a,b", "a:1,", "[::1]:1,[::1]:2"):
        with pytest.raises(ValueError, match="give one address, such as"):
            Address.parse(text, Address("127.0.0.1", 50051))


def test_addresses_of_ip_and_names() -> None:
    found = [
        Address(host, 1).is_ip for host in ("10.0.0.7", "::1", "fe80::7%eth0", "localhost", "10.0.0", "studio.local")
    ]
    assert found == [True] * 3 + [False] * 3
