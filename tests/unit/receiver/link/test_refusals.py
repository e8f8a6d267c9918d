import logging

import pytest

from common.clock import Clock
from receiver.link.refusals import Refusal, RefusalLog, RepeatedLines


def test_equal_lines_are_written_once_a_minute_with_their_number(caplog: pytest.LogCaptureFixture) -> None:
    now_s = 0.0
    lines = RepeatedLines(logging.getLogger("test"), Clock(lambda: now_s, lambda: 0.0))
    for _ in range(1000):
        lines.write(logging.WARNING, "a", "the disk is full")
    lines.write(logging.WARNING, "b", "something else")
    now_s = 61.0
    lines.write(logging.WARNING, "a", "the disk is full")
    assert [record.getMessage() for record in caplog.records] == [
        "the disk is full",
        "something else",
        "the disk is full (999 more since the last such line)",
    ]


def test_memory_of_lines_is_bounded() -> None:
    lines = RepeatedLines(logging.getLogger("test"), Clock(lambda: 0.0, lambda: 0.0))
    for number in range(10_000):
        lines.write(logging.DEBUG, number, "line")
    assert len(lines._lines) == 256


def test_refusals_are_counted_each_and_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    counted: list[Refusal] = []
    log = RefusalLog(Clock(lambda: 0.0, lambda: 0.0), counted.append)
    for _ in range(3):
        log.report(Refusal.OWNER, "token:camera", "ipv4:10.0.0.7:5", "the session belongs to another sender")
    log.report(Refusal.OWNER, "token:garage", "ipv4:10.0.0.8:5", "the session belongs to another sender")
    assert counted == [Refusal.OWNER] * 4
    assert [record.getMessage() for record in caplog.records] == [
        "refused ipv4:10.0.0.7:5: the session belongs to another sender",
        "refused ipv4:10.0.0.8:5: the session belongs to another sender",
    ]
