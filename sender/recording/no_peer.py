"""The delivery of a sender that only records."""

from collections.abc import Callable, Sequence

from common.blobs import Blob
from common.frames import LabelFrame


class NoPeer:
    """Takes every frame at once, and sends nothing.

    Args:
        on_frame: called for each frame.
    """

    def __init__(self, on_frame: Callable[[LabelFrame], None]) -> None:
        self._on_frame = on_frame

    @property
    def outstanding(self) -> int:
        """No frame waits."""
        return 0

    async def connect(self) -> None:
        """There is nothing to connect to."""

    async def send(self, frame: LabelFrame, ahead: Sequence[Blob] = ()) -> None:
        """Takes a frame."""
        self._on_frame(frame)

    def post(self, blob: Blob) -> None:
        """Takes a blob."""

    async def drain(self) -> None:
        """Every frame was taken."""

    async def close(self) -> None:
        """There is nothing to close."""
