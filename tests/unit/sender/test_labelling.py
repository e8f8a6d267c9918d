"""What becomes of a frame at which something fails."""

import cv2
import pytest

from sender.labelling import Labelling, Networks
from sender.metrics import SenderMetrics
from tests.unit.sender.test_pipeline import FakeBlobStage, FakeNetworks, captured


@pytest.mark.parametrize(
    ("part", "method", "people", "blobs"),
    [
        ("perception", "process", 0, 2),
        ("semantics", "label_observed", 0, 2),
        ("hands", "label", 1, 2),
        ("colours", "update", 1, 0),
    ],
)
def test_frames_go_on_without_what_fails(
    part: str, method: str, people: int, blobs: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise cv2.error("an empty \x1b map")

    networks, stage, metrics = FakeNetworks(), FakeBlobStage(), SenderMetrics()
    monkeypatch.setattr(stage if part == "colours" else networks, method, fail)
    labelling = Labelling(Networks(networks, networks, [networks]), [stage], metrics)  # type: ignore[arg-type]
    perceived = [labelling.perceive(captured(index)) for index in range(4)]
    labels = [labelling.label(each) for each in perceived]
    made = [blob for each in zip(perceived, labels, strict=True) for blob in labelling.blobs(*each)]
    assert [len(frame.people) for frame in labels] == [people] * 4 and len(made) == blobs
    assert metrics.failures == {part: 4}
    assert networks.log.count(("forgotten", 0.0)) == 4 * (part == "semantics")
    assert metrics.registry.get_sample_value("bodywire_sender_part_failures_total", {"part": part}) == 4
    (line,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert line.startswith(f"{part} failed at a frame, which goes on without: error: ") and "\x1b" not in line
