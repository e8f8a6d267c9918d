from sender.link.send_window import InFlight, SendWindow
from tests.support.fake_link import label_frame


def _window(size: int, *, live: bool, sent: int, waiting: int | None = None) -> SendWindow:
    """A window with frames 0, 1, … in flight, and one that waits."""
    window = SendWindow(size, live=live)
    for sequence in range(sent):
        window.offer(label_frame(sequence))
        assert _send(window) == sequence
    if waiting is not None:
        assert window.offer(label_frame(waiting)) is None
    return window


def _send(window: SendWindow) -> int | None:
    frame = window.ready()
    if frame is None:
        return None
    window.sent(InFlight(frame, 0.0, 30, None, window.held_back))
    return frame.sequence


def test_shrunk_window_blocks_until_enough_frames_are_acknowledged() -> None:
    window = _window(2, live=False, sent=2, waiting=2)
    window.size = 1
    window.acknowledged(0)
    assert window.ready() is None
    window.acknowledged(1)
    assert window.ready() == label_frame(2)


def test_resume_of_a_file_sends_undecoded_frames_again_in_order() -> None:
    window = _window(3, live=False, sent=3, waiting=3)
    assert window.oldest_unacknowledged == 0
    resumption = window.resume(1)
    assert resumption.delivered == (label_frame(0),)
    assert resumption.lost
    assert [_send(window) for _ in range(4)] == [1, 2, 3, None]
    decoded = _window(2, live=False, sent=1)
    assert not decoded.resume(1).lost
    assert not decoded.outstanding
