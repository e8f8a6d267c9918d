import pytest

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
    window.sent(InFlight(frame, 0.0, 0, 30, None, window.held_back))
    return frame.sequence


def test_live_frame_replaces_the_waiting_one_and_was_held_back() -> None:
    window = _window(1, live=True, sent=0, waiting=0)
    assert not window.held_back
    assert _send(window) == 0
    assert window.offer(label_frame(1)) is None
    assert window.offer(label_frame(2)) == label_frame(1)
    assert window.ready() is None
    assert window.acknowledged(0) is not None
    assert window.held_back
    assert _send(window) == 2


def test_offer_of_a_file_frame_needs_room() -> None:
    window = _window(1, live=False, sent=0, waiting=0)
    assert not window.has_room
    with pytest.raises(ValueError, match="full window"):
        window.offer(label_frame(1))


def test_shrunk_window_blocks_until_enough_frames_are_acknowledged() -> None:
    window = _window(2, live=False, sent=2, waiting=2)
    window.size = 1
    window.acknowledged(0)
    assert window.ready() is None
    window.acknowledged(1)
    assert window.ready() == label_frame(2)


def test_rejected_frame_of_a_file_is_sent_again_before_newer_ones_and_a_live_one_is_dropped() -> None:
    window = _window(2, live=False, sent=2, waiting=2)
    window.rejected(0)
    assert [_send(window), _send(window)] == [0, None]
    assert window.outstanding
    live = _window(2, live=True, sent=1)
    assert live.rejected(0) is not None
    assert not live.outstanding


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


def test_resume_when_live_keeps_only_the_newest() -> None:
    for sent, waiting, kept in ((2, None, 1), (1, 5, 5)):
        window = _window(sent, live=True, sent=sent, waiting=waiting)
        assert window.resume(0).superseded == (label_frame(0),)
        assert _send(window) == kept
