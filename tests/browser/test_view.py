"""What the live view shows of people: everybody, whatever covers it; one of them; nobody; sessions that have ended."""

from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from common.arrays import ByteArray
from common.frames import Camera
from common.labels import LIMBS
from tests.browser.conftest import DESKTOP, Complaints, visit
from tests.browser.pictures import differing_share, settled, somebody_is_drawn
from tests.support.web.page_server import PageServer

CROWD = (-1.6, -0.4, 1.5)
PERSON_PIXELS = 24
"""A difference that noise of the picture does not have."""


def settled_page(page: Page) -> ByteArray:
    """The page, (H, W, 3), once nothing moves."""
    return settled(page, page.locator(".viewport canvas").first).astype(np.int16)


def edges(page: Page, selector: str) -> tuple[float, float, float, float] | None:
    """Left, top, right and bottom of an element, pixels; None if it is hidden."""
    box = page.locator(selector).first.bounding_box() if page.locator(selector).first.is_visible() else None
    return None if box is None else (box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"])


def people(page: Page) -> Locator:
    return page.locator(".people")


def hide_everybody(page: Page) -> None:
    people(page).locator("summary").click()
    for button in people(page).get_by_role("button", name="Hide").all():
        button.click()
    people(page).locator("summary").click()
    page.mouse.move(1, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "sheet"), [*((width, False) for width in (360, 768, 1280)), (360, True)])
def test_everybody_is_where_no_control_covers_them(
    browser: Browser, server: PageServer, complaints: Complaints, width: int, sheet: bool
) -> None:
    server.crowd, server.most_frames = CROWD, 1
    with visit(browser, complaints, viewport={"width": width, "height": 760}) as page:
        page.goto(server.address)
        page.wait_for_selector(".viewport[data-frame]")
        assert somebody_is_drawn(page)
        if sheet:
            page.keyboard.press("p")
        expect(people(page)).to_contain_text("3 people")
        page.locator("canvas").first.focus()
        page.keyboard.press("s")
        settled_page(page)
        for key in "+-":  # the camera stays where it is
            page.keyboard.press(key)
        page.evaluate("document.activeElement.blur()")
        shown = settled_page(page)
        hide_everybody(page)
        page.locator("canvas").first.focus()
        page.evaluate("document.activeElement.blur()")
        difference = np.abs(shown - settled_page(page)).max(axis=-1)
        scene = edges(page, ".viewport")
        bottom = edges(page, ".panel" if sheet else ".viewport-bottom")
        preview, top = edges(page, ".preview"), edges(page, ".viewport-top")
        assert scene and bottom and preview and top
        # What the summary and the buttons of the list look like changes too.
        # Clay is warm, the floor and the shadows on it are cool.
        clay = (difference > PERSON_PIXELS) & (shown[..., 0] > shown[..., 2])
        inside = clay[int(top[3]) : int(bottom[1]), int(scene[0]) : int(scene[2])]
        marks = (difference > PERSON_PIXELS) & (shown[..., 0] <= shown[..., 2])
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        narrow = scene[2] - scene[0] < 600
        free_top = preview[3] - top[3] if narrow else 0
        free_left = 0 if narrow else preview[2] - scene[0]
        if sheet:
            assert bottom[1] > scene[1] + 0.6 * (scene[3] - scene[1]), "the figures cover half of the screen"
        else:
            assert marks[int(top[3]) : int(top[3]) + rows[0]].any(), "there is no number above the heads"
        # Nothing is cut off, neither at the edges nor under what lies over the scene.
        assert rows[0] > free_top and rows[-1] < inside.shape[0] - 2
        assert columns[0] > free_left and columns[-1] < inside.shape[1] - 2
        free = (inside.shape[0] - free_top, inside.shape[1] - free_left)
        assert max(np.ptp(rows) / free[0], np.ptp(columns) / free[1]) > 0.55, "and nobody is small"


