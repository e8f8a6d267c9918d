from pathlib import Path

import pytest

from common.errors import UsageError
from sender.capture.open import camera_name
from sender.config import CaptureConfig, DeliveryConfig, LinkConfig, PreviewConfig, RecordConfig, SenderConfig

TWO = CaptureConfig(("0", "rtsp://me:secret@door/a"))


def test_each_camera_has_files_of_its_own_and_a_share_of_the_link() -> None:
    config = SenderConfig(
        capture=TWO,
        preview=PreviewConfig(Path("seen.mp4")),
        delivery=DeliveryConfig(spool=Path("spool")),
        recording=RecordConfig(Path("a.b/talk.bw")),
        link=LinkConfig(budget_kbit=20.0),
    )
    first, second = config.by_camera()
    assert [each.capture.only_camera for each in (first, second)] == list(TWO.camera)
    assert (first.preview.preview, second.preview.preview) == (Path("seen-1.mp4"), Path("seen-2.mp4"))
    assert (first.delivery.spool, second.delivery.spool) == (Path("spool/1"), Path("spool/2"))
    assert (first.recording.record, second.recording.record) == (Path("a.b/talk-1.bw"), Path("a.b/talk-2.bw"))
    assert second.link.budget_bps == config.link.budget_bps / 2 and second.link.probe_bps == config.link.probe_bps / 2
    assert first.only_records and first.link.peer is config.link.peer


def test_one_camera_has_what_was_given() -> None:
    config = SenderConfig(recording=RecordConfig(Path("talk.bw")))
    assert config.by_camera() == [config]


def test_budget_that_is_too_little_for_all_cameras() -> None:
    with pytest.raises(UsageError, match=r"--budget-kbit 1\.5 for 2 cameras"):
        SenderConfig(capture=TWO, link=LinkConfig(budget_kbit=1.5)).check()


@pytest.mark.parametrize(
    "same",
    [("demo", "demo"), ("0", "/dev/video0"), ("socket:/tmp/a", "socket+live:/tmp/./a"), (TWO.camera[1],) * 2],
)
def test_camera_that_is_given_twice(same: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="cameras 1 and 3 of --camera are the same one") as caught:
        CaptureConfig((same[0], "talk.mp4", same[1]))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("camera", "name"),
    [
        ("2", "camera 2"),
        ("rtsp://me:secret@door/a", "rtsp://door/a"),
        ("socket+live:/run/x.sock", "x.sock"),
        ("/home/me/photos/", "photos"),
        ("demo", "demo"),
    ],
)
def test_names_of_cameras_tell_no_password_and_no_folder(camera: str, name: str) -> None:
    assert camera_name(camera) == name
