from pathlib import Path

import pytest

from receiver.web.children.standby import standby


async def test_nothing_waits_without_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    little = tmp_path / "meminfo"
    little.write_text("MemTotal:  8000000 kB\nMemAvailable:  2000000 kB\n")
    monkeypatch.setattr("receiver.web.children.standby._MEMORY", little)
    assert await standby("cpu") is None
