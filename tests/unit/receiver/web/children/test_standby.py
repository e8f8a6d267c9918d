from pathlib import Path

import pytest

from receiver.config import ReceiverConfig
from receiver.web.children.standby import standby
from receiver.web.config import WebConfig


async def test_nothing_waits_without_a_page_or_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await standby(ReceiverConfig(web=WebConfig(page=False))) is None
    little = tmp_path / "meminfo"
    little.write_text("MemTotal:  8000000 kB\nMemAvailable:  2000000 kB\n")
    monkeypatch.setattr("receiver.web.children.standby._MEMORY", little)
    assert await standby(ReceiverConfig()) is None
