"""The page in Firefox and WebKit, by keyboard alone, and in a narrow window."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser.pictures import distinct_colours
from tests.support.web.engines import Engine, Firefox, WebKit, until
from tests.support.web.page_server import PageServer

pytestmark = pytest.mark.slow
FOCUSED = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"


@pytest.fixture(params=[Firefox, WebKit])
def engine(request: pytest.FixtureRequest, tmp_path: Path, server: PageServer) -> Iterator[Engine]:
    """A browser whose page shows somebody."""
    if request.param.missing():
        pytest.skip(f"{request.param.__name__} is not installed; make test-slow installs it")
    (tmp_path / "profile").mkdir()
    engine: Engine = request.param(tmp_path / "profile")
    try:
        engine.open(server.address)
        until(lambda: engine.run("document.querySelector('.viewport[data-frame]') !== null"))
        yield engine
    finally:
        engine.close()


def wait_for_view(engine: Engine, view: str) -> None:
    until(lambda: engine.run(f"document.querySelector('#{view}').checkVisibility()"))


def test_person_is_drawn_and_moves(engine: Engine) -> None:
    def middle() -> np.ndarray:
        picture = np.asarray(Image.open(io.BytesIO(engine.picture())).convert("RGB"))
        height, width = picture.shape[:2]
        return picture[height // 4 : 3 * height // 4, width // 3 : 2 * width // 3]

    until(lambda: distinct_colours(middle()) > 200)
    first = engine.run("document.querySelector('.viewport').dataset.frame")
    until(lambda: engine.run("document.querySelector('.viewport').dataset.frame") != first)


def test_keyboard_alone_reaches_every_view_and_control(engine: Engine) -> None:
    engine.press("?")
    until(lambda: engine.run("document.querySelector('dialog[open]')?.textContent.includes('Keyboard shortcuts')"))
    engine.press("Escape")
    until(lambda: engine.run("document.querySelector('dialog[open]') === null"))
    for key, view in (("2", "sessions"), ("3", "models"), ("4", "account"), ("1", "live")):
        engine.press(key)
        wait_for_view(engine, view)
    reached = set()
    for _ in range(30):
        engine.press("Tab")
        reached.add(engine.run(FOCUSED))
    assert {"Session", "Frame", "Reset the view (R)", "Figures (P)", "Wireframe (W)"} <= reached


def test_narrow_window_shows_every_view_without_scrolling_sideways(engine: Engine, server: PageServer) -> None:
    engine.resize(360, 800)
    # Their windows become no narrower than 500 and 447 pixels; 360 are tested with Chromium.
    until(lambda: engine.run("innerWidth") <= 500)
    for view in ("live", "sessions", "models", "account"):
        engine.open(f"{server.address}/#{view}")
        wait_for_view(engine, view)
        for element in (f"#{view}", "html"):
            assert engine.run(f"document.querySelector('{element}').scrollWidth - innerWidth") <= 0, view
