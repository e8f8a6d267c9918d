"""A clip player without networks."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from receiver.publish.session_directory import SessionDirectory
from receiver.web.library.clips import ChildClips
from tests.support.receiver.published_session import record_session

FRAMES = 3


class FakeClips(ChildClips):
    """Whatever the clip shows, its session has three frames with one person, or nobody.

    It takes `seconds`; `gate` holds it back before its last frame; `error` is raised instead of it.
    """

    def __init__(self, directory: SessionDirectory) -> None:
        self._directory = directory
        self.received: list[Path] = []
        self.people, self.seconds = True, 0.0
        self.error: Exception | None = None
        self.warnings = list[str]()
        self.gate = asyncio.Event()
        self.gate.set()

    async def play(
        self, clip: Path, owner: str, on_session: Callable[[str], None], on_frame: Callable[[int], None]
    ) -> list[str]:
        assert clip.is_file()
        self.received.append(clip)
        identifier = f"clip{len(self.received)}"
        on_session(identifier)
        record_session(self._directory, identifier, f"token:{owner}", people=self.people, frames=FRAMES)
        on_frame(FRAMES - 1)
        await asyncio.sleep(self.seconds)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        on_frame(FRAMES)
        return self.warnings
