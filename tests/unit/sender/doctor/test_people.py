import pytest

from common.weights.config import DeviceConfig
from sender.doctor import people
from sender.perception.config import TrackingConfig


def test_limit_is_the_options_or_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "people_carried", lambda perception: 3)
    assert "up to 7 (--max-people)" in people.check_people(TrackingConfig(7), DeviceConfig("cpu")).found
    assert "up to 3 of a live camera" in people.check_people(TrackingConfig(), DeviceConfig("cpu")).found
