from pathlib import Path

import pytest

from sender.capture.cameras import listed_cameras


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of devices and of what the kernel says: a camera with two devices, and one that has no name."""
    devices, kernel = tmp_path / "dev", tmp_path / "sys"
    devices.mkdir()
    for name in ("video10", "video2", "video1", "video-x", "videodev"):
        (devices / name).touch()
    for name, index in (("video1", 0), ("video2", 1)):
        (kernel / name).mkdir(parents=True)
        (kernel / name / "name").write_text("HD Webcam: HD Webcam\n")
        (kernel / name / "index").write_text(f"{index}\n")
    return devices, kernel


def test_cameras_in_the_order_of_their_numbers(machine: tuple[Path, Path]) -> None:
    devices, _ = machine
    assert listed_cameras(*machine) == [
        f"1  HD Webcam: HD Webcam ({devices}/video1)",
        f"10  camera ({devices}/video10)",
    ]


def test_machine_without_cameras(tmp_path: Path) -> None:
    assert listed_cameras(tmp_path, tmp_path) == [f"no camera at this machine ({tmp_path}/video*)"]


def test_device_that_may_not_be_opened(machine: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    devices, _ = machine
    monkeypatch.setattr("sender.capture.cameras.os.access", lambda path, mode: False)
    monkeypatch.setattr(Path, "group", lambda _: "video")
    assert listed_cameras(*machine)[0] == (
        f"1  HD Webcam: HD Webcam ({devices}/video1): you may not open it: "
        "sudo usermod -aG video $USER, and log in again"
    )
