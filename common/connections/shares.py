"""Shares of what others hold, by the host that they come from."""

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def share_of_host(most: int) -> int:
    """How many of `most` places one host may have: half of them."""
    return max(most // 2, 1)


def has_room(hosts: Collection[str], host: str, most: int, of_host: int) -> bool:
    """Whether a host may have another of `most` places.

    Args:
        hosts: who has a place, once for each.
        of_host: how many one host may have.
    """
    return len(hosts) < most and Counter(hosts)[host] < of_host


def superfluous(waiting: Iterable[tuple[T, str]], count: int) -> Iterator[T]:
    """At most `count` of those that wait: each the oldest one of the host that has the most of those left.

    Args:
        waiting: each with its host, the oldest first.
    """
    by_host: dict[str, deque[T]] = defaultdict(deque)
    for each, host in waiting:
        by_host[host].append(each)
    for _ in range(count):
        busiest = max(by_host.values(), key=len, default=None)
        if not busiest:
            return
        yield busiest.popleft()
