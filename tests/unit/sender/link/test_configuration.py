import pytest

from sender.link import LinkConfig


@pytest.mark.parametrize(
    "wrong",
    [{"window": 0}, {"window": 65}, {"connect_timeout": 0.0}, {"heartbeat_interval_ms": 0.0}, {"heartbeats_missed": 0}],
)
def test_configuration_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LinkConfig(**wrong)  # type: ignore[arg-type]
