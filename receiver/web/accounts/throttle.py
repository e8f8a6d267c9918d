"""Limits on how often something may be tried, by key: an account, an address, or both.

The memory is bounded: the keys that were not seen for the longest time are forgotten first.
"""

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

from common.clock import Clock

_KEYS = 20_000
_IPV6_PREFIX = 64
# What is longer is no address.
_MOST_CHARACTERS = 64


def address_key(host: str | None) -> str:
    """What one client's addresses have in common: an IPv4 address, or the first 64 bits of an IPv6 address."""
    host = (host or "")[:_MOST_CHARACTERS]
    try:
        address = ipaddress.ip_address(unmapped(host.partition("%")[0]))
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
    return str(address)


def unmapped(host: str) -> str:
    """The IPv4 address that an IPv6 socket shows as ::ffff:a.b.c.d; others as they are."""
    try:
        mapped = ipaddress.IPv6Address(host).ipv4_mapped
    except ValueError:
        return host
    return str(mapped) if mapped else host


@dataclass(slots=True)
class _Bucket:
    credit: float
    updated_s: float


class KeyedRates:
    """A rate with a burst for each key.

    Args:
        per_minute: tries that each key gets back in a minute.
        burst: tries that a key has at first.
    """

    def __init__(self, per_minute: float, burst: int, clock: Clock, capacity: int = _KEYS) -> None:
        self._per_s, self._burst, self._clock, self._capacity = per_minute / 60.0, burst, clock, capacity
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, key: str) -> float:
        """Takes one try; returns 0, or the seconds until there is one."""
        now_s = self._clock.monotonic()
        bucket = self._buckets.setdefault(key, _Bucket(self._burst, now_s))
        self._buckets.move_to_end(key)
        bucket.credit = min(self._burst, bucket.credit + (now_s - bucket.updated_s) * self._per_s)
        bucket.updated_s = now_s
        if len(self._buckets) > self._capacity:
            self._buckets.popitem(last=False)
        if bucket.credit < 1.0:
            return (1.0 - bucket.credit) / self._per_s
        bucket.credit -= 1.0
        return 0.0


@dataclass(slots=True)
class _Failures:
    count: int
    last_s: float
    locked_until_s: float


class Lockout:
    """Locks a key after some failures in a row, each time for twice as long.

    Args:
        allowed: failures without a lock.
        first_s, most_s: duration of the first lock, and of the longest.
        forget_s: time after the last failure after which all of them are forgotten.
    """

    def __init__(
        self, allowed: int, clock: Clock, *, first_s: float, most_s: float, forget_s: float, capacity: int = _KEYS
    ) -> None:
        self._allowed, self._clock = allowed, clock
        self._first_s, self._most_s, self._forget_s, self._capacity = first_s, most_s, forget_s, capacity
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def wait_s(self, key: str) -> float:
        """Seconds until the key may try again; 0 if it may now."""
        failures = self._failures.get(key)
        return max(failures.locked_until_s - self._clock.monotonic(), 0.0) if failures else 0.0

    def count(self, key: str) -> None:
        """Counts a try as a failure, before its outcome is known: tries at the same time do not slip through."""
        now_s = self._clock.monotonic()
        failures = self._failures.setdefault(key, _Failures(0, now_s, now_s))
        self._failures.move_to_end(key)
        if now_s - failures.last_s > self._forget_s:
            failures.count = 0
        failures.count += 1
        failures.last_s = now_s
        beyond = failures.count - self._allowed
        if beyond >= 0:
            failures.locked_until_s = now_s + min(self._first_s * 2.0 ** min(beyond, 30), self._most_s)
        if len(self._failures) > self._capacity:
            self._failures.popitem(last=False)

    def clear(self, key: str) -> None:
        """Forgets the failures of a key."""
        self._failures.pop(key, None)

    def refund(self, key: str) -> None:
        """Takes one counted try back, because it succeeded."""
        failures = self._failures.get(key)
        if failures is not None:
            failures.count -= 1
            if failures.count < self._allowed:
                failures.locked_until_s = failures.last_s


class TriedTooOften(Exception):
    """Too many tries (`wait_s`: seconds until the next one is accepted)."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many attempts: try again in {max(round(wait_s), 1)} s")
        self.wait_s = wait_s


class SignInGuard:
    """Refuses to try passwords on and on.

    Failures count for the account from one address, for the account from anywhere, and for the address. An attacker who
    keeps failing locks the account first for their own address; only many addresses lock it for its owner, and nobody
    locks it for a browser in which the owner has signed in before: that has failures of its own.
    """

    def __init__(self, clock: Clock) -> None:
        hour_s = 3600.0
        self._pairs = Lockout(5, clock, first_s=30.0, most_s=hour_s, forget_s=hour_s)
        self._accounts = Lockout(50, clock, first_s=30.0, most_s=hour_s / 4, forget_s=hour_s)
        self._addresses = Lockout(30, clock, first_s=30.0, most_s=hour_s, forget_s=hour_s)

    def begin(self, account: str, source: str, *, known: bool = False) -> None:
        """Counts a try. Raises TriedTooOften if it is not accepted, and not counted either.

        Args:
            source: the address, or a browser that is `known` to belong to the account's owner.
        """
        counted = [(self._pairs, f"{source} {account}")]
        if not known:
            counted += [(self._accounts, account), (self._addresses, source)]
        wait_s = max(lockout.wait_s(key) for lockout, key in counted)
        if wait_s > 0:
            raise TriedTooOften(wait_s)
        for lockout, key in counted:
            lockout.count(key)

    def succeed(self, account: str, source: str) -> None:
        """The try was the owner's. Own successes do not pay for failures at the accounts of others."""
        self._pairs.clear(f"{source} {account}")
        self._accounts.clear(account)
        self._addresses.refund(source)
