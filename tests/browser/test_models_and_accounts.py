"""Signing up, uploading, turning and deleting models, tokens."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
from playwright.sync_api import Browser, Page, expect

from common.body.anatomy import REGION_INDEX
from common.wear_kinds import VALUES
from receiver.export.rigging import load_body_skin
from receiver.mesh.body_file import BodyFile, GlbReader, parse_body
from receiver.web.places import Refused
from tests.browser.conftest import DESKTOP, PASSWORD, PATIENCE_MS, Complaints, sign_in, visit
from tests.browser.pictures import differing_share, settled
from tests.support.meshes.checkered_texture import checkered_share, checkered_texture
from tests.support.web.page_server import PageServer


@pytest.fixture
def models(page: Page, server: PageServer) -> Page:
    page.goto(f"{server.address}/#account")
    sign_in(page, button="Sign up")
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_text("Drop photographs of people here")).to_be_visible()
    return page


def choose(page: Page, picture: bytes, name: str = "dancer.jpg", kind: str = "image/jpeg") -> None:
    page.set_input_files("#picture", {"name": name, "mimeType": kind, "buffer": picture})


@pytest.mark.slow
def test_picture_becomes_a_model_that_is_turned_downloaded_and_deleted(
    models: Page, server: PageServer, picture: bytes, tmp_path: Path
) -> None:
    server.texture = checkered_texture()
    choose(models, picture)
    expect(models.get_by_role("heading", name="dancer.jpg")).to_be_visible()
    models.wait_for_selector(".model[data-people='1']")
    assert models.locator(".keypoints circle").count() > 10
    canvas = models.locator(".model canvas")
    before, box = settled(canvas, canvas), canvas.bounding_box()
    assert checkered_share(before) > 0.01
    assert box is not None
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    models.mouse.move(*middle)
    models.mouse.down()
    models.mouse.move(middle[0] + 150, middle[1], steps=5)
    models.mouse.up()
    assert differing_share(before, settled(canvas, canvas)) > 0.01, "the model did not turn"

    for ending in ("obj", "glb", "ply"):
        mesh = trimesh.load_mesh(io.BytesIO(downloaded(models, f"{ending.upper()} of person 1")), file_type=ending)
        assert len(mesh.faces) > 1000
    assert GlbReader(downloaded(models, "Body with texture and skeleton of person 1")).mesh()[1] is not None
    with zipfile.ZipFile(io.BytesIO(downloaded(models, "USDZ of person 1"))) as archive:
        assert archive.testzip() is None and archive.namelist()[0].endswith(".usdc")
    # Where the browser shows models in the room.
    expect(models.locator("a[rel=ar]")).to_have_count(0)
    models.add_init_script("DOMTokenList.prototype.supports = (token) => token === 'ar'")
    models.reload()
    link = models.locator("a[rel=ar]")
    assert link.evaluate("each => each.children.length === 1 && each.firstElementChild.tagName") == "IMG"
    assert models.request.get(link.evaluate("each => each.href")).body()[:2] == b"PK"

    models.get_by_role("button", name="Back to all models").click()
    card = models.locator(".gallery a")
    expect(card).to_have_count(1)
    card.click()
    models.get_by_role("button", name="Delete").click()
    models.get_by_role("button", name="Cancel").click()
    assert len(server.models) == 1
    models.get_by_role("button", name="Delete").click()
    models.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(card).to_have_count(0)
    assert server.models == []


@pytest.mark.slow
def test_people_of_a_model_have_numbers_and_one_is_chosen(models: Page, server: PageServer, picture: bytes) -> None:
    server.texture, server.crowd = checkered_texture(), (-1.5, -0.5, 0.5, 1.5)
    choose(models, picture)
    models.wait_for_selector(".model[data-people='4']")
    expect(models.locator(".keypoints .number")).to_have_text(["1", "2", "3", "4"])
    # What lies outside of the picture is not drawn.
    inner = models.locator(".keypoints > svg").evaluate("each => [getComputedStyle(each).overflow, each.clientHeight]")
    assert inner[0] == "hidden" and inner[1] <= models.locator(".keypoints").evaluate("each => each.clientHeight")
    models.get_by_role("combobox", name="Person").select_option("Person 3")
    expect(models.get_by_role("group", name="Person 3 wears")).to_be_visible()
    expect(models.get_by_role("group", name="Person 1 wears")).to_be_hidden()
    expect(models.get_by_role("group", name="Person 3 wears")).to_contain_text("Headwear (unsure)")
    expect(models.get_by_role("link", name="OBJ of person 3")).to_be_visible()
    expect(models.get_by_role("link", name="OBJ of person 1")).to_be_hidden()
    files = models.locator(".downloads").bounding_box()
    assert files is not None and files["height"] < 0.2 * DESKTOP["height"]


def test_person_of_a_model_is_taken_out_and_brought_back(models: Page, server: PageServer, picture: bytes) -> None:
    server.crowd, server.texture = (-0.5, 0.5), checkered_texture()
    choose(models, picture)
    models.wait_for_selector(".model[data-people='2']")
    sent = "14.2 kB sent: labels 112 bytes, clothes 40 bytes, colours 14.0 kB"
    expect(models.locator(".model-head")).to_contain_text(sent)
    models.get_by_role("combobox", name="Person").select_option("Person 1")
    models.get_by_role("button", name="Take out").click()
    models.wait_for_selector(".model[data-people='1']")
    expect(models.locator(".model-head")).to_contain_text("1 person")
    expect(models.get_by_role("link", name="OBJ of person 2")).to_be_visible()
    expect(models.get_by_role("link", name="OBJ of person 1")).to_have_count(0)
    expect(models.get_by_role("button", name="Take out")).to_have_count(0)
    models.reload()
    models.get_by_role("button", name="Bring back person 1").click()
    models.wait_for_selector(".model[data-people='2']")
    expect(models.get_by_role("button", name="Bring back")).to_have_count(0)


def test_legs_that_no_camera_saw_are_shown_when_they_are_dressed(
    models: Page, server: PageServer, picture: bytes
) -> None:
    server.unseen, server.texture = ("left_leg", "right_leg"), checkered_texture()
    choose(models, picture)
    models.wait_for_selector(".model[data-people='1']")
    unseen, state = models.get_by_role("button", name="Limbs that no camera sees"), models.locator(".wardrobe-top p")
    models.get_by_label("Sleeves", exact=True).select_option("long")
    expect(state).to_have_text("")
    expect(unseen).to_have_attribute("aria-pressed", "false")
    models.keyboard.press("s")
    models.get_by_label("Lower body", exact=True).select_option("skirt_short")
    expect(state).to_have_text("Legs that no camera saw are shown now: U hides them.")
    expect(unseen).to_have_attribute("aria-pressed", "true")
    models.locator(".model canvas").focus()
    models.keyboard.press("s")
    models.get_by_label("Upper body colour").evaluate(
        "input => { input.value = '#3366ff'; input.dispatchEvent(new Event('change')); }"
    )
    expect(state).to_have_text("Colours are shown now: S hides them.")
    expect(models.get_by_role("button", name="Colour (C)")).to_have_attribute("aria-pressed", "true")


def test_phone_has_room_for_the_model_and_what_changes_it(models: Page, server: PageServer, picture: bytes) -> None:
    server.texture = checkered_texture()
    models.set_viewport_size({"width": 390, "height": 844})
    choose(models, picture)
    models.wait_for_selector(".model[data-people='1']")
    last = models.get_by_label("Skin colour")
    last.scroll_into_view_if_needed()
    scene, editor = models.locator(".model .viewport").bounding_box(), models.locator(".wardrobe").bounding_box()
    box, source = last.bounding_box(), models.locator(".source").bounding_box()
    assert scene and editor and box and source
    assert scene["y"] >= 0 and scene["height"] > 300, "the model stays where one sees it"
    assert box["y"] >= scene["y"] + scene["height"], "nothing lies over what changes it"
    assert editor["height"] > 400 and 844 - (scene["y"] + scene["height"]) > 300
    assert source["y"] + source["height"] <= editor["y"]
    assert models.evaluate("document.documentElement.scrollWidth") <= 390


def downloaded(page: Page, link: str) -> bytes:
    """What a link downloads."""
    with page.expect_download() as download:
        page.get_by_role("link", name=link).click()
    return download.value.path().read_bytes()


def body_of(page: Page, link: str) -> BodyFile:
    return parse_body(downloaded(page, link))


@pytest.mark.slow
def test_person_wears_something_else(models: Page, server: PageServer, picture: bytes) -> None:
    server.texture = checkered_texture()
    choose(models, picture)
    models.wait_for_selector(".model[data-people='1']")
    canvas, state = models.locator(".model canvas"), models.locator(".wardrobe [role=status]")
    before, sent = settled(canvas, canvas), body_of(models, "Body with texture and skeleton of person 1")
    sleeves = models.get_by_label("Sleeves", exact=True)
    expect(sleeves).to_have_value("short")
    sleeves.focus()
    models.keyboard.press("ArrowDown")
    expect(sleeves).to_have_value("long")
    expect(state).to_have_text("", timeout=PATIENCE_MS)
    long = body_of(models, "Changed body as GLB")
    assert differing_share(before, settled(canvas, canvas)) > 0.001
    moved_m = np.linalg.norm(long.mesh.vertices - sent.mesh.vertices, axis=1)
    region = load_body_skin()[1].template.region
    assert moved_m[region == REGION_INDEX["forearm.L"]].max() > 0.005
    assert moved_m[region == REGION_INDEX["shin.L"]].max() < 1e-4
    models.get_by_label("Height", exact=True).fill("12")
    models.get_by_label("Upper body colour").evaluate(
        "input => { input.value = '#3366ff'; input.dispatchEvent(new Event('change')); }"
    )
    expect(state).to_have_text("", timeout=PATIENCE_MS)
    taller = body_of(models, "Changed body as GLB")
    assert np.ptp(taller.mesh.vertices[:, 1]) > np.ptp(long.mesh.vertices[:, 1]) + 0.05
    assert taller.texture is not None and long.texture is not None and taller.texture.jpeg != long.texture.jpeg
    models.get_by_label("Upper body", exact=True).select_option("dress")
    expect(models.get_by_label("Lower body", exact=True)).to_have_value("skirt_short")
    models.get_by_label("Lower body", exact=True).select_option("trousers")
    expect(models.get_by_label("Upper body", exact=True)).to_have_value("top")
    expect(state).to_have_text("", timeout=PATIENCE_MS)
    models.get_by_role("button", name="As sent").click()
    expect(state).to_have_text("", timeout=PATIENCE_MS)
    assert differing_share(before, settled(canvas, canvas)) < 1e-3
    for name, values in VALUES.items():
        options = models.locator(".wardrobe select option").evaluate_all("all => all.map(each => each.value)")
        assert set(values) <= set(options), name


@pytest.mark.slow
def test_files_that_are_refused_say_why_and_one_is_dropped(
    models: Page, server: PageServer, picture: bytes, complaints: Complaints
) -> None:
    complaints.ignored += ["Failed to load resource"]
    choose(models, b"hello", "notes.txt", "text/plain")
    expect(models.locator(".queue li[data-state=failed]")).to_contain_text("This is neither a picture nor a clip.")
    assert server.models == []
    for content, error, shown in (
        (picture[:5000], None, "The picture is damaged or incomplete: export it again."),
        (picture, Refused(422, "nobody can be seen"), "Nobody can be seen."),
        (picture, Refused(503, "all workers are busy", 5.0), "Waiting for the receiver"),
    ):
        server.picture_error = error
        choose(models, content)
        expect(models.locator(".queue li")).to_contain_text(shown)
    server.picture_error = None
    expect(models.get_by_role("heading", name="dancer.jpg")).to_be_visible()
    models.get_by_role("button", name="Back to all models").click()
    transfer = models.evaluate_handle(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.jpg", { type: "image/jpeg" }));
            return transfer;
        }""",
        list(picture),
    )
    models.dispatch_event(".drop", "drop", {"dataTransfer": transfer})
    expect(models.get_by_role("heading", name="dropped.jpg")).to_be_visible()


