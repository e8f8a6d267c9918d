"""How the quality bench summarises its images."""

from common.synthetic.dataset.presets import DRESSED, EVERYDAY
from tests.bench.quality import HEADS, RECONSTRUCTIONS, Row, breakdown, notes_on, summary


def _row(mpjpe_mm: float, payload_bytes: float, whole: bool = True) -> Row:
    systems = {name: {"mpjpe_mm": mpjpe_mm} for name in RECONSTRUCTIONS}
    systems["codec"]["payload_bytes"] = payload_bytes
    return Row({**systems, HEADS: {"mask_iou": 0.5}}, whole)


def test_summary_has_means_and_the_median_payload() -> None:
    found = summary([_row(10.0, 100.0), _row(20.0, 110.0), _row(60.0, 300.0)])
    assert found["labels"] == {"mpjpe_mm": 30.0}
    assert found["codec"]["payload_bytes_median"] == 110.0
    assert "payload_bytes" not in found["codec"]
    assert found[HEADS] == {"mask_iou": 0.5}


def test_breakdown_leaves_out_an_empty_part() -> None:
    assert list(breakdown([_row(1.0, 1.0)])) == ["whole"]
    assert list(breakdown([_row(1.0, 1.0), _row(1.0, 1.0, whole=False)])) == ["whole", "cut_off_or_occluded"]


def test_notes_say_that_dressed_people_are_measured_against_their_clothes() -> None:
    dressed, everyday = (" ".join(notes_on(preset)) for preset in (DRESSED, EVERYDAY))
    assert "the true surface is the outer shell" in dressed
    assert "garments that 75% of these people wear" in dressed
    assert "garments" not in everyday
