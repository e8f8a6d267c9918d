import pytest

from common.clock import Clock
from common.wire.report import MAX_TIME_MS
from sender.metrics import SenderMetrics, StagePasses
from sender.rate.controller import RateController
from sender.rate.policy import RateConfig
from sender.reports import Reporter


class Times:
    def __init__(self) -> None:
        self.now_s = 100.0

    @property
    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.now_s, wall=lambda: 0.0)


def test_report_is_due_once_a_second() -> None:
    times, metrics = Times(), SenderMetrics()
    reporter = Reporter(RateController(RateConfig()), metrics, clock=times.clock)
    with metrics.stage("perception") as span:
        pass
    report = reporter.due()
    assert report is not None and report.stages_ms == {"perception": pytest.approx(span.ms)}
    assert report.capacity_bps is None and report.round_trip_ms is None
    times.now_s += 0.9
    assert reporter.due() is None
    times.now_s += 0.1
    report = reporter.due()
    assert report is not None and report.stages_ms == {}


def test_every_picture_has_a_report() -> None:
    reporter = Reporter(RateController(RateConfig()), SenderMetrics(), stills=True, clock=Times().clock)
    assert reporter.due() is not None and reporter.due() is not None


def test_source_that_was_idle_for_days_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = SenderMetrics()
    monkeypatch.setattr(metrics, "take_stage_means_ms", lambda: {"capture": 1e9, "unreported": 1.0})
    report = Reporter(RateController(RateConfig()), metrics, clock=Times().clock).due()
    assert report is not None and report.stages_ms == {"capture": MAX_TIME_MS}


def test_means_begin_anew() -> None:
    passes = StagePasses()
    for duration_ms in (1.0, 3.0):
        passes.add("codec", duration_ms)
    passes.add("capture", 5.0)
    assert passes.take_means_ms() == {"codec": 2.0, "capture": 5.0}
    assert passes.take_means_ms() == {}
