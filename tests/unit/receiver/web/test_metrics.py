import pytest
from prometheus_client import CollectorRegistry

from receiver.web.metrics import UPLOAD_STAGES, WebMetrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> WebMetrics:
    return WebMetrics(registry)


def test_what_clients_choose_makes_no_series(metrics: WebMetrics, registry: CollectorRegistry) -> None:
    for number in range(100):
        metrics.request(f"METHOD{number}", None, 404, 0.25)
    labels = {"method": "other", "route": "unmatched"}
    assert registry.get_sample_value("bodywire_web_requests_total", {**labels, "status": "404"}) == 100
    assert registry.get_sample_value("bodywire_web_request_seconds_sum", labels) == 25


def test_every_stage_and_outcome_exists_before_the_first(metrics: WebMetrics, registry: CollectorRegistry) -> None:
    name = "bodywire_web_upload_stage_seconds_count"
    assert [registry.get_sample_value(name, {"stage": stage}) for stage in UPLOAD_STAGES] == [0] * len(UPLOAD_STAGES)
    assert registry.get_sample_value("bodywire_web_upload_seconds_count", {"outcome": "failed"}) == 0
