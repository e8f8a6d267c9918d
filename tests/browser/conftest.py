"""Headless Chromium before the built page and a receiver that plays frames of the demo clip.

Waiting has long limits, because machines of tests are busy.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, expect, sync_playwright

from tests.support.processes.demo_clip import demo_picture
from tests.support.processes.demo_output import publish_demo
from tests.support.web.chromium import CAMERA_FLAGS, CHROMIUM, FLAGS
from tests.support.web.page_server import PageServer

PATIENCE_MS = 60_000
DESKTOP = {"width": 1280, "height": 800}
PASSWORD = "correct horse battery"
EXPECTED_NOISE = ("GPU stall due to ReadPixels",)
"""A note of the graphics driver about the measurement of the time that drawing takes."""


@pytest.fixture(scope="package")
def demo_output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of the demo clip: one process of the tests makes them, and each has a copy of its own."""
    own = tmp_path_factory.mktemp("demo")
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return publish_demo(own / "out", frames=8)
    made = tmp_path_factory.getbasetemp().parent / "demo"
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            publish_demo(own / "made", frames=8).rename(made)
    return shutil.copytree(made, own / "out", symlinks=True)


@pytest.fixture(scope="package")
def picture() -> bytes:
    return demo_picture()


# Not of the session: Playwright's event loop must have ended before the tests of other folders run theirs.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip("chromium is not installed; make test installs it")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *CAMERA_FLAGS])
        yield browser
        browser.close()


@pytest.fixture
def server(demo_output: Path, picture: bytes, tmp_path: Path) -> Iterator[PageServer]:
    server = PageServer(demo_output, tmp_path / "accounts", picture).start()
    yield server
    server.stop()


class Complaints(list[str]):
    """What a page said on its console, but for what `ignore` allows."""

    def __init__(self) -> None:
        super().__init__()
        self.ignored = list(EXPECTED_NOISE)

    def watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", self._error)

    def _console(self, message: ConsoleMessage) -> None:
        said = message.type in ("error", "warning") and not any(text in message.text for text in self.ignored)
        if said:
            self.append(f"{message.type}: {message.text}")

    def _error(self, error: Error) -> None:
        self.append(f"exception: {error}")


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """Fails the test if the page has complained on its console."""
    said = Complaints()
    yield said
    assert said == []


def scrub(page: Page, number: int) -> None:
    """Shows a frame of the recording. A slider would clamp a number that the page has not heard of yet."""
    slider = page.get_by_role("slider", name="Frame")
    page.wait_for_function("([slider, number]) => Number(slider.max) >= number", arg=[slider.element_handle(), number])
    slider.fill(str(number))
    page.wait_for_selector(f".viewport[data-frame='{number}']")


@contextmanager
def visit(browser: Browser, complaints: Complaints, **settings: Any) -> Iterator[Page]:
    """A page of a new profile, at desktop size unless the settings say otherwise."""
    context = browser.new_context(**{"viewport": DESKTOP, **settings})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    complaints.watch(page)
    try:
        yield page
    finally:
        context.close()


def sign_in(page: Page, password: str = PASSWORD, button: str = "Sign in") -> None:
    """As `ada`, who signs up with the button `Sign up`."""
    page.get_by_label("Name", exact=True).fill("ada")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.get_by_role("heading", name="ada")).to_be_visible()


@pytest.fixture
def page(browser: Browser, server: PageServer, complaints: Complaints) -> Iterator[Page]:
    """A page that is closed before the server stops.

    Its view does not glide, which would keep a processor drawing; that of `visit` does.
    """
    with visit(browser, complaints, reduced_motion="reduce") as page:
        yield page


@pytest.fixture
def live(page: Page, server: PageServer) -> Page:
    """The live view, once it shows somebody."""
    page.goto(server.address)
    page.wait_for_selector(".viewport[data-frame]")
    return page
