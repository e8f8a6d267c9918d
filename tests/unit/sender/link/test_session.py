from common.wire.convert import Hello, Welcome
from sender.link.send_window import InFlight
from sender.link.session import SenderSession
from tests.support.fake_link import MODEL, SECRET, SESSION, CountingCodec, label_frame

HELLO = Hello(SESSION, "test", 1, MODEL, live=False, session_secret=SECRET)


class Fixture:
    """A session that sends file frames through a counting codec."""

    def __init__(self) -> None:
        self.codec = CountingCodec()
        self.session = SenderSession(HELLO, self.codec, 4)

    def send(self, sequence: int) -> bool:
        """Sends a frame; returns whether it was encoded before."""
        if self.session.window.ready() is None:
            self.session.window.offer(label_frame(sequence))
        frame = self.session.window.ready()
        assert frame is not None and frame.sequence == sequence
        _, again = self.session.encode(frame)
        self.session.window.sent(InFlight(frame, 0.0, 0, 30, None, False))
        return again


def test_resume_with_lost_frames_starts_with_a_key_frame() -> None:
    fixture = Fixture()
    for sequence in range(2):
        fixture.send(sequence)
    fixture.session.acknowledge(0, decoded=True)
    assert fixture.session.resume(Welcome(True, MODEL, next_sequence=1, resumed=True, decodable_from=0)).lost
    assert fixture.send(1)
    assert fixture.codec.encoded == [(0, -1), (1, -1), (1, -1)]


def test_finished_frame_is_forgotten() -> None:
    fixture = Fixture()
    fixture.send(0)
    fixture.session.acknowledge(0, decoded=True)
    fixture.session.finish(label_frame(0))
    fixture.codec.reset()
    assert not fixture.send(0)
