"""One direction of a link, as a pure function of time: a queue before a trace of capacity, then a delay."""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.netlab.traces import Trace


@dataclass(frozen=True, slots=True)
class Shape:
    """Properties of one direction of a link.

    Args:
        trace: capacity; None for unlimited.
        delay_s: propagation delay, after the queue.
        loss: share of packets that are lost, at random.
        outages: (from, to) seconds in which packets that enter or leave the link are lost.
        queue_bytes: capacity of the queue; packets that exceed it are dropped (tail drop).
        seed: of the losses.
    """

    trace: Trace | None = None
    delay_s: float = 0.0
    loss: float = 0.0
    outages: Sequence[tuple[float, float]] = ()
    queue_bytes: int = 60_000
    seed: int = 1


@dataclass(slots=True)
class Pipe:
    """Computes the arrival times of packets; times are seconds since the link began, and never decrease."""

    shape: Shape
    _random: random.Random = field(init=False)
    _free_s: float = 0.0
    _waiting: deque[tuple[float, int]] = field(default_factory=deque)
    _waiting_bytes: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.shape.seed)

    def offer(self, size: int, now_s: float) -> float | None:
        """When a packet of `size` bytes arrives at the other end; None if it is lost."""
        shape = self.shape
        while self._waiting and self._waiting[0][0] <= now_s:
            self._waiting_bytes -= self._waiting.popleft()[1]
        lost = shape.loss > 0 and self._random.random() < shape.loss
        if self._in_outage(now_s) or self._waiting_bytes + size > shape.queue_bytes:
            return None
        left_s = now_s
        if shape.trace is not None:
            begins_s = max(now_s, self._free_s)
            left_s = max(begins_s, shape.trace.time_of(shape.trace.carried(begins_s) + size))
        self._free_s = left_s
        self._waiting.append((left_s, size))
        self._waiting_bytes += size
        arrives_s = left_s + shape.delay_s
        return None if lost or self._in_outage(arrives_s) else arrives_s

    def _in_outage(self, now_s: float) -> bool:
        return any(begin <= now_s < end for begin, end in self.shape.outages)
