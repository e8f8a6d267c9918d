"""The seam between an uploaded clip and the session that it becomes.

The library depends on `ClipPlayer` alone; the child process behind it is in `receiver.web.children`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol


class ClipRefused(Exception):
    """The clip cannot be decoded; its text says why, for the user."""


class ClipPlayer(Protocol):
    """Turns clips into recorded sessions."""

    async def play(
        self, clip: Path, owner: str, on_session: Callable[[str], None], on_frame: Callable[[int], None]
    ) -> None:
        """Sends a clip through sender, link and the receiver's pipeline, to its end.

        Args:
            clip: a video file that was checked.
            owner: under which name of a token the session is recorded.
            on_session: is called with the session's id before its first frame.
            on_frame: is called with the number of frames that are published.

        Raises:
            ClipRefused: it cannot be decoded.
            PicturesUnavailable: the sender process has ended, or does not answer.
        """
