"""What a link promises, as a state machine: sessions, windows, bundles, acknowledgements, resumption and fallback."""

from collections import Counter
from itertools import pairwise
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from common.wire.convert import MAX_WINDOW
from sender.link.session import Fate
from tests.netlab.virtual_link import FPS, LOST, VirtualLink

# What may become of frames of a session, by whether it is live.
_FATES = {
    False: {Fate.ACKNOWLEDGED},
    True: {Fate.ACKNOWLEDGED, Fate.LATE, Fate.SUPERSEDED, Fate.LOST, Fate.REJECTED},
}
# After the last fault a sender has found its receiver again, and all that is owed has arrived.
_CALM_S = 30.0


class LinkModel(RuleBasedStateMachine):
    """One session over a network that does what it likes.

    Attributes:
        seen: what all machines of this process have seen: steps, streams, messages, fates.
    """

    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.next = 0
        self.replaced = False

    @initialize(live=st.booleans(), durable=st.booleans())
    def begin(self, live: bool, durable: bool) -> None:
        # No live session is durable.
        self.live, self.durable = live, durable and not live
        self.link = VirtualLink(live=self.live, durable=self.durable)
        self.path, self.disk, self.observer = self.link.path, self.link.disk, self.link.observer

    @rule(count=st.integers(1, 6), gap=st.sampled_from([0, 0, 0, 1, 40]))
    def offer(self, count: int, gap: int) -> None:
        for _ in range(count):
            if self.link.has_room:
                self.link.offer(self.next)
                self.next += 1 + gap * self.live

    @rule(seconds=st.sampled_from([0.0, 0.005, 0.033, 0.033, 0.2, 0.2, 1.5, 8.0]))
    def advance(self, seconds: float) -> None:
        self.link.advance(seconds)

    @rule(count=st.integers(5, 50), late_s=st.lists(st.sampled_from([0.0, 0.0, 0.0, LOST, 0.04, 0.3]), max_size=50))
    def play(self, count: int, late_s: list[float]) -> None:
        """A camera gives frames for some time, over a network that loses some and keeps others back."""
        self.path.datagrams.extend(late_s)
        for _ in range(count):
            self.offer(1, 0)
            self.link.advance(1 / FPS)

    @rule(delay_s=st.sampled_from([0.0, 0.01, 0.1, 0.4]))
    def change_delay(self, delay_s: float) -> None:
        self.path.delay_s = delay_s

    @rule()
    def cut(self) -> None:
        self.path.cut()

    @rule()
    def begin_outage(self) -> None:
        self.path.up = False

    @rule()
    def block_udp(self) -> None:
        self.path.udp = False

    @precondition(lambda self: hasattr(self, "link") and not (self.path.up and self.path.udp))
    @rule()
    def restore(self) -> None:
        self.path.restore()

    @rule(late_s=st.lists(st.sampled_from([0.0, 0.0, LOST, 0.04, 0.3]), min_size=1, max_size=16))
    def disturb_datagrams(self, late_s: list[float]) -> None:
        self.path.datagrams.extend(late_s)

    @rule(held=st.booleans())
    def hold(self, held: bool) -> None:
        (self.disk.gate.clear if held else self.disk.gate.set)()

    @rule()
    def damage(self) -> None:
        """The next message cannot be decoded; several in a row would be the receiver's failure, and end the link."""
        self.disk.damaged = True

    @rule(in_good_order=st.booleans())
    def replace_receiver(self, in_good_order: bool) -> None:
        self.link.replace_receiver(in_good_order=in_good_order)
        self.replaced = True

    @invariant()
    def every_promise_holds(self) -> None:
        self.seen["steps"] += 1
        assert self.link.client._failure is None, repr(self.link.client._failure)
        fates = self.observer.fates
        assert max(Counter(sequence for sequence, _ in fates).values(), default=1) == 1, "a frame has two fates"
        assert {fate for _, fate in fates} <= _FATES[self.live]
        done = self.disk.done
        told = {sequence for sequence, fate in fates if fate in (Fate.ACKNOWLEDGED, Fate.LATE)}
        assert told <= set(done), f"frames {sorted(told - set(done))} were acknowledged, but never handled"
        rejected = {sequence for sequence, fate in fates if fate is Fate.REJECTED}
        assert rejected <= self.disk.rejected, f"frames {sorted(rejected - self.disk.rejected)} were not rejected"
        if self.durable or not self.replaced:
            assert all(before < after for before, after in pairwise(done)), f"{done} is not in order, or twice"
        queue = self.link.client._queue
        assert len(queue.in_flight) <= MAX_WINDOW and queue.size <= MAX_WINDOW

    def teardown(self) -> None:
        if not hasattr(self, "link"):
            return
        try:
            self.disk.gate.set()
            self.path.datagrams.clear()
            self.disk.damaged = False
            self.path.restore()
            self.link.advance(_CALM_S)
            self.link.wait(self.link.client.drain(), 60.0)
            self.every_promise_holds()
            assert len(self.observer.fates) == len({sequence for sequence, _ in self.observer.fates})
            if not self.live:
                assert [sequence for sequence, _ in sorted(self.observer.fates)] == list(range(self.next))
                assert set(self.disk.done) == set(range(self.next))
        finally:
            self.link.close()
            self.seen.update(self.link.seen)
            self.seen.update(fate.value for _, fate in self.observer.fates)
