from sender.link.keepalive import HeartbeatSchedule, Patience

INTERVAL_S = 0.2


def _heartbeats(
    events: list[tuple[float, str]], seconds: float, *, lossy: bool = False, round_trip_s: float = 0.0
) -> list[float]:
    """Times of heartbeats, polled every 10 ms between events; echoes are events too."""
    patience = Patience(INTERVAL_S)
    patience.answered(round_trip_s, 0.0)
    schedule = HeartbeatSchedule(INTERVAL_S, 5 * INTERVAL_S, patience, lossy=lossy)
    sent_s, pending = list[float](), sorted(events)
    for tick in range(int(seconds * 100)):
        now_s = tick / 100
        while pending and pending[0][0] <= now_s:
            at_s, name = pending.pop(0)
            getattr(schedule, name)(*([] if name == "frame_answered" else [at_s]))
        if schedule.due(now_s):
            schedule.heartbeat_sent(now_s)
            sent_s.append(now_s)
    return sent_s


def test_heartbeats_of_an_idle_a_busy_and_a_silent_link() -> None:
    idle = [(at / 100 + 0.001, "echo_received") for at in range(0, 500, 5)]
    assert len(_heartbeats(idle, 5.0)) in range(22, 27), "one an interval"
    busy = [(at / 30, name) for at in range(150) for name in ("frame_sent", "message_received", "frame_answered")]
    assert len(_heartbeats([*busy, *[(at + 0.1, "echo_received") for at in range(5)]], 5.0)) in range(4, 7), (
        "one a second"
    )
    assert _heartbeats([], 4.95) == [0.0]


def test_clocks_are_compared_less_often_over_a_slow_link() -> None:
    busy = [(at / 30, name) for at in range(300) for name in ("frame_sent", "message_received", "frame_answered")]
    echoes = [(at / 10, "echo_received") for at in range(100)]
    usual, slow = (len(_heartbeats([*busy, *echoes], 10.0, round_trip_s=time_s)) for time_s in (0.05, 2.0))
    assert usual in range(9, 12) and slow == 2


def test_a_frame_serves_where_no_answer_is_owed_and_the_clocks_were_compared() -> None:
    schedule = HeartbeatSchedule(INTERVAL_S, 5 * INTERVAL_S, Patience(INTERVAL_S))
    assert schedule.due(0.0) and not schedule.frame_serves(0.0), "the clocks were never compared"
    schedule.heartbeat_sent(0.0)
    schedule.echo_received(0.1)
    silent_s = 0.1 + INTERVAL_S
    assert schedule.due(silent_s) and schedule.frame_serves(silent_s)
    schedule.frame_sent(silent_s)
    assert schedule.due(silent_s + 3.9 * INTERVAL_S) and not schedule.frame_serves(silent_s + 3.9 * INTERVAL_S)
    schedule.frame_answered()
    assert schedule.due(6 * INTERVAL_S) and not schedule.frame_serves(6 * INTERVAL_S), "they have to be compared again"


def test_unanswered_frame_is_followed_by_one_late_heartbeat() -> None:
    events = [(at / 100 + 0.001, "echo_received") for at in range(0, 100, 5)] + [(1.0, "frame_sent")]
    probes = [at for at in _heartbeats(events, 4.0) if at > 1.0]
    assert len(probes) == 1
    assert 1.7 < probes[0] < 1.8


def test_heartbeat_that_may_be_lost_is_repeated_before_the_receiver_is_given_up() -> None:
    idle = [(at / 100 + 0.001, "echo_received") for at in range(0, 100, 5)]
    last, *repeated = [at for at in _heartbeats(idle, 2.0, lossy=True) if at > 0.95]
    # Five intervals without an answer mean that the receiver is lost.
    assert repeated[0] - last < 2.5 * INTERVAL_S and len(repeated) == 2
    assert len([at for at in _heartbeats(idle, 2.0) if at > 0.95]) == 1
    # Where a round trip takes a second, so does an echo.
    late = [at for at in _heartbeats(idle, 2.5, lossy=True, round_trip_s=1.0) if at > 0.95]
    assert len(late) == 2 and late[1] - late[0] > 0.95


def test_silence_after_a_lost_heartbeat_is_probed() -> None:
    # The heartbeat of second 1 is lost with all that follows; an earlier acknowledgement arrives just after it.
    events = [(at / 100 + 0.001, "echo_received") for at in range(0, 100, 5)] + [
        (1.02, "message_received"),
        (1.03, "frame_sent"),
    ]
    assert any(1.8 < at < 1.85 for at in _heartbeats(events, 1.9))
