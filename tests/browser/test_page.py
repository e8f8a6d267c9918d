"""What holds for all of the page: accessibility, sizes, themes, keyboard, weight, security policy."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Response, expect

from tests.browser.conftest import DESKTOP, Complaints, sign_in, visit
from tests.browser.pictures import somebody_is_drawn
from tests.support.meshes.checkered_texture import checkered_texture
from tests.support.web.page_server import PageServer

PAGE_LIMIT_BYTES = 1_000_000
PHONE = {"width": 375, "height": 700}
VIEWS = ("live", "sessions", "models", "account")


def serious_faults(page: Page, *rules: str) -> list[str]:
    """What axe finds, by all rules if none are named."""
    found = Axe().run(page, options={"runOnly": list(rules)} if rules else None).response["violations"]
    return [
        f"{fault['id']}: {node['html']}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


def open_view(page: Page, server: PageServer, view: str) -> None:
    page.goto(f"{server.address}/#{view}")
    page.wait_for_selector(".viewport[data-frame]" if view == "live" else f"#{view} h1")


@pytest.mark.slow
def test_axe_finds_no_serious_fault(browser: Browser, server: PageServer, complaints: Complaints) -> None:
    # Axe is a script that does not come from the receiver.
    with visit(browser, complaints, color_scheme="light", bypass_csp=True) as page:
        for view in (*VIEWS, "dialog"):
            if view == "dialog":
                page.keyboard.press("?")
                page.wait_for_selector("dialog[open]")
            else:
                open_view(page, server, view)
            assert serious_faults(page) == [], view
            page.emulate_media(color_scheme="dark")
            expect(page.locator("html")).to_have_attribute("data-theme", "dark")
            assert serious_faults(page, "color-contrast") == [], f"{view}, dark"
            page.emulate_media(color_scheme="light")
            expect(page.locator("html")).to_have_attribute("data-theme", "light")


@pytest.mark.slow
@pytest.mark.parametrize("viewport", [pytest.param(DESKTOP, id="desktop"), pytest.param(PHONE, id="phone")])
def test_axe_finds_no_serious_fault_in_a_model(
    browser: Browser, server: PageServer, complaints: Complaints, picture: bytes, viewport: dict[str, int]
) -> None:
    server.texture = checkered_texture()
    with visit(browser, complaints, viewport=viewport, bypass_csp=True) as page:
        page.goto(f"{server.address}/#account")
        sign_in(page, button="Sign up")
        page.get_by_role("link", name="Models").click()
        page.set_input_files("#picture", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": picture})
        page.wait_for_selector(".model[data-people='1']")
        expect(page.get_by_role("group", name="Wear something else")).to_be_visible()
        assert serious_faults(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        page.goto(f"{server.address}/#sessions")
        page.set_input_files("#clip", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no clip"})
        expect(page.get_by_text("This is neither a picture nor a clip.")).to_be_visible()
        assert serious_faults(page) == []


@pytest.mark.slow
def test_phone_shows_every_view_without_scrolling_sideways(
    browser: Browser, server: PageServer, complaints: Complaints
) -> None:
    with visit(browser, complaints, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        open_view(page, server, "account")
        sign_in(page, button="Sign up")
        for view in VIEWS:
            open_view(page, server, view)
            for element in (f"#{view}", "html"):
                assert page.locator(element).evaluate("each => each.scrollWidth") <= PHONE["width"], view
        open_view(page, server, "live")
        sheet = page.locator(".panel")
        expect(sheet).to_be_hidden()
        page.get_by_role("button", name="Figures (P)").click()
        expect(sheet).to_be_visible()
        scene, figures = page.locator(".viewport").first.bounding_box(), sheet.bounding_box()
        assert scene and figures and scene["y"] + scene["height"] <= figures["y"], "figures lie over nobody"
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        page.get_by_role("button", name="Close the figures").click()
        expect(sheet).to_be_hidden()


def test_controls_of_a_low_window_leave_people_room(
    browser: Browser, server: PageServer, complaints: Complaints
) -> None:
    with visit(browser, complaints, viewport={"width": 1280, "height": 657}) as page:
        page.goto(f"{server.address}/#sessions/1")
        page.wait_for_selector(".viewport[data-frame='7']")
        boxes = [page.locator(each).last.bounding_box() for each in (".viewport", ".timeline", ".toolbar")]
        scene, player, tools = (box for box in boxes if box)
        assert scene["y"] + scene["height"] - min(player["y"], tools["y"]) < 80
        assert player["x"] + player["width"] <= tools["x"]
        expect(page.locator(".timeline output")).to_contain_text("Frame 8 of 8")


def test_everything_until_the_first_person_weighs_less_than_the_limit_and_no_script_is_added(
    page: Page, server: PageServer, complaints: Complaints
) -> None:
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    open_view(page, server, "live")
    bodies = {answer.url: len(answer.body()) for answer in answers if "/static/" in answer.url}
    assert sum(bodies.values()) < PAGE_LIMIT_BYTES, bodies
    assert all(url.startswith(server.address) for url in bodies)
    complaints.ignored += ["Content Security Policy"]
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "document.title = 'injected'";
        document.body.append(script);
    }""")
    assert page.title() == "Live · Bodywire"


