"""A link that becomes thin at once, in simulated time: what is under way then takes seconds, and nobody is silent."""

import numpy as np
import pytest

from tests.bench.bytes.budget import Conditions, simulate

_SECONDS = 10.0


@pytest.mark.slow
def test_a_link_that_falls_to_3_kbit_is_no_loss_of_the_receiver() -> None:
    sent, packets = simulate(Conditions(link_kbit=3.0), _SECONDS)
    began_s = sent.source[0]["began_at"]
    # The first packets of another connection would have 1,228 bytes and take 3.3 s each.
    assert not np.any((packets.at_s > began_s) & (packets.size > 600))
    arrived_s = np.sort([line["at"] for line in sent.shown if line["at"] < began_s + _SECONDS])
    assert len(arrived_s) > 25 and np.diff(arrived_s).max() < 1.0


@pytest.mark.slow
def test_a_budget_of_2_4_kbit_goes_into_messages_of_labels() -> None:
    sent, packets = simulate(Conditions(budget_kbit=2.4), _SECONDS)
    begin_s, end_s = sent.source[0]["began_at"] + 3.0, packets.at_s.max()
    # A message more would be 4 %: the last one begins the next span.
    settled, seconds = (packets.at_s > begin_s) & (packets.at_s < end_s), end_s - begin_s
    assert packets.size[settled].sum() * 8 / seconds < 2550
    there, back = packets.leaves[settled].sum(), (1 - packets.leaves[settled]).sum()
    assert there > 2.5 * seconds and back < 0.3 * there


def test_a_sender_connects_over_2_4_kbit() -> None:
    sent, packets = simulate(Conditions(budget_kbit=2.4, link_kbit=2.4, connecting_s=0.0), 4.0)
    # One each way, of 4 s; none is sent again. The next ones to the receiver end the handshake with Hello, and begin
    # with a frame.
    assert (packets.size > 600).sum() == 2
    assert np.all(packets.size[packets.leaves == 1][1:3] > 130)
    assert min(line["at"] for line in sent.shown) - packets.at_s.min() < 10.0


@pytest.mark.slow
def test_a_link_that_falls_from_50_to_2_kbit_loses_nobody() -> None:
    at_s = 8.7
    sent, _ = simulate(Conditions(link_kbit=2.0, steps=((at_s, 50.0),)), at_s + 10.0)
    began_s = sent.source[0]["began_at"] + at_s
    assert sent.source[-1]["losses"] == []
    late = [line for line in sent.shown if line["at"] > began_s + 4.0]
    # What was under way takes 3 s.
    assert len(late) > 8 and np.percentile([line["at"] - line["captured_at"] for line in late], 90) < 1.5


@pytest.mark.slow
def test_a_session_resumes_soon_after_a_cut_at_2_4_kbit() -> None:
    sent, packets = simulate(Conditions(link_kbit=2.4, steps=((0.1, 2.4),), cut=(6.3, 11.3)), 16.0)
    began_s = sent.source[0]["began_at"]
    # On the same connection: the packets of another one take 4 s each.
    assert not np.any((packets.at_s > began_s) & (packets.size > 600))
    after_s = [line["at"] - began_s - 11.3 for line in sent.shown if line["captured_at"] > began_s + 11.3]
    assert min(after_s) < 2.5
