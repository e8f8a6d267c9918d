from pathlib import Path

import pytest

from receiver.web.refused import Refused
from receiver.web.uploads.clip import read_clip
from receiver.web.uploads.decoder import CheckedClip, check_clip
from tests.support.published_session import FRAMES, write_clip


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4")


def test_clip_is_measured_in_a_process_of_its_own(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clip.parent)
    Path("json.py").write_text("raise SystemExit('a module of the folder where the receiver was started')")
    clip = Path(clip.name)
    assert check_clip(clip) == CheckedClip(".mp4", FRAMES)
    clip.write_bytes(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    with pytest.raises(Refused, match="MP4") as refused:
        check_clip(clip)
    assert refused.value.status == 415


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [("clip.MAX_CLIP_S", 0.1, "cut it"), ("limits.MAX_PIXELS", 1000, "pixels"), ("clip.MAX_FPS", 1, "frames a second")],
)
def test_limits_are_said(clip: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float, words: str) -> None:
    monkeypatch.setattr(f"receiver.web.uploads.{limit}", value)
    with pytest.raises(Refused, match=words) as refused:
        read_clip(str(clip))
    assert refused.value.status == 413
