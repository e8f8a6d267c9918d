"""Recorded sessions: listed, played, renamed, downloaded and deleted."""

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from common.arrays import ByteArray
from receiver.export.rigging import load_body_skin
from tests.browser.conftest import Complaints, scrub, sign_in
from tests.browser.pictures import differing_share, scene, settled, somebody_is_drawn
from tests.support.motion.expressive_people import expressive_body
from tests.support.receiver.published_session import (
    OWNER,
    frame_record,
    person_record,
    record_album,
    record_session,
    write_clip,
)
from tests.support.web.page_server import PageServer


@pytest.fixture
def sessions(page: Page, server: PageServer) -> Page:
    page.goto(f"{server.address}/#sessions")
    expect(page.get_by_role("link", name="Play demo.mp4")).to_be_visible()
    return page


def test_session_is_listed_played_downloaded_renamed_and_deleted(sessions: Page, server: PageServer) -> None:
    sessions.wait_for_function("() => document.querySelector('.thumbnail img').naturalWidth === 320")
    expect(sessions.locator(".gallery").first).to_contain_text("1 person")
    sessions.get_by_role("link", name="Play demo.mp4").click()
    expect(sessions.get_by_role("heading", name="demo.mp4")).to_be_visible()
    expect(sessions.locator(".model-head")).to_contain_text("51 bytes of labels a frame")
    sessions.wait_for_selector(".viewport[data-frame='7']")
    assert somebody_is_drawn(sessions)
    scrub(sessions, 3)
    sessions.get_by_role("button", name="Back to all sessions").click()
    expect(sessions.get_by_role("heading", name="Sessions")).to_be_visible()

    sessions.get_by_role("button", name="Download demo.mp4").click()
    with sessions.expect_download() as download:
        sessions.get_by_role("dialog").get_by_role("button", name="ZIP").click()
    assert download.value.suggested_filename == "demo-1.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        assert sum(name.endswith((".glb", ".gltf")) for name in archive.namelist()) == 16
    sessions.reload()

    sessions.get_by_role("button", name="Rename demo.mp4").click()
    sessions.get_by_label("Name", exact=True).fill("Rehearsal")
    sessions.get_by_role("dialog").get_by_role("button", name="Rename").click()
    sessions.get_by_role("button", name="Delete Rehearsal").click()
    sessions.get_by_role("button", name="Cancel").click()
    assert len(server.directory.sessions()) == 1
    sessions.get_by_role("button", name="Delete Rehearsal").click()
    sessions.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(sessions.get_by_text("Nothing was recorded yet")).to_be_visible()
    assert not list((server.directory.config.out / "meshes").iterdir())
    assert b"demo" not in (server.directory.config.out / "frames.jsonl").read_bytes()


@pytest.mark.slow
def test_face_of_a_recorded_person_moves(page: Page, server: PageServer) -> None:
    session = server.directory.session("0f", OWNER)
    skeleton = load_body_skin()[1].skeleton
    for number, actions in enumerate(({}, {"jawOpen": 0.0}, {"jawOpen": 1.0})):
        path = session.write_body(number, expressive_body(actions, 0.0), skeleton)
        shown = replace(frame_record(number), people=(replace(person_record(), body=path),))
        session.append(shown)
    page.goto(f"{server.address}/#sessions/{session.number}")
    page.wait_for_selector(".viewport[data-frame='2']")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    neutral, still, opened = (_settled_scene(page, number) for number in range(3))
    assert differing_share(neutral, still) == 0
    assert 0 < differing_share(neutral, opened) < 0.01


def _settled_scene(page: Page, frame: int) -> ByteArray:
    scrub(page, frame)
    settled(page, page.locator(".viewport canvas").first)
    return scene(page)


def test_name_in_another_script_does_not_turn_what_is_around_it(page: Page, server: PageServer) -> None:
    assert server.directory.change(1, name="\u05e9\u05dc\u05d5\u05dd 12")
    page.goto(f"{server.address}/#sessions")
    page.get_by_role("button", name="Delete").click()
    said = page.get_by_role("dialog").locator("p")
    expect(said).to_contain_text("\u201c\u2068\u05e9\u05dc\u05d5\u05dd 12\u2069\u201d, 3.")


def test_single_photographs_do_not_fill_the_list(page: Page, server: PageServer) -> None:
    for name in ("one", "two", "three"):
        record_session(server.directory, name, frames=1)
    page.goto(f"{server.address}/#sessions")
    expect(page.get_by_role("link", name="Play demo.mp4")).to_be_visible()
    expect(page.get_by_text("4 sessions")).to_be_visible()
    expect(page.get_by_role("link", name="Play")).to_have_count(1)
    page.get_by_text("3 photographs").click()
    expect(page.get_by_role("link", name="Play")).to_have_count(4)


