from collections.abc import Sequence

import pytest

from common.arrays import ByteArray
from sender.perception.crop import View
from sender.perception.perception_network import PerceptionConfig, PerceptionNet, PerceptionOutput
from sender.perception.predictor import Perception
from sender.perception.read import people_carried

TINY = PerceptionConfig(size=32, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)


@pytest.mark.parametrize(
    ("times_s", "cameras", "people"),
    [((0.5, 0.3, 0.4), 1, 1), ((0.9, 0.07, 0.9), 1, 2), ((0.9, 0.07, 0.9), 2, 1), ((1e-3,) * 3, 20, 4)],
)
def test_as_many_people_as_the_fastest_of_several_looks_permits(
    monkeypatch: pytest.MonkeyPatch, times_s: Sequence[float], cameras: int, people: int
) -> None:
    now_s, left = 0.0, list(times_s)

    class TimedPerception(Perception):
        def observe(self, crops: Sequence[ByteArray], view: View = "both") -> PerceptionOutput:
            nonlocal now_s
            now_s += left.pop(0)
            return super().observe(crops, view)

    monkeypatch.setattr("sender.perception.read.time.perf_counter", lambda: now_s)
    assert people_carried(TimedPerception(PerceptionNet(TINY)), cameras) == people and not left