@pytest.mark.slow
def test_keys_reach_every_control_and_view(live: Page, server: PageServer) -> None:
    name = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
    reached = set()
    for _ in range(30):
        live.keyboard.press("Tab")
        reached.add(live.evaluate(name))
    looks = {"Plain, in clay (S)", "Wireframe (W)", "Colour (C)"}
    assert {"Session", "Frame", "Follow the face (F)", "Reset the view (R)", "Figures (P)", *looks} <= reached
    live.keyboard.press("?")
    expect(live.get_by_role("dialog")).to_contain_text("Keyboard shortcuts")
    live.keyboard.press("2")
    expect(live.locator("#live")).to_be_visible()
    live.keyboard.press("Escape")
    for key, view in (("2", "sessions"), ("3", "models"), ("4", "account")):
        live.keyboard.press(key)
        expect(live.locator(f"#{view}")).to_be_visible()
    expect(live.locator("#state")).to_have_attribute("data-state", "idle")
    while server.hub.watchers > 0:  # a view that is left closes its stream
        live.wait_for_timeout(20)
    live.keyboard.press("1")
    expect(live.locator("#live")).to_be_visible()
    expect(live.locator("#state")).to_have_attribute("data-state", "live")


@pytest.mark.slow
def test_theme_and_surface_are_remembered(live: Page) -> None:
    html = live.locator("html")
    body, surface = (live.get_by_role("button", name=name, exact=True) for name in ("Body", "Surface"))
    expect(html).to_have_attribute("data-theme", "light")
    expect(body).to_have_attribute("aria-pressed", "true")
    surface.click()
    live.keyboard.press("t")
    expect(html).to_have_attribute("data-theme", "dark")
    live.reload()
    expect(html).to_have_attribute("data-theme", "dark")
    expect(surface).to_have_attribute("aria-pressed", "true")
    live.wait_for_selector(".viewport[data-frame]")
    assert somebody_is_drawn(live)


@pytest.mark.slow
def test_page_behind_a_proxy_that_strips_a_path(page: Page, server: PageServer, picture: bytes) -> None:
    server.prefix = "/people"  # the fixture fails if anything was asked for outside
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{server.address}/people/")
    page.wait_for_selector(".viewport[data-frame]")
    page.get_by_role("button", name="Use this camera").click()
    while not server.camera_pictures:
        page.wait_for_timeout(50)
    page.get_by_role("link", name="Sessions").click()
    page.wait_for_function("() => document.querySelector('.thumbnail img')?.naturalWidth === 320")
    page.get_by_role("link", name="Account").click()
    sign_in(page, button="Sign up")
    page.get_by_role("link", name="Models").click()
    page.set_input_files("#picture", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": picture})
    page.wait_for_selector(".model[data-people='1'] .keypoints")
    with page.expect_download() as download:
        page.get_by_role("link", name="OBJ of person 1").click()
    assert download.value.path().stat().st_size > 1000
    page.get_by_role("button", name="Back to all models").click()
    page.wait_for_function("() => document.querySelector('.gallery img')?.naturalWidth > 0")
    page.get_by_role("link", name="Account").click()
    page.get_by_role("link", name="programming interface").click()
    page.locator(".opblock", has_text="/api/status").locator("button").first.click()
    page.get_by_role("button", name="Try it out").click()
    with page.expect_response(f"{server.address}/people/api/status") as answer:
        page.get_by_role("button", name="Execute").click()
    assert answer.value.ok
    assert all(url.startswith((f"{server.address}/people/", "data:", "blob:")) for url in requests), requests
