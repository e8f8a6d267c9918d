import pytest

from sender.link.send_window import InFlight, SendWindow
from tests.support.fake_link import label_frame


def _send(window: SendWindow) -> int | None:
    frame = window.ready()
    if frame is None:
        return None
    window.sent(InFlight(frame, 0.0, 0, 30, None, window.held_back))
    return frame.sequence


def test_offer_when_live_and_full_replaces_the_waiting_frame() -> None:
    window = SendWindow(1, live=True)
    assert window.offer(label_frame(0)) is None
    assert _send(window) == 0
    assert window.offer(label_frame(1)) is None
    assert window.offer(label_frame(2)) == label_frame(1)
    assert window.ready() is None
    assert window.acknowledged(0) is not None
    assert _send(window) == 2


def test_frame_offered_to_a_full_window_is_held_back() -> None:
    window = SendWindow(1, live=True)
    window.offer(label_frame(0))
    assert not window.held_back
    _send(window)
    window.offer(label_frame(1))
    window.acknowledged(0)
    assert window.ready() == label_frame(1)
    assert window.held_back


def test_offer_of_a_file_frame_needs_room() -> None:
    window = SendWindow(1, live=False)
    window.offer(label_frame(0))
    assert not window.has_room
    with pytest.raises(ValueError, match="full window"):
        window.offer(label_frame(1))


def test_shrunk_window_blocks_until_enough_frames_are_acknowledged() -> None:
    window = SendWindow(2, live=False)
    for sequence in range(2):
        window.offer(label_frame(sequence))
        _send(window)
    window.offer(label_frame(2))
    window.resize(1)
    window.acknowledged(0)
    assert window.ready() is None
    window.acknowledged(1)
    assert window.ready() == label_frame(2)


def test_empty_window_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        SendWindow(0, live=True)


def test_rejected_file_frame_is_sent_again_before_newer_ones() -> None:
    window = SendWindow(2, live=False)
    for sequence in range(2):
        window.offer(label_frame(sequence))
        _send(window)
    window.offer(label_frame(2))
    window.rejected(0)
    assert [_send(window), _send(window)] == [0, None]
    assert not window.idle


def test_rejected_live_frame_is_dropped() -> None:
    window = SendWindow(2, live=True)
    window.offer(label_frame(0))
    _send(window)
    assert window.rejected(0) is not None
    assert window.idle


def test_resume_of_a_file_resends_undecoded_frames_in_order() -> None:
    window = SendWindow(3, live=False)
    for sequence in range(3):
        window.offer(label_frame(sequence))
        _send(window)
    window.offer(label_frame(3))
    assert window.oldest_unacknowledged == 0
    resumption = window.resume(1)
    assert resumption.delivered == (label_frame(0),)
    assert resumption.lost
    assert [_send(window), _send(window), _send(window), _send(window)] == [1, 2, 3, None]


def test_resume_when_live_keeps_only_the_newest() -> None:
    window = SendWindow(2, live=True)
    for sequence in range(2):
        window.offer(label_frame(sequence))
        _send(window)
    resumption = window.resume(0)
    assert resumption.superseded == (label_frame(0),)
    assert _send(window) == 1


def test_resume_when_live_prefers_the_waiting_frame() -> None:
    window = SendWindow(1, live=True)
    window.offer(label_frame(0))
    _send(window)
    window.offer(label_frame(5))
    assert window.resume(0).superseded == (label_frame(0),)
    assert _send(window) == 5


def test_resume_when_all_frames_were_decoded() -> None:
    window = SendWindow(2, live=False)
    window.offer(label_frame(0))
    _send(window)
    assert not window.resume(1).lost
    assert window.idle
