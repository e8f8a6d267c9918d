import pytest

from common.io.addresses import address_key
from receiver.web.places import RateLimits, Refused
from tests.support.web.web_service import ManualClock, limits_by


def test_key_that_tried_too_often_waits_for_the_end_of_the_window() -> None:
    clock = ManualClock()
    with limits_by(clock):
        limits = RateLimits("2 per minute; 3 per hour")
        for _ in range(2):
            limits.take("a")
        with pytest.raises(Refused, match="try again in 60 s"):
            limits.take("a")
        limits.take("b")
        clock.advance(60)
        limits.take("a")
        with pytest.raises(Refused, match="try again in 3540 s"):
            limits.take("a")
        limits.forget("a")
        limits.take("a")


def test_keys_of_a_flood_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.web.places._KEYS", 10)
    limits = RateLimits("1 per hour")
    for number in range(1000):
        limits.take(str(number))
    assert len(limits._storage.storage) <= 11


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
