import pytest

from sender.link.keepalive.heartbeats import HeartbeatSchedule

INTERVAL_S = 0.2


def _beats(events: list[tuple[float, str]], seconds: float) -> list[float]:
    """When heartbeats go, if they are looked for every 10 ms and events happen in between; none is echoed by itself."""
    schedule, gone, waiting = HeartbeatSchedule(INTERVAL_S), [], sorted(events)
    for tick in range(int(seconds * 100)):
        now_s = tick / 100
        while waiting and waiting[0][0] <= now_s:
            at_s, name = waiting.pop(0)
            getattr(schedule, name)(*([] if name == "answered" else [at_s]))
        if schedule.due(now_s):
            schedule.beat(now_s)
            gone.append(now_s)
    return gone


def test_one_an_interval_where_there_is_nothing_else() -> None:
    echoes = [(at / 100 + 0.001, "echoed") for at in range(0, 500, 5)]
    assert len(_beats(echoes, 5.0)) in range(22, 27)


def test_one_a_second_beside_frames_and_acknowledgements() -> None:
    events = [(at / 30, name) for at in range(150) for name in ("sent", "heard", "answered")]
    assert len(_beats([*events, *[(at + 0.1, "echoed") for at in range(5)]], 5.0)) in range(4, 7)


def test_none_behind_one_that_was_not_answered_while_frames_go() -> None:
    # Nothing comes back for a second: one heartbeat asks, and no more wait behind it.
    events = [(at / 30, "sent") for at in range(30)] + [(0.05, "echoed")]
    assert len(_beats(events, 1.0)) <= 2


def test_one_where_nothing_is_answered() -> None:
    assert _beats([], 4.95) == [0.0]


def test_a_receiver_that_does_not_answer_a_frame_is_asked_once_and_not_at_once() -> None:
    events = [(at / 100 + 0.001, "echoed") for at in range(0, 100, 5)] + [(1.0, "sent")]
    asked = [at for at in _beats(events, 4.0) if at > 1.0]
    assert len(asked) == 1
    assert 1.7 < asked[0] < 1.8


def test_clocks_are_not_compared_at_once_after_a_silence() -> None:
    events = [(at / 30, name) for at in range(30) for name in ("sent", "heard", "answered")]
    events += [(0.1, "echoed"), (2.9, "heard"), (2.9, "echoed"), (2.91, "sent"), (2.95, "heard"), (2.95, "answered")]
    events += [(2.95 + at / 30, name) for at in range(60) for name in ("sent", "heard", "answered")]
    after = [at for at in _beats(events, 4.5) if at >= 2.9]
    assert after == [pytest.approx(3.9, abs=0.02)]


def test_a_new_stream_does_not_wait_for_the_echoes_of_the_old_one() -> None:
    schedule = HeartbeatSchedule(INTERVAL_S)
    schedule.beat(0.0)
    schedule.restart()
    assert schedule.due(0.01)


def test_silence_is_asked_even_if_an_earlier_heartbeat_was_not_answered() -> None:
    # The heartbeat of second 1 is lost with what follows; an acknowledgement of before comes just after it.
    events = [(at / 100 + 0.001, "echoed") for at in range(0, 100, 5)] + [(1.02, "heard"), (1.03, "sent")]
    assert any(1.8 < at < 1.85 for at in _beats(events, 1.9))
