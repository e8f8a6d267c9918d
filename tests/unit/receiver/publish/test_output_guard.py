"""While the output cannot be written: few attempts, and one line at either end."""

import logging

import pytest

from common.clock import Clock
from common.errors import OutputError
from receiver.publish.output_guard import OutputGuard


class Disk:
    """A disk that the test fills, and a guard before it."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.full = False
        self.attempts = 0
        self.guard = OutputGuard(Clock(monotonic=lambda: self.now_s, wall=lambda: 0.0))

    def write(self) -> bool:
        """Writes a frame, if the guard lets it; returns whether it was written."""
        try:
            self.guard.check()
            self.attempts += 1
            with self.guard.attempt():
                if self.full:
                    raise OutputError("cannot write out: No space left on device")
        except OutputError as error:
            assert "No space left" in str(error)
            return False
        return True

    def write_for(self, seconds: float) -> list[bool]:
        """Writes 30 frames a second."""
        written = []
        for _ in range(round(30 * seconds)):
            written.append(self.write())
            self.now_s += 1 / 30
        return written


@pytest.fixture
def disk(caplog: pytest.LogCaptureFixture) -> Disk:
    caplog.set_level(logging.INFO)
    return Disk()


def test_full_disk_is_logged_once_and_attempted_once_a_second(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    assert all(disk.write_for(1.0))
    disk.full, disk.attempts = True, 0
    assert not any(disk.write_for(60.0))
    assert disk.attempts <= 65
    (begin,) = caplog.messages
    assert begin == "cannot write out: No space left on device; senders wait until it can be written"


def test_end_is_logged_once_with_a_count(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    disk.full = True
    disk.write_for(10.0)
    disk.full = False
    written = disk.write_for(10.0)
    assert written.index(True) <= 30 and all(written[30:])
    _, end = caplog.messages
    refused = 300 + written.index(True)
    assert end.endswith(f"it refused {refused} frames")
    disk.full = True
    disk.write()
    assert len(caplog.messages) == 3


def test_nearly_full_disk_is_one_state(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    for second in range(60):
        disk.full = second % 2 == 0
        disk.write_for(1.0)
    assert len(caplog.messages) == 1


def test_other_errors_pass(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ZeroDivisionError), disk.guard.attempt():
        raise ZeroDivisionError
    disk.guard.check()
    assert caplog.messages == []
