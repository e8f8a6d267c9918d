from receiver.web.client_address import address_key


def test_addresses_of_one_client_have_one_key() -> None:
    for host, key in (
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("x" * 60_000, "x" * 64),
        (None, ""),
    ):
        assert address_key(host) == key
