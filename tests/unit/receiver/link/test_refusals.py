import pytest

from common.clock import Clock
from receiver.link.refusals import Refusal, RefusalLog


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
