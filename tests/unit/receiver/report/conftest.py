from pathlib import Path

import pytest

from tests.support.receiver.published_session import write_clip


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4")
