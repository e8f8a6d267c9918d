import pytest

from common.clock import Clock
from common.wire.frame_messages import MAX_TIME_MS
from sender.link_account import Reporter
from sender.metrics import SenderMetrics
from sender.rate.controller import RateController
from sender.rate.policy import RateConfig


def test_report_is_due_once_a_second_with_new_means() -> None:
    now_s, metrics = [100.0], SenderMetrics()
    reporter = Reporter(RateController(RateConfig()), metrics, clock=Clock(monotonic=lambda: now_s[0]))
    metrics.follows_up_to(3)
    metrics.camera_frame()
    with metrics.stage("perception") as first, metrics.stage("capture"):
        pass
    with metrics.stage("perception") as second:
        pass
    report = reporter.due()
    assert report is not None and report.stages_ms["perception"] == pytest.approx((first.ms + second.ms) / 2)
    assert report.capacity_bps is None and report.round_trip_ms is None and report.people_limit == 3
    assert report.camera_fps is None, "it is not known since when"
    now_s[0] += 0.9
    assert reporter.due() is None
    now_s[0] += 0.1
    for _ in range(30):
        metrics.camera_frame()
    report = reporter.due()
    assert report is not None and report.stages_ms == {} and report.camera_fps == pytest.approx(30)
    now_s[0] += 1
    report = reporter.due()
    assert report is not None and report.camera_fps is None, "a file has no camera"


def test_every_picture_has_a_report() -> None:
    reporter = Reporter(RateController(RateConfig()), SenderMetrics(), stills=True)
    assert reporter.due() is not None and reporter.due() is not None


def test_source_that_was_idle_for_days_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = SenderMetrics()
    monkeypatch.setattr(metrics, "take_stage_means_ms", lambda: {"capture": 1e9, "unreported": 1.0})
    report = Reporter(RateController(RateConfig()), metrics).due()
    assert report is not None and report.stages_ms == {"capture": MAX_TIME_MS}
