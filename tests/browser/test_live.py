"""The live view: people are drawn and move, modes, recording, reconnection, sessions, acknowledgements."""

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from common.arrays import Image
from receiver.export.rigging import load_body_skin, posed, rig_one
from receiver.mesh.body_file import read_body
from receiver.mesh.mesh_texture import MeshTexture, encode_jpeg
from receiver.mesh.skinned_glb import encode_body
from tests.browser.conftest import PATIENCE_MS, Complaints, scrub
from tests.browser.pictures import differing_share, scene, somebody_is_drawn
from tests.support.meshes.checkered_texture import checkered_share, checkered_texture
from tests.support.web.page_server import FRAME_BYTES, PageServer

MOVED = "seen => document.querySelector('.viewport').dataset.frame !== seen"


CHECKERED = 0.01
# Of a frame of video with similar joints: docs/rivals.md.
VIDEO_BYTES = 324


@pytest.fixture(scope="module")
def checkered() -> MeshTexture:
    return checkered_texture()


def shown_frame(page: Page) -> str:
    return page.locator(".viewport").first.get_attribute("data-frame") or ""


def wait_for_change(page: Page) -> str:
    """Waits for another frame; returns its number."""
    page.wait_for_function(MOVED, arg=shown_frame(page))
    return shown_frame(page)


def checkers_are_drawn(page: Page) -> bool:
    """Whether a checkered texture appears: a slow machine takes some time until the camera has glided to it."""
    for _ in range(60):
        if checkered_share(scene(page)) > CHECKERED:
            return True
        page.wait_for_timeout(250)
    return False


def pink_share(picture: Image) -> float:
    """Share of pixels of a colour that nothing else has."""
    red, green, blue = picture.astype(np.int16).transpose(2, 0, 1)
    return float((np.minimum(red, blue) > green + 60).mean())


def another_scene_is_drawn(page: Page, first: Image) -> bool:
    """Whether people move: the stored frames come again, so that one moment may look like another."""
    for _ in range(60):
        if differing_share(first, scene(page)) > 0.002:
            return True
        page.wait_for_timeout(100)
    return False


def test_people_move_beside_figures_and_a_preview(live: Page, server: PageServer) -> None:
    assert somebody_is_drawn(live)
    first, frames = scene(live), set[str]()
    # The stored frames come again and again: a slow machine that draws every third one sees four of them for a while.
    for _ in range(60):
        frames.add(wait_for_change(live))
        if len(frames) >= 5:
            break
    assert len(frames) >= 5
    assert server.frames_shown >= 5, "they are acknowledged"
    assert another_scene_is_drawn(live, first)

    panel = live.locator(".panel")
    expect(panel.locator(".headline")).to_contain_text("kbit/s")
    for figure in (
        "of which labels ",
        "51 bytes",
        "132 ms ± 0.60",
        "1.85 Mbit/s",
        "of up to 3",
        "of the camera’s 30",
        "Link and waiting",
    ):
        expect(panel).to_contain_text(figure)
    expect(panel.locator("tr", has_text="Left arm")).to_contain_text("0.35")
    chart = "document.querySelector('.chart').innerHTML"
    live.wait_for_function(f"before => {chart} !== before", arg=live.evaluate(chart))

    preview = live.locator(".preview img")
    expect(preview).to_be_visible()
    size: dict[str, Any] = preview.evaluate("picture => ({width: picture.naturalWidth, height: picture.naturalHeight})")
    assert size == {"width": 640, "height": 480}

    extra_bytes = list[float]()
    # Rates are of the last three seconds, in which a busy machine may play frames unevenly.
    for _ in range(60):
        text = panel.inner_text()
        everything = _number(r"(?i)sending[^\n]*\n+", text)
        video = _number("Video with similar joints: about ", text)
        fps = _number(r"(?i)frames a second\s+", text)
        extra_bytes.append(1e3 * (video - everything) / 8 / fps)
        # The difference is what a frame has; what carries it is the same.
        if abs(extra_bytes[-1] - (VIDEO_BYTES - FRAME_BYTES)) < 8:
            return
        live.wait_for_timeout(500)
    pytest.fail(f"video has {extra_bytes} bytes a frame more than everything")


def _number(before: str, text: str) -> float:
    found = re.search(f"{before}([0-9.]+)", text)
    return float(found[1]) if found else math.nan


@pytest.mark.slow
def test_keys_change_the_look_turn_the_scene_and_fill_the_screen(live: Page) -> None:
    scrub(live, 3)
    assert somebody_is_drawn(live)
    live.locator("canvas").first.focus()
    for key, name in (("s", "Plain, in clay (S)"), ("w", "Wireframe (W)")):
        before = scene(live)
        live.keyboard.press(key)
        expect(live.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "true")
        assert differing_share(before, scene(live)) > 0.005
    before = scene(live)
    for _ in range(6):
        live.keyboard.press("ArrowLeft")
    assert differing_share(before, scene(live)) > 0.02
    live.keyboard.press("Shift+ArrowUp")
    live.keyboard.press("-")
    live.keyboard.press("e")
    live.wait_for_function("() => document.fullscreenElement?.className.startsWith('live')")
    live.keyboard.press("e")
    live.wait_for_function("() => document.fullscreenElement === null")


