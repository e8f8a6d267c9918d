"""Receivers that share their sessions, as processes: one is killed, and its senders go on at another."""

from tests.bench.fronts import run


def test_senders_go_on_at_another_receiver_without_loss() -> None:
    outcome = run(1, seed=1)
    assert not outcome.faults.any
    assert outcome.kills == 1 and outcome.failovers_ms and outcome.frames > 0
