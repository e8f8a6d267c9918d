import pytest
from prometheus_client import CollectorRegistry

from receiver.web.metrics import SignInOutcome, UploadOutcome, WebMetrics
from receiver.web.pictures import UPLOAD_STAGES


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> WebMetrics:
    return WebMetrics(registry)


def test_requests_by_method_route_and_status(metrics: WebMetrics, registry: CollectorRegistry) -> None:
    metrics.request("GET", "/api/models/{id}", 404, 0.25)
    labels = {"method": "GET", "route": "/api/models/{id}"}
    assert registry.get_sample_value("bodywire_web_requests_total", {**labels, "status": "404"}) == 1
    assert registry.get_sample_value("bodywire_web_request_seconds_sum", labels) == 0.25


def test_what_clients_choose_makes_no_series(metrics: WebMetrics, registry: CollectorRegistry) -> None:
    for number in range(100):
        metrics.request(f"METHOD{number}", None, 404, 0.0)
    labels = {"method": "other", "route": "unmatched", "status": "404"}
    assert registry.get_sample_value("bodywire_web_requests_total", labels) == 100


def test_live_view(metrics: WebMetrics, registry: CollectorRegistry) -> None:
    for _ in range(2):
        metrics.watcher_connected()
    metrics.watcher_left()
    metrics.frame_shown(5000)
    metrics.frame_shown(3000)
    metrics.frame_skipped()
    names = ("watchers", "frames_shown_total", "frame_bytes_total", "frames_skipped_total")
    assert [registry.get_sample_value(f"bodywire_web_{name}") for name in names] == [1, 2, 8000, 1]


def test_every_stage_of_an_upload_exists_before_the_first(metrics: WebMetrics, registry: CollectorRegistry) -> None:
    name = "bodywire_web_upload_stage_seconds_count"
    assert [registry.get_sample_value(name, {"stage": stage}) for stage in UPLOAD_STAGES] == [0] * len(UPLOAD_STAGES)
    assert UPLOAD_STAGES[-1] == "files"


def test_uploads_and_accounts(metrics: WebMetrics, registry: CollectorRegistry) -> None:
    metrics.upload(UploadOutcome.STORED, 1.5)
    metrics.upload_stage("perception", 0.5)
    metrics.sign_in(SignInOutcome.WRONG)
    metrics.accounts(3)
    assert registry.get_sample_value("bodywire_web_upload_seconds_sum", {"outcome": "stored"}) == 1.5
    assert registry.get_sample_value("bodywire_web_upload_seconds_count", {"outcome": "failed"}) == 0
    assert registry.get_sample_value("bodywire_web_upload_stage_seconds_sum", {"stage": "perception"}) == 0.5
    assert registry.get_sample_value("bodywire_web_sign_ins_total", {"outcome": "wrong"}) == 1
    assert registry.get_sample_value("bodywire_web_accounts") == 3
