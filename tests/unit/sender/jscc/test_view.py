"""The window of an analogue session: around the person, kept while the person is in it."""

from types import SimpleNamespace

import numpy as np
import pytest

from common.channel.signal_blob import Window
from sender.jscc.config import View
from sender.jscc.view import Views
from sender.perception.inference.crop import CropBox

FRAME = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)


def person(left: int, top: int, side: int, identity: int = 1, score: float = 0.9) -> SimpleNamespace:
    return SimpleNamespace(identity=identity, score=score, crop=CropBox(left, top, side))


def window(views: Views, *people: SimpleNamespace) -> Window:
    found = views.window(FRAME, people)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_window_is_larger_than_the_person_and_inside_the_frame() -> None:
    found = window(Views("person", 256), person(10, 200, 200))
    assert (found.width, found.height) == (230, 230)
    assert found.left == 0 and found.top == 185


def test_window_is_kept_until_the_person_leaves_it_or_the_source_changes() -> None:
    views = Views("person", 256)
    first = window(views, person(200, 100, 200))
    assert window(views, person(215, 110, 200)) == first
    assert window(views, person(205, 100, 180)) == first
    for moved in ((300, 100, 200), (200, 100, 320), (260, 150, 70)):
        views = Views("person", 256)
        first, second = window(views, person(200, 100, 200)), window(views, person(*moved))
        assert second.number == first.number + 1, moved
    views.reset()
    assert window(views, person(*moved)).number > second.number


def test_largest_person_is_followed_until_lost() -> None:
    views = Views("person", 256)
    large, small = person(0, 0, 200, identity=1), person(300, 0, 100, identity=2)
    first = window(views, small, large)
    assert first.width == 230
    assert window(views, large, person(300, 0, 400, identity=2)) == first
    assert window(views, small).width == 115
    assert views.window(FRAME, []) is None
    assert views.window(FRAME, [person(0, 0, 200, score=0.4)]) is None  # type: ignore[list-item]


def test_whole_frame_needs_nobody() -> None:
    views = Views("frame", 256)
    first = window(views)
    assert (first.left, first.top, first.width, first.height) == (0, 0, 640, 480)
    assert window(views, person(1, 1, 100)) == first


@pytest.mark.parametrize(("view", "size"), [("person", (256, 256)), ("frame", (192, 256))])
@pytest.mark.parametrize("side", [100, 400])
def test_pictures_have_the_size_that_was_asked_for(view: View, size: tuple[int, int], side: int) -> None:
    views = Views(view, 256)
    picture = views.cut(FRAME, window(views, person(100, 10, side)))
    assert picture.shape == (*size, 3) and picture.dtype == np.uint8
