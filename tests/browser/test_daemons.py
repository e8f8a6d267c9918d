"""The page before the real daemons: a running sender, and the camera of a browser."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import Complaints, visit
from tests.browser.pictures import differing_share, distinct_colours, scene
from tests.e2e.daemons import RunningReceiver, receiver
from tests.support.processes.demo_clip import fake_camera, looped_clip
from tests.support.web.chromium import CAMERA_FLAGS, CHROMIUM, FLAGS

pytestmark = pytest.mark.slow

MESHES = 5


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningReceiver]:
    out = tmp_path_factory.mktemp("receiver") / "out"
    with receiver(out, "--http", "127.0.0.1:0", "--browser-cameras", "1", "--mesh-every", "3") as running:
        yield running
        code, errors = running.terminate()
        assert code == 0
        assert "Traceback" not in errors


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return looped_clip(tmp_path_factory.mktemp("clip") / "demo-twelve-times.mp4", 12)


@contextmanager
def sending(daemon: RunningReceiver, clip: Path) -> Iterator[None]:
    """A sender that plays the clip in real time and shares its preview."""
    flags = ("--camera", str(clip), "--realtime", "--share-preview", "--peer", daemon.address)
    process = subprocess.Popen(
        [sys.executable, "-m", "sender", *flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield
    finally:
        process.terminate()
        process.communicate()


def next_frame(page: Page, after: str | None) -> str:
    """The number of the next frame that is shown."""
    page.wait_for_function(
        "after => ![undefined, after ?? undefined].includes(document.querySelector('.viewport')?.dataset.frame)",
        arg=after,
    )
    shown = page.locator(".viewport").first.get_attribute("data-frame")
    assert shown is not None
    return shown


def test_live_page_shows_a_running_sender(
    browser: Browser, daemon: RunningReceiver, clip: Path, complaints: Complaints
) -> None:
    with sending(daemon, clip), visit(browser, complaints) as page:
        page.goto(daemon.page)
        shown = [next_frame(page, None)]
        before, panel = scene(page), page.locator(".panel").inner_text()
        while len(shown) < MESHES:
            shown.append(next_frame(page, shown[-1]))
        assert len(set(shown)) == MESHES
        assert distinct_colours(before) > 200, "the canvas shows nobody"
        assert differing_share(before, scene(page)) > 0.002, "the canvas stands still"
        assert page.locator(".panel").inner_text() != panel, "the panel stands still"
        page.wait_for_selector(".viewport[data-textured='1']")
        page.get_by_role("button", name="Surface", exact=True).click()
        next_frame(page, page.locator(".viewport").first.get_attribute("data-frame"))


def test_camera_of_a_browser_becomes_meshes(
    browser: Browser, daemon: RunningReceiver, complaints: Complaints, tmp_path: Path
) -> None:
    video = fake_camera(tmp_path / "camera.y4m")
    flags = [*FLAGS, *CAMERA_FLAGS, f"--use-file-for-fake-video-capture={video}"]
    other = browser.browser_type.launch(executable_path=CHROMIUM, args=flags)
    try:
        with visit(other, complaints) as page:
            page.goto(daemon.page)
            page.get_by_role("button", name="Use this camera").click()
            page.get_by_text("Camera on").wait_for()
            page.wait_for_function(
                "() => [...document.querySelectorAll('option, [role=option], .sessions *')]"
                ".some(entry => entry.textContent.includes('browser camera'))"
            )
            shown = [next_frame(page, None)]
            while len(shown) < 3:
                shown.append(next_frame(page, shown[-1]))
            page.get_by_role("button", name="Stop").click()
            page.get_by_role("button", name="Use this camera").wait_for()
    finally:
        other.close()