@pytest.mark.slow
def test_body_and_surface_wear_the_texture(page: Page, server: PageServer, checkered: MeshTexture) -> None:
    server.texture = checkered
    page.goto(server.address)
    page.wait_for_selector(".viewport[data-textured='1']")
    wait_for_change(page)
    assert checkers_are_drawn(page)
    page.locator("canvas").first.focus()
    page.keyboard.press("s")
    assert checkered_share(scene(page)) == 0, "solid has no colours"
    page.keyboard.press("c")
    page.keyboard.press("m")
    expect(page.get_by_role("button", name="Surface")).to_have_attribute("aria-pressed", "true")
    for _ in range(4):  # two bodies may be on their way
        wait_for_change(page)
    page.wait_for_selector(".viewport[data-textured='1']")
    assert checkers_are_drawn(page)


def test_live_face_lies_over_the_texture_and_fades(page: Page, server: PageServer, checkered: MeshTexture) -> None:
    server.texture = replace(checkered, jpeg=encode_jpeg(np.full((64, 64, 3), 150, np.uint8)))
    page.goto(server.address)
    page.wait_for_selector(".viewport[data-textured='1'][data-faces='0']")
    assert pink_share(scene(page)) == 0
    # The camera may still glide to the person, and a picture is shown for a moment only.
    for _ in range(60):
        server.show_face(np.full((128, 128, 3), (250, 20, 250), np.uint8))
        page.wait_for_selector(".viewport[data-faces='1']")
        if pink_share(scene(page)) > 0:
            break
    assert pink_share(scene(page)) > 0
    page.wait_for_selector(".viewport[data-faces='0']")
    assert pink_share(scene(page)) == 0


@pytest.mark.slow
def test_scene_turns_with_somebody_whose_texture_alone_has_come(
    page: Page, server: PageServer, checkered: MeshTexture
) -> None:
    server.texture, server.sessions = checkered, 2

    def without_frames_of_the_second(socket: WebSocketRoute) -> None:
        def forward(message: str | bytes) -> None:
            if isinstance(message, bytes) and b'"frame"' in message and b'"session":2' in message[:4096]:
                number = int(re.findall(rb'"id":(\d+)', message)[0])
                connection.send(json.dumps({"type": "shown", "id": number}))
            else:
                socket.send(message)

        connection = socket.connect_to_server()
        connection.on_message(forward)

    page.route_web_socket("**/live", without_frames_of_the_second)
    page.goto(server.address)
    page.get_by_role("combobox", name="Session").select_option("All live sessions")
    page.wait_for_selector(".viewport[data-textured='1']")
    page.wait_for_timeout(1000)
    page.get_by_role("combobox", name="Session").select_option("1")
    page.wait_for_selector(".viewport[data-textured='1']")


@pytest.mark.slow
def test_recorded_body_wears_the_texture_of_its_file(
    page: Page, demo_output: Path, picture: bytes, tmp_path: Path, checkered: MeshTexture
) -> None:
    output = shutil.copytree(demo_output, tmp_path / "out")
    lines = (output / "frames.jsonl").read_text().splitlines()
    # As they were written before bodies shared files.
    (output / "frames.jsonl").write_text("\n".join(lines[:2]).replace(".body.gltf", ".body.glb") + "\n")
    for path in (output / "meshes").glob("*.body.gltf"):
        body = posed(rig_one(0, read_body(path), {}))
        content = encode_body(replace(body, texture=checkered), load_body_skin()[1].skeleton)
        path.with_suffix(".glb").write_bytes(content)
    server = PageServer(output, tmp_path / "other", picture).start()
    page.goto(server.address)
    scrub(page, 1)
    page.wait_for_selector(".viewport[data-textured='1']")
    expect(page.get_by_role("status").first).to_have_text("Recording")
    assert checkers_are_drawn(page)
    page.get_by_role("button", name="Back to live").click()
    page.wait_for_selector(".viewport[data-textured='0']")
    page.goto("about:blank")
    server.stop()


@pytest.mark.slow
def test_recording_is_played_scrubbed_and_left(live: Page) -> None:
    live.locator("canvas").first.focus()
    live.keyboard.press("Space")
    expect(live.get_by_role("status").first).to_have_text("Recording")
    live.wait_for_selector(".viewport[data-frame='7']")
    expect(live.get_by_role("button", name="Play", exact=True)).to_be_visible(timeout=PATIENCE_MS)
    scrub(live, 5)
    expect(live.locator(".timeline output")).to_contain_text("Frame 6 of 8")
    assert somebody_is_drawn(live)
    live.keyboard.press("l")
    expect(live.get_by_role("status").first).to_have_text("Live")
    wait_for_change(live)