@pytest.mark.slow
def test_broken_picture_of_five_stops_no_other(
    models: Page, server: PageServer, picture: bytes, complaints: Complaints
) -> None:
    complaints.ignored += ["Failed to load resource"]
    files = [{"name": f"{n}.jpg", "mimeType": "image/jpeg", "buffer": picture} for n in range(5)]
    files[3]["buffer"] = picture[:5000]
    models.set_input_files("#picture", files)  # type: ignore[arg-type]
    expect(models.get_by_text("4 of 5 files done, 1 failed")).to_be_visible(timeout=PATIENCE_MS)
    failed = models.locator(".queue li[data-state=failed]")
    expect(failed).to_contain_text("3.jpg")
    expect(failed).to_contain_text("The picture is damaged or incomplete")
    expect(models.locator(".gallery a")).to_have_count(4)
    assert len(server.models) == 4
    models.get_by_role("link", name="Open 4.jpg").click()
    expect(models.get_by_role("heading", name="4.jpg")).to_be_visible()


@pytest.mark.slow
def test_visitor_signs_up_has_a_token_and_changes_the_password(
    browser: Browser, page: Page, server: PageServer, complaints: Complaints
) -> None:
    complaints.ignored += ["401", "403"]
    page.goto(f"{server.address}/#models")
    page.get_by_role("link", name="Sign in or sign up").click()
    expect(page.get_by_role("heading", name="Account")).to_be_visible()
    sign_in(page, button="Sign up")

    page.get_by_label("Name of the new token").fill("laptop")
    page.get_by_role("button", name="Make a token").click()
    token = page.locator(".token")
    expect(token).to_contain_text("bw_")
    page.get_by_role("link", name="Sessions", exact=True).click()
    page.get_by_role("link", name="Account").click()
    expect(token).to_have_count(0)
    page.get_by_role("button", name="Revoke laptop").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.locator(".tokens li")).to_have_count(0)

    expect(page.get_by_text("0 of 200 models and clips used")).to_be_visible()
    named = page.locator("form:has([type=password]):has(input[type=text][autocomplete=username])")
    expect(named).to_have_count(page.locator("form:has([type=password])").count())
    with visit(browser, complaints) as other:
        other.goto(f"{server.address}/#account")
        sign_in(other)
        for old, said in (("wrong", "The password is wrong."), (PASSWORD, "The password is changed.")):
            page.get_by_label("Current password").fill(old)
            page.get_by_label("New password").fill("another good one")
            page.get_by_role("button", name="Change the password").click()
            expect(page.get_by_text(said)).to_be_visible()
        other.reload()
        expect(other.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.get_by_label("Name", exact=True).fill("ada")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("The name or the password is wrong.")
    sign_in(page, "another good one")


@pytest.mark.slow
def test_nothing_is_left_of_a_deleted_account(models: Page, server: PageServer, picture: bytes) -> None:
    choose(models, picture)
    models.wait_for_selector(".model[data-people='1']")
    models.get_by_role("link", name="Account").click()
    expect(models.get_by_text("1 of 200 models and clips used")).to_be_visible()
    models.get_by_role("button", name="Delete the account…").click()
    models.get_by_role("dialog").get_by_label("Password").fill(PASSWORD)
    models.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(models.get_by_role("button", name="Sign up")).to_be_visible()
    assert server.models == []
    database = server.directory.config.out / "accounts"
    assert not any(b"ada" in path.read_bytes() or b"dancer" in path.read_bytes() for path in database.iterdir())
