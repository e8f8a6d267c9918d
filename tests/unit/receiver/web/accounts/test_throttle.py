import pytest

from receiver.web.accounts.throttle import KeyedRates, Lockout, SignInGuard, TriedTooOften, address_key
from tests.support.web_service import ManualClock


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


def test_rate_gives_back_with_time() -> None:
    clock = ManualClock()
    rates = KeyedRates(60.0, 2, clock.clock())
    assert [rates.take("a") for _ in range(3)] == [0.0, 0.0, pytest.approx(1.0)]
    assert rates.take("b") == 0.0
    clock.advance(1.0)
    assert [rates.take("a"), rates.take("a")] == [0.0, pytest.approx(1.0)]


def test_rates_remember_so_many_keys_only() -> None:
    rates = KeyedRates(1.0, 1, ManualClock().clock(), capacity=3)
    for number in range(1000):
        rates.take(str(number))
    assert len(rates._buckets) == 3
    assert rates.take("999") > 0
    assert rates.take("0") == 0


def lockout(clock: ManualClock, capacity: int = 10) -> Lockout:
    return Lockout(3, clock.clock(), first_s=30.0, most_s=100.0, forget_s=3600.0, capacity=capacity)


def test_lock_doubles_up_to_its_limit() -> None:
    clock = ManualClock()
    locks = lockout(clock)
    waits = []
    for _ in range(6):
        locks.count("a")
        waits.append(locks.wait_s("a"))
        clock.advance(waits[-1])
    assert waits == [0.0, 0.0, 30.0, 60.0, 100.0, 100.0]
    assert locks.wait_s("b") == 0.0


def test_failures_are_forgotten_after_a_while() -> None:
    clock = ManualClock()
    locks = lockout(clock)
    for _ in range(2):
        locks.count("a")
    clock.advance(3601)
    locks.count("a")
    assert locks.wait_s("a") == 0.0


def test_locks_remember_so_many_keys_only() -> None:
    locks = lockout(ManualClock(), capacity=5)
    for number in range(1000):
        locks.count(str(number))
    assert len(locks._failures) == 5


def fail(guard: SignInGuard, account: str, address: str, times: int) -> None:
    for _ in range(times):
        guard.begin(account, address)


def test_owner_elsewhere_is_not_locked_out_by_one_attacker() -> None:
    clock = ManualClock()
    guard = SignInGuard(clock.clock())
    fail(guard, "anna", "evil", 5)
    with pytest.raises(TriedTooOften, match="try again in 30 s"):
        guard.begin("anna", "evil")
    guard.begin("anna", "home")
    clock.advance(30)
    guard.begin("anna", "evil")


def test_one_address_cannot_try_many_accounts_nor_many_addresses_one_account() -> None:
    guard = SignInGuard(ManualClock().clock())
    for number in range(30):
        guard.begin(f"account-{number}", "evil")
    with pytest.raises(TriedTooOften):
        guard.begin("another", "evil")
    guard.begin("another", "home")
    for number in range(50):
        guard.begin("anna", f"evil-{number}")
    with pytest.raises(TriedTooOften):
        guard.begin("anna", "evil-51")
    guard.begin("bert", "evil-51")


def test_own_successes_do_not_pay_for_failures_elsewhere() -> None:
    guard = SignInGuard(ManualClock().clock())
    for number in range(29):
        guard.begin(f"account-{number}", "evil")
        guard.begin("own", "evil")
        guard.succeed("own", "evil")
    guard.begin("account-29", "evil")
    with pytest.raises(TriedTooOften):
        guard.begin("account-30", "evil")


def test_success_forgets_the_own_failures() -> None:
    guard = SignInGuard(ManualClock().clock())
    for _ in range(3):
        fail(guard, "anna", "home", 4)
        guard.succeed("anna", "home")