@pytest.mark.slow
def test_one_of_several_people_is_followed_and_others_hidden(page: Page, server: PageServer) -> None:
    server.crowd = CROWD
    page.goto(server.address)
    page.wait_for_selector(".viewport[data-frame]")
    people(page).locator("summary").click()
    expect(people(page).locator("li")).to_have_count(3)
    page.get_by_role("button", name="Follow Person 3").click()
    expect(page.get_by_role("button", name="Follow Person 3")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Hide Person 1").click()
    expect(page.get_by_role("button", name="Hide Person 1")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Follow Person 3").click()
    expect(page.get_by_role("button", name="Follow Person 3")).to_have_attribute("aria-pressed", "false")


def skin_px(page: Page) -> int:
    """How high the face and the neck are of somebody whose arms are not shown, and who wears no brown."""
    canvas = page.locator("canvas").first
    shown = settled(canvas, canvas).astype(np.int16)[:, 300:]
    skin = (shown[..., 0] - shown[..., 2] > 30).sum(axis=1) > 10
    return int(np.ptp(np.flatnonzero(skin)))


@pytest.mark.slow
def test_bust_is_framed_without_what_no_camera_sees_and_its_face_followed(page: Page, server: PageServer) -> None:
    shown = server.frames[-1]
    camera = Camera(640, 250, 768)
    people = tuple(replace(one, unseen_limbs=set(LIMBS[1:])) for one in shown.record.people)
    server.frames, server.most_frames = [replace(shown, record=replace(shown.record, people=people, camera=camera))], 1
    page.goto(server.address)
    page.wait_for_selector(".viewport[data-frame]")
    assert somebody_is_drawn(page)
    canvas = page.locator("canvas").first
    canvas.focus()
    bust = skin_px(page)
    assert bust > 150, "the face has 120 of 800 pixels, and the neck some"

    unseen = page.get_by_role("button", name="Limbs that no camera sees")
    page.keyboard.press("u")
    expect(unseen).to_have_attribute("aria-pressed", "true")
    whole = settled(canvas, canvas)
    page.keyboard.press("u")
    expect(unseen).to_have_attribute("aria-pressed", "false")
    assert skin_px(page) == bust
    assert differing_share(whole, settled(canvas, canvas)) > 0.05

    face = page.get_by_role("button", name="Follow the face")
    page.keyboard.press("f")
    expect(face).to_have_attribute("aria-pressed", "true")
    assert skin_px(page) > 0.35 * DESKTOP["height"]
    face.click()
    expect(face).to_have_attribute("aria-pressed", "false")
    assert skin_px(page) == bust

    face.click()
    canvas.hover()
    page.mouse.down()
    page.mouse.move(500, 380)
    page.mouse.up()
    expect(face).to_have_attribute("aria-pressed", "false")
    turned = settled(canvas, canvas)
    page.keyboard.press("u")
    page.keyboard.press("u")
    assert differing_share(turned[9:-9, 9:-9], settled(canvas, canvas)[9:-9, 9:-9]) < 0.001, "as it was turned"


def test_nobody_was_seen_yet(page: Page, server: PageServer) -> None:
    server.crowd = ()
    page.goto(server.address)
    expect(page.get_by_role("heading", name="Nobody seen yet")).to_be_visible()
    server.crowd = (0.0,)
    expect(page.get_by_role("heading", name="Nobody seen yet")).to_be_hidden()
    server.crowd = ()
    expect(page.get_by_role("heading", name="Nobody in the picture now")).to_be_visible()


def test_ended_session_says_when_and_its_averages(page: Page, server: PageServer) -> None:
    server.most_frames = 3
    page.goto(server.address)
    page.wait_for_selector(".viewport[data-frame]")
    server.end_sessions()
    expect(page.locator("#state")).to_contain_text("Session ended ")
    panel = page.locator(".panel")
    expect(panel).to_contain_text("Session ended ")
    expect(panel).not_to_contain_text("Video with")
    expect(panel).to_contain_text("51 bytes of labels a frame")
    expect(panel).to_contain_text("1 in all")
    session = page.request.get(f"{server.address}/api/sessions/1").json()
    # A machine that is slow has not played it at its own pace, and says no age.
    at_own_pace = abs(session["played_s"] - session["length_s"]) <= 1
    (expect(panel).to_contain_text if at_own_pace else expect(panel).not_to_contain_text)("132 ms")
    assert page.locator(".columns span").evaluate_all("all => all.some((each) => each.clientHeight > 10)")
    expect(page.locator(".preview")).to_be_hidden()
    expect(page.get_by_role("note")).to_contain_text("Session ended ")
    page.get_by_role("button", name="Use this camera").click()
    expect(page.get_by_role("heading", name="Waiting for the first frame")).to_be_visible()
    expect(people(page)).to_be_hidden()
    expect(page.get_by_role("note")).to_be_hidden()
    page.reload()
    expect(page.get_by_role("note")).to_contain_text("its last frame")