def test_album_is_leafed_through_and_somebody_is_taken_out(page: Page, server: PageServer) -> None:
    record_album(server.directory, (1,), (), (2, 3))
    page.goto(f"{server.address}/#sessions")
    expect(page.get_by_role("link", name="Play photos (3)")).to_contain_text("3 pictures")
    page.get_by_role("link", name="Play photos (3)").click()
    place, people = page.locator(".timeline output"), page.locator("details.people")
    expect(place).to_have_text("1.jpg · 1 of 3")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_hidden()
    expect(page.get_by_role("button", name="Previous picture")).to_be_disabled()
    page.keyboard.press("ArrowRight")
    expect(place).to_have_text("2.jpg · 2 of 3")
    expect(people).to_be_hidden()
    page.get_by_role("button", name="Next picture").click()
    expect(place).to_have_text("3.jpg · 3 of 3")
    expect(page.get_by_role("button", name="Next picture")).to_be_disabled()
    expect(page.locator(".model-head")).to_contain_text("3 people")
    people.locator("summary").click()
    page.get_by_role("button", name="Take out Person 4").click()
    expect(people.locator("summary")).to_have_text("1 person")
    expect(page.locator(".model-head")).to_contain_text("2 people")
    page.reload()
    page.keyboard.press("End")  # of nothing: the slider has no focus
    page.get_by_role("slider", name="Picture").press("End")
    expect(place).to_have_text("3.jpg · 3 of 3")
    expect(people.locator("summary")).to_have_text("1 person")
    people.locator("summary").click()
    page.get_by_role("button", name="Bring back Person 4").click()
    expect(people.locator("summary")).to_have_text("2 people")
    page.keyboard.press("ArrowLeft")
    expect(place).to_have_text("2.jpg · 2 of 3")


@pytest.mark.slow
def test_session_is_made_into_usdz(sessions: Page) -> None:
    sessions.get_by_role("button", name="Download demo.mp4").click()
    with sessions.expect_download() as download:
        sessions.get_by_role("dialog").get_by_role("button", name="USDZ").click()
        expect(sessions.get_by_text("Making USDZ")).to_be_visible()
    assert download.value.suggested_filename == "demo-1.usdz"
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None and archive.namelist()[0].endswith(".usdc")


@pytest.fixture
def signed_in(sessions: Page) -> Page:
    sessions.get_by_role("link", name="Account").click()
    sign_in(sessions, button="Sign up")
    sessions.get_by_role("link", name="Sessions").click()
    expect(sessions.get_by_role("button", name="Upload a clip")).to_be_visible()
    return sessions


@pytest.mark.slow
def test_clip_is_cancelled_uploaded_and_played(
    signed_in: Page, server: PageServer, tmp_path: Path, complaints: Complaints
) -> None:
    complaints.ignored += ["422"]
    clip = write_clip(tmp_path / "dance.mp4")
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(clip.read_bytes()[:1000])
    server.clips.gate.clear()
    signed_in.set_input_files("#clip", clip)
    expect(signed_in.get_by_text("Building meshes, 33 %")).to_be_visible()
    assert len(server.directory.sessions()) == 2
    signed_in.get_by_role("button", name="Cancel dance.mp4").click()
    expect(signed_in.get_by_text("Cancelled")).to_be_visible()
    expect(signed_in.get_by_text("0 of 1 files done, 1 failed")).to_be_visible()
    signed_in.reload()
    expect(signed_in.get_by_role("link", name="Play")).to_have_count(1)
    while len(server.directory.sessions()) > 1:  # the receiver hears of it a moment later
        signed_in.wait_for_timeout(20)
    signed_in.set_input_files("#clip", [clip, damaged])
    expect(signed_in.get_by_text("Building meshes, 33 %")).to_be_visible()
    expect(signed_in.get_by_text("The clip is damaged or incomplete: export it again.")).to_be_visible()
    expect(signed_in.get_by_role("link", name="Play")).to_have_count(1)
    server.release_clips()
    expect(signed_in.get_by_text("1 of 2 files done, 1 failed")).to_be_visible()
    expect(signed_in.get_by_role("link", name="Play")).to_have_count(2)
    signed_in.get_by_role("link", name="Open dance.mp4").click()
    signed_in.wait_for_selector(".viewport[data-frame='2']")
    assert somebody_is_drawn(signed_in)
