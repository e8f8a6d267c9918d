"""One direction of a link, as a pure function of time: a queue before a trace of capacity, then a delay."""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.netlab.traces import Trace


@dataclass(frozen=True, slots=True)
class Shape:
    """What one direction does to packets.

    Args:
        trace: what goes through; None for as much as comes.
        delay_s: of every packet, after the queue.
        loss: share of packets that are lost, at random.
        outages: (from, to) seconds in which nothing arrives and nothing that arrives survives.
        queue_bytes: a packet that finds more waiting is dropped, as a modem does.
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
    """Packets in, their times of arrival out; times are seconds since the link began, and never go back."""

    shape: Shape
    _random: random.Random = field(init=False)
    _free_s: float = 0.0
    _waiting: deque[tuple[float, int]] = field(default_factory=deque)
    _waiting_bytes: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.shape.seed)

    def offer(self, size: int, now_s: float) -> float | None:
        """When a packet of `size` bytes arrives at the other end; None if it does not."""
        shape = self.shape
        while self._waiting and self._waiting[0][0] <= now_s:
            self._waiting_bytes -= self._waiting.popleft()[1]
        lost = shape.loss > 0 and self._random.random() < shape.loss
        if self._out(now_s) or self._waiting_bytes + size > shape.queue_bytes:
            return None
        left_s = now_s
        if shape.trace is not None:
            begins_s = max(now_s, self._free_s)
            left_s = max(begins_s, shape.trace.time_of(shape.trace.carried(begins_s) + size))
        self._free_s = left_s
        self._waiting.append((left_s, size))
        self._waiting_bytes += size
        arrives_s = left_s + shape.delay_s
        return None if lost or self._out(arrives_s) else arrives_s

    def _out(self, now_s: float) -> bool:
        return any(begin <= now_s < end for begin, end in self.shape.outages)
