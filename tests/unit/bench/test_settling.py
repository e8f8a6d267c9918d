"""How long it takes until the receiver knows what people wear, and how many bytes."""

from common.wears import Wears
from receiver.outfits.mixture import PLAIN
from tests.bench.settling import Settling

SIZES = {"wears": 14.0, "surface": 3.0, "root": 4.0}


def wearing(**kinds: str) -> Wears:
    return PLAIN.as_known(kinds)


def test_clip_has_settled_with_the_last_change() -> None:
    settling, cap, hat = Settling(), wearing(headwear="cap"), wearing(headwear="hat")
    settling.add(0.0, {}, {"surface": 5.0})
    for time_s, worn in ((0.1, {1: cap}), (0.5, {1: hat}), (1.0, {1: hat}), (2.0, {1: cap, 2: hat}), (3.0, {1: cap})):
        settling.add(time_s, worn, SIZES)
    assert settling.figures() == {
        "settled_s": 2.0,
        "changes": 2.0,
        "late_changes": 1.0,
        "wears_bytes": 56.0,
        "surface_bytes": 17.0,
        "all_wears_bytes": 70.0,
        "all_surface_bytes": 20.0,
    }


def test_first_kinds_of_a_person_are_no_change() -> None:
    settling = Settling()
    for time_s in (0.0, 4.0):
        settling.add(time_s, {3: wearing(hair="long")}, SIZES)
    assert (settling.changes, settling.settled_s, settling.until_settled["wears"]) == (0, 0.0, 14.0)