def test_page_reconnects_when_the_receiver_is_back_unless_one_has_to_sign_in(
    live: Page, server: PageServer, complaints: Complaints
) -> None:
    complaints.ignored += ["ERR_CONNECTION_REFUSED", "WebSocket connection to", "ERR_CONNECTION_RESET", "ERR_EMPTY"]
    server.stop()
    expect(live.locator("#state")).not_to_have_attribute("data-state", "live")
    server.start()
    expect(live.get_by_role("status").first).to_have_text("Live")
    wait_for_change(live)
    complaints.ignored += ["403"]
    server.stop()
    server.needs_account = True
    server.start()
    live.goto(server.address)
    expect(live.get_by_role("heading", name="Sign in to watch")).to_be_visible()
    live.get_by_role("link", name="Sign in").click()
    expect(live.get_by_role("heading", name="Account")).to_be_visible()


@pytest.mark.slow
def test_sessions_are_picked_and_shown_together_as_long_as_they_last(
    page: Page, server: PageServer, checkered: MeshTexture
) -> None:
    server.texture, server.sessions = checkered, 2
    page.goto(server.address)
    page.wait_for_selector(".viewport[data-frame]")
    picker, people = page.get_by_role("combobox", name="Session"), page.locator(".people")
    expect(picker.locator("option")).to_have_text(["All live sessions", "demo.mp4 · hall", "demo.mp4 · studio"])
    expect(picker).to_have_value("2")
    picker.select_option("All live sessions")
    page.wait_for_selector(".viewport[data-textured='2']")
    expect(people).to_contain_text("2 people")
    assert somebody_is_drawn(page)
    expect(page.locator(".panel")).to_contain_text("demo.mp4 · studio")
    picker.select_option("1")
    page.wait_for_selector(".viewport[data-textured='1']")
    picker.select_option("All live sessions")
    server.end_sessions(1)
    expect(people).to_contain_text("1 person")
    expect(picker.locator("option")).to_have_text(["demo.mp4 · studio"])


@pytest.mark.slow
def test_shadows_do_without_the_texture_of_somebody_who_has_left(
    page: Page, server: PageServer, checkered: MeshTexture
) -> None:
    server.texture, server.sessions = checkered, 2
    # The first picture has shadows of people with a texture.
    page.add_init_script("""
        const [request, waiting] = [window.requestAnimationFrame, []];
        window.requestAnimationFrame = (draw) => waiting.push(draw);
        window.draw = () => {
          window.requestAnimationFrame = request;
          waiting.forEach((draw) => request(draw));
        };
    """)
    page.goto(server.address)
    page.get_by_role("combobox", name="Session").select_option("All live sessions")
    page.wait_for_timeout(3000)
    page.evaluate("window.draw()")
    page.wait_for_selector(".viewport[data-textured='2']")
    page.locator("canvas").first.focus()
    page.keyboard.press("s")
    wait_for_change(page)
    server.end_sessions(2)
    expect(page.locator(".people")).to_contain_text("1 person")
    wait_for_change(page)


def test_visitor_is_told_what_to_run_while_nobody_sends(page: Page, server: PageServer) -> None:
    server.sessions = 0
    page.goto(server.address)
    expect(page.get_by_role("heading", name="Nobody is here yet")).to_be_visible()
    expect(page.locator(".command")).to_have_text("sender --camera 0 --peer 127.0.0.1:50123 --insecure")
    expect(page.get_by_role("status").first).to_have_text("No sender yet")


def test_camera_of_the_browser_is_refused_or_sends_pictures_until_it_is_stopped(live: Page, server: PageServer) -> None:
    server.camera_refusal = "two cameras are on already; stop one of them"
    live.get_by_role("button", name="Use this camera").click()
    expect(live.locator("#toast")).to_have_text("Two cameras are on already; stop one of them.")
    server.camera_refusal = ""
    live.get_by_role("button", name="Use this camera").click()
    expect(live.get_by_text("Camera on")).to_be_visible()
    live.wait_for_function("() => document.querySelector('.camera video').videoWidth > 0")
    while len(server.camera_pictures) < 3:
        live.wait_for_timeout(50)
    assert all(picture[:3] == b"\xff\xd8\xff" for picture in server.camera_pictures)
    cameras = live.get_by_role("combobox", name="Camera")
    first, count = cameras.input_value(), len(server.camera_pictures)
    cameras.select_option(index=1)
    live.wait_for_function(
        "first => ![undefined, first].includes(document.querySelector('.camera select')?.value)", arg=first
    )
    while len(server.camera_pictures) < count + 2:
        live.wait_for_timeout(50)
    for width in (360, 768):
        live.set_viewport_size({"width": width, "height": 800})
        scene = live.locator(".viewport").bounding_box()
        for control in (cameras, live.get_by_role("button", name="Stop")):
            box = control.bounding_box()
            assert scene is not None and box is not None and box["x"] + box["width"] <= scene["width"], width
    live.get_by_role("button", name="Stop").click()
    expect(live.get_by_role("button", name="Use this camera")).to_be_visible()
