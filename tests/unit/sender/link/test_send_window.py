from dataclasses import replace

from common.frames import LabelFrame
from sender.link.send_window import InFlight, SendWindow
from tests.support.link.counting_codec import label_frame


def _window(size: int, *, live: bool, sent: int, waiting: int | None = None) -> SendWindow:
    """A window with frames 0, 1, … in flight, each in its own message, and one that waits."""
    window = SendWindow(size, live=live)
    for sequence in range(sent):
        window.offer(label_frame(sequence))
        assert _send(window) == [sequence]
    if waiting is not None:
        assert window.offer(label_frame(waiting)) == ()
    return window


def _send(window: SendWindow) -> list[int]:
    frames = window.ready()
    if frames:
        window.sent(InFlight(frames, 0.0, 30, None, window.held_back))
    return [frame.sequence for frame in frames]


def _captured(sequence: int, per_second: float = 30.0) -> LabelFrame:
    return replace(label_frame(sequence), captured_at=sequence / per_second)


def test_shrunk_window_blocks_until_enough_messages_are_acknowledged() -> None:
    window = _window(2, live=False, sent=2, waiting=2)
    window.size = 1
    window.acknowledged(0)
    assert window.ready() == ()
    window.acknowledged(1)
    assert _send(window) == [2]


def test_resume_of_a_file_sends_undecoded_frames_again_in_order() -> None:
    window = _window(3, live=False, sent=3, waiting=3)
    assert window.oldest_unacknowledged == 0
    resumption = window.resume(1)
    assert resumption.delivered == (label_frame(0),)
    assert resumption.lost
    assert [_send(window) for _ in range(3)] == [[1, 2], [3], []]
    decoded = _window(2, live=False, sent=1)
    assert not decoded.resume(1).lost
    assert not decoded.outstanding


def test_frames_of_a_file_that_wait_leave_together_and_count_as_one_message() -> None:
    window = _window(2, live=False, sent=2)
    for sequence in range(2, 10):
        assert window.offer(label_frame(sequence)) == ()
    assert not window.has_room and window.outstanding == 10
    window.acknowledged(0)
    assert _send(window) == list(range(2, 10)) and window.room == 0
    assert window.find(9) is not None and window.find(2) is None
    assert window.acknowledged(9) is not None and window.outstanding == 1


def test_pictures_of_different_days_do_not_share_a_message() -> None:
    window = _window(1, live=False, sent=1)
    window.offer(_captured(1))
    window.offer(replace(label_frame(2), captured_at=1e6))
    window.acknowledged(0)
    assert _send(window) == [1]


def test_live_frames_that_wait_longer_are_thinned_evenly() -> None:
    window = _window(1, live=True, sent=1)
    window.bundle = 4
    superseded = [frame.sequence for sequence in range(1, 9) for frame in window.offer(_captured(sequence))]
    window.acknowledged(0)
    assert _send(window) == [2, 4, 6, 8] and sorted(superseded) == [1, 3, 5, 7]


def test_live_frames_older_than_half_a_second_are_left_out() -> None:
    window = _window(1, live=True, sent=1)
    superseded = [frame.sequence for sequence in range(1, 9) for frame in window.offer(_captured(sequence, 10.0))]
    window.acknowledged(0)
    assert _send(window) == [3, 4, 5, 6, 7, 8] and superseded == [1, 2]


def test_without_bundles_the_newest_live_frame_takes_the_place() -> None:
    window = _window(1, live=True, sent=1)
    window.bundle = 1
    superseded = [frame.sequence for sequence in (1, 2) for frame in window.offer(_captured(sequence))]
    window.acknowledged(0)
    assert _send(window) == [2] and superseded == [1]
